//! A load test: what a client feels, measured from outside. It drives this service, a Python
//! transformer, or Triton itself over the protocols they share, and knows nothing of how they work.
//!
//! ```text
//! execute → compare, search → run → target (lanes: HTTP/1.1, gRPC, stream)
//!                              ├──→ schedule    when to send
//!                              ├──→ plan        what to send, built once
//!                              ├──→ check → answer   whether the scores are right
//!                              └──→ record → summary → table, report
//! ```
//!
//! In an open loop requests leave on schedule whatever the answers do, and latency counts from the
//! moment that was intended; so a stall of the target is felt by all the requests that fell into
//! it. A closed loop waits for its answers and says that it cannot see such a stall.

mod answer;
mod check;
mod compare;
mod failure;
mod measure;
mod run;
mod schedule;
mod search;
mod show;
mod target;
mod workload;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

pub use compare::{Comparison, Figure, Ratio, median};
pub use measure::procfs::{cpu_time, memory};
pub use measure::slo::{Slo, Verdict};
pub use measure::summary::{Cpu, Distribution, ErrorCount, Mean, Point, Requests, Stage, Summary};
pub use run::Until;
pub use schedule::{Arrival, Rates};
pub use show::html::html;
pub use show::text::text;
pub use show::units::parse_duration;
pub use target::Endpoint;
pub use workload::Protocol;

use check::Check;
use run::Runner;
use search::Trial;
use target::Target;
use workload::Plan;

/// Lanes of a gRPC target share at most this many connections.
const GRPC_CONNECTIONS: usize = 8;

/// What to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whom to load.
    pub target: Endpoint,
    /// Another to be loaded in turn with it.
    pub compare: Option<Endpoint>,
    /// How often each of two targets has its turn.
    pub rounds: usize,
    /// Files, or folders of files, to be sent.
    pub images: Vec<PathBuf>,
    /// Images in each request.
    pub batch: usize,
    /// How requests follow each other.
    pub load: Load,
    /// The beginning of each run that is not counted.
    pub warmup: Duration,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// Requests that can be in flight in an open loop.
    pub max_connections: usize,
    /// The scores that must come, by file name.
    pub golden: Option<PathBuf>,
    /// By how much a score may differ.
    pub tolerance: f64,
    /// What must hold.
    pub slo: Option<Slo>,
    /// Whether to show a line of progress.
    pub progress: bool,
}

/// How requests follow each other.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// So many at once, each followed by the next when it is answered.
    Closed {
        /// Requests in flight.
        concurrency: usize,
        /// When to end.
        until: Until,
    },
    /// On schedule.
    Open {
        /// The rate, or the first and the last.
        rates: Rates,
        /// Rates between and including those.
        steps: usize,
        /// How the moments lie.
        arrival: Arrival,
        /// How long each rate lasts.
        length: Duration,
    },
    /// On schedule at different rates, to find the highest that holds the SLO.
    FindRate {
        /// The rate of the first probe.
        start: f64,
        /// How the moments lie.
        arrival: Arrival,
        /// How long each probe lasts.
        length: Duration,
    },
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something asked for cannot be done.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers.
    #[error("{url} cannot be reached: {why} (--url)")]
    Unreachable {
        /// The address.
        url: String,
        /// The reason.
        why: String,
    },
}

/// All that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The target's address.
    pub url: String,
    /// The protocol's name.
    pub protocol: &'static str,
    /// The model's name.
    pub model: String,
    /// Images in each request.
    pub batch: usize,
    /// `closed`, `open`, `find_rate` or `compare`.
    pub kind: &'static str,
    /// The runs in their order: one, or one for each rate, probe or turn.
    pub runs: Vec<Summary>,
    /// The ratios of two targets.
    pub comparison: Option<Comparison>,
    /// The highest rate that held the SLO, in requests per second.
    pub found_rate: Option<f64>,
    /// The SLO, bound by bound, for the last run that it is judged by.
    pub verdicts: Vec<Verdict>,
    /// The first score of each image, by name.
    pub scores: Vec<(String, f64)>,
    /// What to know before believing the figures.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether an SLO was missed, or a golden score.
    pub fn missed(&self) -> bool {
        self.verdicts.iter().any(|verdict| !verdict.held)
            || (self.kind == "find_rate" && self.found_rate.is_none())
    }

    /// Whether anything was answered rightly.
    pub fn any_answer(&self) -> bool {
        self.runs.iter().any(|run| run.requests.ok > 0)
    }
}

