//! Parse, log, runtime, command, exit code.

use std::process::ExitCode;

use facequality_transformer::command::Cli;
use facequality_transformer::observe::log;
use facequality_transformer::settings::ConfigErrors;
use facequality_transformer::settings::args::LogFormat;

/// The system's allocator gives the memory of each tensor back and faults it in again for the next:
/// a tenth of all CPU time (docs/PERFORMANCE.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Bad usage, as `sysexits.h` has it.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::from_args(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output, complaints to standard error; a closed pipe is fine.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let log = match cli.command.log() {
        Ok(log) => log,
        Err(problems) => return usage(&problems),
    };
    if let Err(problem) = log::start(&log.filter, log.format == LogFormat::Json) {
        return usage(&problem);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("runtime")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("the runtime cannot be started: {error}")),
    };
    match runtime.block_on(cli.command.run()) {
        Ok(code) => code,
        Err(error) if error.is::<ConfigErrors>() => usage(&error),
        Err(error) => failed(&format!("{error:#}")),
    }
}

fn usage(problem: &impl std::fmt::Display) -> ExitCode {
    eprintln!("facequality-transformer: {problem}");
    ExitCode::from(USAGE)
}

fn failed(problem: &str) -> ExitCode {
    eprintln!("facequality-transformer: {problem}");
    ExitCode::FAILURE
}
