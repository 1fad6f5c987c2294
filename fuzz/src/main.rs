//! The harness: mutates seeds and gives them to the targets, on a stable compiler.
//!
//! Without libFuzzer's counters a new answer of a target is what tells that an input reached something
//! new; such inputs are mutated further. What a target finds is printed, written to a file, and ends
//! the run with status 1. An input is a matter of the seed, the target and its number alone.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use facequality_fuzz::mutate::{Numbers, mutate};
use facequality_fuzz::png;
use facequality_fuzz::seeds::{self, Seeds};
use facequality_fuzz::targets::{self, MEMORY_PER_BYTE, Target};

const HELP: &str = "\
usage: fuzz [TARGET …] [--seconds N] [--executions N] [--seed N] [--replay FILE]

Without targets all of them, which share the seconds. --replay gives a file to the target.";

/// An execution that lasts longer is a finding.
const HANGS: Duration = Duration::from_secs(20);

/// Inputs that are kept for further mutation.
const MAX_CORPUS: usize = 4_000;

/// Counts the bytes that are allocated, and the most that were.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn allocated(bytes: usize) {
    let now = ALLOCATED.fetch_add(bytes, Relaxed) + bytes;
    MOST.fetch_max(now, Relaxed);
}

// SAFETY: all of it is the system's allocator; only numbers are kept.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        allocated(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        allocated(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // While it is moved there are both.
        allocated(size);
        ALLOCATED.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Arguments {
    targets: Vec<&'static Target>,
    seconds: f64,
    executions: u64,
    seed: u64,
    replay: Option<String>,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        targets: Vec::new(),
        seconds: f64::INFINITY,
        executions: u64::MAX,
        seed: std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(1, |t| t.as_nanos() as u64 >> 10),
        replay: None,
    };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        let mut value = || {
            given
                .next()
                .ok_or(format!("{argument} needs a value\n{HELP}"))
        };
        let number = |text: String| {
            text.parse()
                .map_err(|_| format!("{text:?} is not a number"))
        };
        match argument.as_str() {
            "--seconds" => arguments.seconds = number(value()?)? as f64,
            "--executions" => arguments.executions = number(value()?)?,
            "--seed" => arguments.seed = number(value()?)?,
            "--replay" => arguments.replay = Some(value()?),
            "-h" | "--help" => return Err(HELP.to_owned()),
            name => {
                let target = targets::ALL.iter().find(|target| target.name == name);
                arguments
                    .targets
                    .push(target.ok_or(format!("unknown target {name:?}\n{HELP}"))?);
            }
        }
    }
    if arguments.targets.is_empty() {
        arguments.targets = targets::ALL.iter().collect();
    }
    if arguments.seconds.is_infinite() && arguments.executions == u64::MAX {
        arguments.seconds = 60.0;
    }
    Ok(arguments)
}

/// The input at hand and when it began, for the watch.
static AT_HAND: Mutex<Option<(&'static str, Instant, Vec<u8>)>> = Mutex::new(None);

fn at_hand() -> std::sync::MutexGuard<'static, Option<(&'static str, Instant, Vec<u8>)>> {
    AT_HAND
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn watch() {
    loop {
        std::thread::sleep(Duration::from_secs(1));
        if let Some((target, begun, input)) = at_hand().as_ref()
            && begun.elapsed() > HANGS
        {
            found(target, input, "it does not end");
            std::process::exit(1);
        }
    }
}

/// Prints a finding and writes it to a file.
fn found(target: &str, input: &[u8], what: &str) {
    let mut hash = DefaultHasher::new();
    input.hash(&mut hash);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("findings");
    let file = folder.join(format!("{target}-{:016x}", hash.finish()));
    let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, input));
    let shown = &input[..input.len().min(512)];
    println!("FOUND in {target}: {what}");
    println!("  {} bytes: {}", input.len(), shown.escape_ascii());
    match written {
        Ok(()) => println!("  again: fuzz {target} --replay {}", file.display()),
        Err(error) => println!("  {} could not be written: {error}", file.display()),
    }
}

/// What the last panic said, and where.
static PANIC: Mutex<String> = Mutex::new(String::new());

/// Runs a target on an input. `Err` is a finding.
fn execute(target: &Target, input: &[u8]) -> Result<targets::Seen, String> {
    let before = ALLOCATED.load(Relaxed);
    MOST.store(before, Relaxed);
    let seen = catch_unwind(AssertUnwindSafe(|| (target.run)(input)))
        .map_err(|_| PANIC.lock().map(|text| text.clone()).unwrap_or_default())?;
    let taken = MOST.load(Relaxed).saturating_sub(before);
    let allowed = target.memory + input.len() * MEMORY_PER_BYTE;
    if taken > allowed {
        return Err(format!(
            "{taken} bytes were allocated, {allowed} are allowed"
        ));
    }
    Ok(seen)
}

