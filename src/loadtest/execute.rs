//! From settings to a report: what is sent is built, the target reached, and the runs made.

use std::sync::Arc;

use crate::loadtest::compare;
use crate::loadtest::error::Error;
use crate::loadtest::failure::FailureKind;
use crate::loadtest::measure::procfs;
use crate::loadtest::measure::slo::Verdict;
use crate::loadtest::measure::summary::{CAPACITY_EXCEEDED, CAPACITY_FAR_EXCEEDED};
use crate::loadtest::report::{ImageScore, Report, ReportKind};
use crate::loadtest::run::Runner;
use crate::loadtest::search::{self, Probe};
use crate::loadtest::settings::{Endpoint, Load, Settings};
use crate::loadtest::target::Target;
use crate::loadtest::verify::Verifier;
use crate::loadtest::workload::{self, Workload};

/// The requests of a gRPC target share at most this many connections.
const GRPC_CONNECTIONS: usize = 8;

/// Loads the target as the settings say.
///
/// # Errors
///
/// When the settings cannot be followed, or the target cannot be reached at the start. What fails
/// later is counted.
pub async fn execute(settings: &Settings) -> Result<Report, Error> {
    let (runner, mut notes) = prepare(settings, &settings.target)?;
    runner.check_reachable().await?;
    let mut report = Report {
        url: settings.target.url.clone(),
        protocol: settings.target.protocol,
        model: settings.target.model.clone(),
        batch: settings.batch,
        kind: ReportKind::Closed,
        runs: Vec::new(),
        comparison: None,
        found_rate: None,
        verdicts: Vec::new(),
        scores: Vec::new(),
        notes: Vec::new(),
    };
    if let Some(other) = &settings.compare {
        let (other, more) = prepare(settings, other)?;
        other.check_reachable().await?;
        notes.extend(more);
        let (runs, comparison) = compare::alternate(settings, &runner, &other).await?;
        notes.extend(compare::different_scores(&runner, &other));
        report.kind = ReportKind::Compare;
        report.runs = runs;
        report.comparison = Some(comparison);
    } else {
        load(settings, &runner, &mut report).await?;
    }
    report.verdicts = verdicts(settings, &report);
    report.scores = image_scores(&runner);
    report.notes = notes;
    Ok(report)
}

/// Makes the runs against one target.
async fn load(settings: &Settings, runner: &Runner, report: &mut Report) -> Result<(), Error> {
    match settings.load {
        Load::Closed { concurrency, until } => {
            report.kind = ReportKind::Closed;
            report.runs.push(runner.closed(concurrency, until).await);
        }
        Load::Open {
            rates,
            steps,
            arrival,
            length,
        } => {
            report.kind = ReportKind::Open;
            for rate in rates.steps(steps) {
                report.runs.push(runner.open(rate, arrival, length).await);
            }
        }
        Load::FindRate {
            start,
            arrival,
            length,
        } => {
            report.kind = ReportKind::FindRate;
            let slo = settings.slo.as_ref().ok_or_else(|| {
                Error::Usage("--find_rate needs --slo, for example p99=20ms,errors=0".to_owned())
            })?;
            let runs = &mut report.runs;
            report.found_rate = search::highest(start, async |rate| {
                let run = runner.open(rate, arrival, length).await;
                let held = slo.judge(&run).iter().all(|verdict| verdict.held);
                let probe = match run.growth {
                    growth if growth > CAPACITY_FAR_EXCEEDED => Probe::Overloaded,
                    growth if held && growth <= CAPACITY_EXCEEDED => Probe::Held,
                    _ => Probe::Missed,
                };
                runs.push(run);
                Ok::<_, Error>(probe)
            })
            .await?;
        }
    }
    Ok(())
}

/// Builds what is sent to an endpoint and what is expected of it; with notes for the report.
fn prepare(settings: &Settings, endpoint: &Endpoint) -> Result<(Runner, Vec<String>), Error> {
    let mut notes = Vec::new();
    let images = if endpoint.protocol.sends_tensors() {
        Vec::new()
    } else {
        workload::read_images(&settings.images)?
    };
    let workload = Workload::build(endpoint, &settings.tensors, &images, settings.batch)?;
    if workload.unused > 0 {
        notes.push(format!(
            "{} of {} images were not sent: their bodies would not fit in memory",
            workload.unused,
            workload.names.len()
        ));
    }
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
        target: Target::new(endpoint.clone(), settings.timeout, shared)?,
        workload: Arc::new(workload),
        verifier: Arc::new(verifier),
        batch: settings.batch,
        warmup: settings.warmup,
        timeout: settings.timeout,
        max_connections,
        progress: settings.progress,
    };
    Ok((runner, notes))
}

/// Every run is judged, but for a search, where the best rate has held by construction. Of each
/// bound the first miss is shown, else the last run's figure.
fn verdicts(settings: &Settings, report: &Report) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    if let Some(slo) = &settings.slo
        && report.kind != ReportKind::FindRate
    {
        let judged: Vec<_> = report.runs.iter().map(|run| slo.judge(run)).collect();
        let bounds = judged.first().map_or(0, Vec::len);
        for bound in 0..bounds {
            let mut of_runs = judged.iter().map(|run| &run[bound]);
            let last = of_runs.clone().next_back();
            verdicts.extend(of_runs.find(|verdict| !verdict.held).or(last).cloned());
        }
    }
    if settings.golden.is_some() {
        let wrong: u64 = report
            .runs
            .iter()
            .flat_map(|run| &run.errors)
            .filter(|error| error.kind == FailureKind::WrongScore)
            .map(|error| error.count)
            .sum();
        verdicts.push(Verdict {
            bound: "scores as in --golden".to_owned(),
            measured: format!("{wrong} wrong"),
            held: wrong == 0,
        });
    }
    verdicts
}

fn image_scores(runner: &Runner) -> Vec<ImageScore> {
    let names = runner.workload.names.iter().cloned();
    names
        .zip(runner.verifier.scores())
        .filter_map(|(name, score)| {
            Some(ImageScore {
                name,
                score: score?,
            })
        })
        .collect()
}