/// Loads the target as the settings say.
///
/// # Errors
///
/// When the settings cannot be followed, or the target cannot be reached at the start. What fails
/// later is counted.
pub async fn execute(settings: &Settings) -> Result<Report, Error> {
    let (runner, mut notes) = runner(settings, &settings.target)?;
    runner.knock().await?;
    let mut report = Report {
        url: settings.target.url.clone(),
        protocol: settings.target.protocol.name(),
        model: settings.target.model.clone(),
        batch: settings.batch,
        kind: "closed",
        runs: Vec::new(),
        comparison: None,
        found_rate: None,
        verdicts: Vec::new(),
        scores: Vec::new(),
        notes: Vec::new(),
    };
    if let Some(other) = &settings.compare {
        let (other, more) = self::runner(settings, other)?;
        other.knock().await?;
        notes.extend(more);
        let (runs, comparison) = compare::alternate(settings, &runner, &other).await?;
        notes.extend(compare::different_scores(&runner, &other));
        report.kind = "compare";
        report.runs = runs;
        report.comparison = Some(comparison);
    } else {
        match settings.load {
            Load::Closed { concurrency, until } => {
                report.runs.push(runner.closed(concurrency, until).await);
            }
            Load::Open {
                rates,
                steps,
                arrival,
                length,
            } => {
                report.kind = "open";
                for rate in rates.steps(steps) {
                    report.runs.push(runner.open(rate, arrival, length).await);
                }
            }
            Load::FindRate {
                start,
                arrival,
                length,
            } => {
                report.kind = "find_rate";
                let slo = settings.slo.as_ref().ok_or_else(|| {
                    Error::Usage(
                        "--find_rate needs --slo, for example p99=20ms,errors=0".to_owned(),
                    )
                })?;
                let runs = &mut report.runs;
                report.found_rate = search::highest(start, async |rate| {
                    let run = runner.open(rate, arrival, length).await;
                    let held = slo.judge(&run).iter().all(|verdict| verdict.held);
                    let trial = match run.growth {
                        growth if growth > measure::summary::OVERRUN => Trial::FarOff,
                        growth if held && growth <= measure::summary::GROWTH => Trial::Held,
                        _ => Trial::Missed,
                    };
                    runs.push(run);
                    Ok::<_, Error>(trial)
                })
                .await?;
            }
        }
    }
    report.verdicts = verdicts(settings, &report);
    report.scores = known_scores(&runner);
    report.notes = notes;
    Ok(report)
}

fn runner(settings: &Settings, endpoint: &Endpoint) -> Result<(Runner, Vec<String>), Error> {
    let mut notes = Vec::new();
    let images = if endpoint.protocol.sends_tensors() {
        Vec::new()
    } else {
        workload::read_images(&settings.images)?
    };
    let plan = Plan::build(endpoint.protocol, &endpoint.model, &images, settings.batch)?;
    if plan.unused > 0 {
        notes.push(format!(
            "{} of {} images were not sent: their bodies would not fit in memory",
            plan.unused,
            plan.names.len()
        ));
    }
    let check = Check::new(endpoint.protocol, &plan, settings.tolerance);
    if let Some(golden) = &settings.golden {
        let found = check.read_golden(golden, &plan.names)?;
        if found < plan.names.len() {
            notes.push(format!(
                "{} of {} images are not in the golden file; their first scores were taken as \
                 right",
                plan.names.len() - found,
                plan.names.len()
            ));
        }
    }
    if let Some(pid) = endpoint.pid
        && measure::procfs::cpu_time(pid).is_none()
    {
        return Err(Error::Usage(format!(
            "--pid {pid}: there is no such process"
        )));
    }
    let lanes = match settings.load {
        Load::Closed { concurrency, .. } => concurrency,
        _ => settings.max_connections,
    };
    if lanes == 0 {
        return Err(Error::Usage(
            "--concurrency and --max_connections must be at least 1".to_owned(),
        ));
    }
    let connections = lanes.min(GRPC_CONNECTIONS);
    let runner = Runner {
        target: Target::new(endpoint.clone(), settings.timeout, connections)?,
        plan: Arc::new(plan),
        check: Arc::new(check),
        batch: settings.batch,
        warmup: settings.warmup,
        timeout: settings.timeout,
        max_lanes: lanes,
        progress: settings.progress,
    };
    Ok((runner, notes))
}

/// Every run is judged, but for a search, where the best rate has held by construction. Of each
/// bound the first miss is shown, else the last run's figure.
fn verdicts(settings: &Settings, report: &Report) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    if let (Some(slo), false) = (&settings.slo, report.kind == "find_rate") {
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
            .filter(|error| error.kind == failure::Fault::WrongScore.to_string())
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

fn known_scores(runner: &Runner) -> Vec<(String, f64)> {
    let names = runner.plan.names.iter().cloned();
    names
        .zip(runner.check.scores())
        .filter_map(|(name, score)| Some((name, score?)))
        .collect()
}
