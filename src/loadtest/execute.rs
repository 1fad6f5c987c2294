//! From settings to a report: what is sent is built, the target reached, and the runs made.

use std::sync::Arc;
use std::time::Instant;

use crate::loadtest::compare;
use crate::loadtest::error::Error;
use crate::loadtest::give_up::GiveUp;
use crate::loadtest::measure::series::{CAPACITY_EXCEEDED, CAPACITY_FAR_EXCEEDED};
use crate::loadtest::measure::summary::Summary;
use crate::loadtest::provenance;
use crate::loadtest::report::{Report, ReportKind};
use crate::loadtest::run::Runner;
use crate::loadtest::search::{self, Probe};
use crate::loadtest::settings::{Endpoint, Load, Settings};
use crate::loadtest::show::progress;
use crate::loadtest::target::Target;
use crate::loadtest::verdicts;
use crate::loadtest::verify::Verifier;
use crate::loadtest::workload::Workload;
use crate::procfs;

/// The requests of a gRPC target share at most this many connections.
const GRPC_CONNECTIONS: usize = 8;

/// Loads the target as the settings say.
///
/// # Errors
///
/// When the settings cannot be followed, or the target cannot be reached at the start. What fails
/// later is counted.
pub async fn execute(settings: &Settings) -> Result<Report, Error> {
    let (runner, notes) = prepare(settings, &settings.target)?;
    let other = settings.compare.as_ref();
    let other = other.map(|other| prepare(settings, other)).transpose()?;
    let mut report = Report {
        url: settings.target.url.clone(),
        protocol: settings.target.protocol,
        model: settings.target.model.clone(),
        batch: settings.batch,
        images: runner.workload.image_set(),
        slo: settings.slo.as_ref().map(ToString::to_string),
        provenance: provenance::collect(settings.command_line.clone()),
        kind: ReportKind::Closed,
        runs: Vec::new(),
        comparison: None,
        found_rate: None,
        ramp: None,
        stopped: None,
        verdicts: Vec::new(),
        scores: Vec::new(),
        notes,
    };
    let begin = Instant::now();
    runner.check_reachable().await?;
    match &other {
        None => load(settings, &runner, &mut report).await?,
        Some((other, notes)) => {
            other.check_reachable().await?;
            report.notes.extend(notes.iter().cloned());
            compare(settings, &runner, other, &mut report).await?;
        }
    }
    report.provenance.seconds = begin.elapsed().as_secs_f64();
    report.verdicts = verdicts::of_report(settings, &report);
    report.ramp = verdicts::ramp(&report);
    report.scores = runner.verifier.image_scores(&runner.workload.names);
    report.notes.extend(failures(settings, &report));
    Ok(report)
}

/// Makes the runs against one target.
async fn load(settings: &Settings, runner: &Runner, report: &mut Report) -> Result<(), Error> {
    match settings.load {
        Load::Closed { concurrency, until } => {
            report.kind = ReportKind::Closed;
            let run = runner.closed(concurrency, until).await;
            report.runs.push(finish(settings, run));
        }
        Load::Open {
            rates,
            steps,
            arrival,
            length,
        } => {
            report.kind = ReportKind::Open;
            for rate in rates.steps(steps) {
                let run = runner.open(rate, arrival, length).await;
                report.runs.push(finish(settings, run));
                if runner.give_up.is_given_up() {
                    break;
                }
            }
        }
        Load::FindRate {
            start,
            arrival,
            length,
        } => {
            report.kind = ReportKind::FindRate;
            if settings.slo.is_none() {
                return Err(Error::Usage(
                    "--find_rate needs --slo, for example p99=20ms".to_owned(),
                ));
            }
            let runs = &mut report.runs;
            let found = search::highest(start, async |rate| {
                let run = finish(settings, runner.open(rate, arrival, length).await);
                let probe = match run.growth {
                    growth if growth > CAPACITY_FAR_EXCEEDED => Probe::Overloaded,
                    growth if run.held() == Some(true) && growth <= CAPACITY_EXCEEDED => {
                        Probe::Held
                    }
                    _ => Probe::Missed,
                };
                runs.push(run);
                if runner.give_up.is_given_up() {
                    return Err(GivenUp);
                }
                Ok(probe)
            });
            report.found_rate = found.await.unwrap_or(None);
        }
    }
    report.stopped = runner.give_up.reason();
    Ok(())
}

/// Ends a search early.
struct GivenUp;

/// Loads two targets in turn.
async fn compare(
    settings: &Settings,
    a: &Runner,
    b: &Runner,
    report: &mut Report,
) -> Result<(), Error> {
    report.kind = ReportKind::Compare;
    let finish = |run| finish(settings, run);
    report.runs = compare::alternate(settings, a, b, finish).await?;
    for runner in [a, b] {
        let url = &runner.target.endpoint.url;
        if report.stopped.is_none() {
            report.stopped = runner
                .give_up
                .reason()
                .map(|reason| format!("{url}: {reason}"));
        }
    }
    report.comparison = Some(compare::comparison(a, b, &report.runs));
    report.notes.extend(compare::different_scores(a, b));
    Ok(())
}

/// Judges a run, and tells of it where nobody watches.
fn finish(settings: &Settings, mut run: Summary) -> Summary {
    if let Some(slo) = &settings.slo {
        run.verdicts = slo.judge(&run);
    }
    if settings.progress {
        progress::print_finished(&run);
    }
    run
}

/// Says that requests failed, where no bound does.
fn failures(settings: &Settings, report: &Report) -> Option<String> {
    let total = |of: fn(&Summary) -> u64| report.runs.iter().map(of).sum::<u64>();
    let failed = total(|run| run.requests.failed);
    let sent = total(|run| run.requests.sent);
    (failed > 0 && settings.slo.is_none()).then(|| {
        let share = failed as f64 / sent as f64 * 100.0;
        format!("{failed} of {sent} requests failed ({share:.1} %); --slo makes that an exit code")
    })
}

/// Builds what is sent to an endpoint and what is expected of it; with notes for the report.
fn prepare(settings: &Settings, endpoint: &Endpoint) -> Result<(Runner, Vec<String>), Error> {
    let mut notes = Vec::new();
    let workload = Workload::build(endpoint, settings)?;
    let verifier = Verifier::new(
        endpoint.protocol,
        &settings.tensors.outputs,
        &workload,
        settings.tolerance,
    );
    if let Some(golden) = &settings.golden {
        let found = verifier.read_golden(golden, &workload.names)?;
        if found < workload.names.len() {
            notes.push(format!(
                "{} of {} images are not in the golden file; their first scores were taken as \
                 the expected ones",
                workload.names.len() - found,
                workload.names.len()
            ));
        }
    }
    if let Some(pid) = endpoint.pid
        && procfs::cpu_time(pid).is_none()
    {
        return Err(Error::Usage(format!("--pid {pid}: no such process")));
    }
    let max_connections = match settings.load {
        Load::Closed { concurrency, .. } => concurrency,
        _ => settings.max_connections,
    };
    if max_connections == 0 {
        return Err(Error::Usage(
            "--concurrency and --max_connections must be at least 1".to_owned(),
        ));
    }
    let shared = max_connections.min(GRPC_CONNECTIONS);
    let runner = Runner {
        target: Target::new(endpoint.clone(), settings, shared)?,
        workload: Arc::new(workload),
        verifier: Arc::new(verifier),
        give_up: Arc::new(GiveUp::default()),
        batch: settings.batch,
        warmup: settings.warmup,
        timeout: settings.timeout,
        max_connections,
        progress: settings.progress,
    };
    Ok((runner, notes))
}
