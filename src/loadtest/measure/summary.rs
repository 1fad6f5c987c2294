//! The figures of one run, made from what was recorded: what the text, the JSON and the page show.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::loadtest::failure::FailureKind;
use crate::loadtest::measure::note::Note;
use crate::loadtest::measure::record::{FailureCount, Recorded, StageRecord};
use crate::loadtest::measure::scrape::Mean;
use crate::loadtest::measure::series::{self, Point};
use crate::loadtest::measure::verdict::Verdict;

/// The figures of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// What tells it from the others: the load, and the target where there are two.
    pub label: String,
    /// Requests per second that were meant to be sent; none in a closed loop.
    pub offered: Option<f64>,
    /// Seconds that were counted.
    pub seconds: f64,
    /// `sent` = `ok` + `failed`.
    pub requests: Requests,
    /// Images of the requests that succeeded.
    pub images: u64,
    /// Those per second.
    pub images_per_second: f64,
    /// Failures, each kind once.
    pub errors: Vec<ErrorCount>,
    /// From the intended moment (open loop) or the sending (closed loop). Requests that succeeded,
    /// and timeouts as at least that long.
    pub latency: Distribution,
    /// From the sending, the same requests.
    pub service: Distribution,
    /// From the intended moment to the sending, all requests.
    pub send_lag: Distribution,
    /// The course of the run.
    pub series: Vec<Point>,
    /// What the target's `server-timing` says.
    pub stages: Vec<Stage>,
    /// Mean durations from the target's `/metrics`, over this run.
    pub metrics: Vec<Mean>,
    /// CPU per image, over all images that were sent.
    pub cpu: Cpu,
    /// Seconds of latency gained per second: above zero when the rate exceeds the capacity.
    pub growth: f64,
    /// Which of two targets was loaded.
    pub side: Option<Side>,
    /// Each bound of the SLO, if there is one.
    pub verdicts: Vec<Verdict>,
    /// What limits these figures.
    pub notes: Vec<Note>,
}

/// One of two targets that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Side {
    A,
    B,
}

/// Counts of requests.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Requests {
    pub sent: u64,
    /// Those whose response had the expected scores.
    pub ok: u64,
    pub failed: u64,
    /// Sent during the warm-up, and left out of `sent`.
    pub warmup: u64,
}

/// Failures of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorCount {
    pub kind: FailureKind,
    pub count: u64,
    /// The target's words at the first of them.
    pub example: String,
}

/// Percentiles in milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Distribution {
    pub count: u64,
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
    /// Quantile and milliseconds, dense towards the end.
    pub curve: Vec<(f64, f64)>,
}

/// A stage that the target's `server-timing` names.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    pub name: String,
    pub time: Distribution,
}

/// CPU time, user and system.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cpu {
    /// Microseconds per image of the process named by `--pid`.
    pub target_us: Option<f64>,
    /// Seconds of that process in all; below one the figure above is coarse, as the system counts in
    /// hundredths.
    pub target_seconds: Option<f64>,
    /// Resident memory of that process at the end.
    pub target_mib: Option<f64>,
    /// Microseconds per image of the load test itself.
    pub own_us: Option<f64>,
}

/// What is known of a run beside its samples.
#[derive(Debug)]
pub(crate) struct RunInfo {
    pub(crate) label: String,
    pub(crate) offered: Option<f64>,
    pub(crate) batch: usize,
    /// CPU of the target and of ourselves while it was counted.
    pub(crate) target_cpu: Option<Duration>,
    pub(crate) own_cpu: Option<Duration>,
    pub(crate) target_bytes: Option<u64>,
    pub(crate) metrics: Vec<Mean>,
}

/// Connections of a run: how many were opened, and how many were allowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionUse {
    pub(crate) open: usize,
    pub(crate) max: usize,
}

impl Summary {
    pub(crate) fn new(from: Instant, recorded: &Recorded, info: RunInfo) -> Self {
        let failed = recorded.failed();
        let seconds = (recorded.last - from).as_secs_f64().max(1e-9);
        let requests = Requests {
            sent: recorded.ok + failed,
            ok: recorded.ok,
            failed,
            warmup: recorded.warmup,
        };
        let sent_images = requests.sent * info.batch as u64;
        let per_image = |cpu: Option<Duration>| {
            cpu.filter(|_| sent_images > 0)
                .map(|cpu| cpu.as_secs_f64() * 1e6 / sent_images as f64)
        };
        let error = |(&kind, count): (&FailureKind, &FailureCount)| ErrorCount {
            kind,
            count: count.count,
            example: count.example.clone(),
        };
        let stage = |stage: &StageRecord| Stage {
            name: stage.name.clone(),
            time: Distribution::of(&stage.time),
        };
        Self {
            label: info.label,
            offered: info.offered,
            seconds,
            images: recorded.images,
            images_per_second: recorded.images as f64 / seconds,
            requests,
            errors: recorded.failures.iter().map(error).collect(),
            latency: Distribution::of(&recorded.latency),
            service: Distribution::of(&recorded.service),
            send_lag: Distribution::of(&recorded.lag),
            series: series::points(recorded, series::end(from, recorded, info.offered)),
            stages: recorded.stages.iter().map(stage).collect(),
            metrics: info.metrics,
            cpu: Cpu {
                target_us: per_image(info.target_cpu),
                target_seconds: info.target_cpu.map(|cpu| cpu.as_secs_f64()),
                target_mib: info.target_bytes.map(|b| b as f64 / f64::from(1 << 20)),
                own_us: per_image(info.own_cpu),
            },
            growth: series::growth(recorded),
            side: None,
            verdicts: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Whether every bound of the SLO held; none without an SLO.
    pub(crate) fn held(&self) -> Option<bool> {
        let verdicts = &self.verdicts;
        (!verdicts.is_empty()).then(|| verdicts.iter().all(|verdict| verdict.held))
    }

    /// The share of counted requests that failed.
    pub fn error_share(&self) -> f64 {
        self.requests.failed as f64 / self.requests.sent.max(1) as f64
    }

    /// Requests per second that succeeded.
    pub fn requests_per_second(&self) -> f64 {
        self.requests.ok as f64 / self.seconds
    }
}

impl Distribution {
    fn of<T: hdrhistogram::Counter>(histogram: &Histogram<T>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
        // 0, 0.1, 0.2 … of the way, then the same of each further nine, until one value is left.
        let mut curve: Vec<_> = (0..10).map(|i| f64::from(i) / 10.0).collect();
        let mut left = 0.1;
        while left * histogram.len() as f64 >= 1.0 {
            curve.extend((0..9).map(|i| 1.0 - left * (1.0 - f64::from(i) / 10.0)));
            left /= 10.0;
        }
        curve.push(1.0 - left);
        Self {
            count: histogram.len(),
            mean_ms: histogram.mean() / 1e6,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: histogram.max() as f64 / 1e6,
            curve: curve.into_iter().map(|q| (q, at(q))).collect(),
        }
    }

    /// The value at a quantile; between two points of the curve that of the higher one.
    pub(crate) fn at(&self, quantile: f64) -> f64 {
        self.curve
            .iter()
            .find(|(q, _)| *q >= quantile - 1e-9)
            .map_or(self.max_ms, |&(_, ms)| ms)
    }
}