/// What a target answered, without the numbers and names in it.
fn answer(seen: &targets::Seen) -> u64 {
    let mut hash = DefaultHasher::new();
    if let Err(text) = seen {
        for part in text.split('"').step_by(2) {
            let bytes = part.bytes().filter(|byte| !byte.is_ascii_digit());
            bytes.for_each(|byte| byte.hash(&mut hash));
        }
    }
    hash.finish()
}

/// What was done with a target.
#[derive(Default)]
struct Report {
    executions: u64,
    taken: u64,
    answers: usize,
    seconds: f64,
    slowest: Duration,
}

/// Runs a target until its time is over. `Err`: something was found.
fn fuzz(target: &'static Target, seed: u64, seconds: f64, most: u64) -> Result<Report, ()> {
    let Seeds { inputs, words } = seeds::of(target.name);
    assert!(!inputs.is_empty(), "{} has no seeds", target.name);
    let mut corpus = inputs.clone();
    let mut answers = HashSet::new();
    let mut report = Report::default();
    let begun = Instant::now();
    let mut input = Vec::new();
    while report.executions < most && begun.elapsed().as_secs_f64() < seconds {
        let number = report.executions;
        let mut numbers =
            Numbers::new(seed.wrapping_add(number.wrapping_mul(0x5851_F42D_4C95_7F2D)));
        input.clear();
        if let Some(seed) = inputs.get(number as usize) {
            input.extend_from_slice(seed);
        } else {
            input.clone_from(numbers.of(corpus.as_slice()));
            let other = numbers.of(corpus.as_slice());
            mutate_for(target.name, &mut input, other, words, &mut numbers);
        }
        let start = Instant::now();
        if let Some((_, begun, bytes)) = at_hand().as_mut() {
            *begun = start;
            bytes.clone_from(&input);
        }
        let result = execute(target, &input);
        report.slowest = report.slowest.max(start.elapsed());
        let seen = match result {
            Ok(seen) => seen,
            Err(what) => {
                found(
                    target.name,
                    &input,
                    &format!("{what}; input {number} of --seed {seed}"),
                );
                return Err(());
            }
        };
        report.executions += 1;
        report.taken += u64::from(seen.is_ok());
        let is_new = answers.insert(answer(&seen));
        // Of those that are taken some, so that changes add up.
        let kept = is_new || seen.is_ok() && numbers.below(64) == 0;
        if kept && corpus.len() < MAX_CORPUS && input.len() < 16_000 {
            corpus.push(input.clone());
        }
    }
    report.answers = answers.len();
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

fn mutate_for(
    target: &str,
    input: &mut Vec<u8>,
    other: &[u8],
    words: &[&[u8]],
    numbers: &mut Numbers,
) {
    if target != "png" {
        mutate(input, other, words, numbers);
        return;
    }
    match numbers.below(8) {
        0 => mutate(input, other, words, numbers),
        1..=3 => png::mutate_lines(input, numbers),
        4 => {
            mutate(input, other, words, numbers);
            png::mutate_lines(input, numbers);
        }
        _ => mutate(input, other, words, numbers),
    }
    if numbers.below(16) != 0 {
        png::fix_checksums(input);
    }
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    std::panic::set_hook(Box::new(|panic| {
        if let Ok(mut text) = PANIC.lock() {
            *text = panic.to_string();
        }
    }));
    if let Some(file) = &arguments.replay {
        let input = match std::fs::read(file) {
            Ok(input) => input,
            Err(error) => {
                eprintln!("{file}: {error}");
                return ExitCode::from(2);
            }
        };
        for target in &arguments.targets {
            println!("{}: {:?}", target.name, execute(target, &input));
        }
        return ExitCode::SUCCESS;
    }
    let Arguments { seed, .. } = arguments;
    println!("--seed {seed}");
    println!(
        "{:14} {:>10} {:>8} {:>8} {:>8} {:>11}",
        "target", "executions", "taken", "answers", "seconds", "slowest"
    );
    std::thread::spawn(watch);
    let share = arguments.seconds / arguments.targets.len() as f64;
    let (mut total, mut seconds) = (0, 0.0);
    for target in arguments.targets {
        *at_hand() = Some((target.name, Instant::now(), Vec::new()));
        let report = fuzz(target, seed, share, arguments.executions);
        targets::forget();
        *at_hand() = None;
        let Ok(report) = report else {
            return ExitCode::FAILURE;
        };
        let Report {
            executions,
            taken,
            answers,
            seconds: time,
            slowest,
        } = report;
        let percent = taken as f64 * 100.0 / executions.max(1) as f64;
        println!(
            "{:14} {executions:>10} {percent:>6.1} % {answers:>8} {time:>8.1} {:>8.1} ms",
            target.name,
            slowest.as_secs_f64() * 1e3
        );
        total += executions;
        seconds += time;
    }
    println!("{total} executions in {seconds:.0} s, nothing found");
    ExitCode::SUCCESS
}
