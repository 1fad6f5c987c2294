//! The figures of one run, made from what was recorded. They are what the table, the JSON and the
//! page show.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::loadtest::failure::Fault;
use crate::loadtest::measure::record::{FaultCount, Recorded};
use crate::loadtest::show::units::{milliseconds, show_milliseconds, show_rate};

/// What is said when the loop was closed.
const CLOSED: &str = "closed loop: while the target stalls, nothing is sent, so these percentiles \
     cannot see a stall; use --rate to see it";

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// What tells it from the others: the load, and the target where there are two.
    pub label: String,
    /// Requests per second that were meant to be sent; none in a closed loop.
    pub offered: Option<f64>,
    /// Seconds that were counted.
    pub seconds: f64,
    /// How many requests; `sent` = `ok` + `failed`.
    pub requests: Requests,
    /// Images with a right score.
    pub images: u64,
    /// The same per second.
    pub images_per_second: f64,
    /// Failures by kind.
    pub errors: Vec<ErrorCount>,
    /// From the intended moment (open loop) or the sending (closed loop). Right answers, and
    /// timeouts as at least that long.
    pub latency: Distribution,
    /// From the sending, the same requests.
    pub service: Distribution,
    /// From the intended moment to the sending, all requests.
    pub send_lag: Distribution,
    /// The course of the run.
    pub series: Vec<Point>,
    /// The stages that the target's `server-timing` named.
    pub stages: Vec<Stage>,
    /// Mean durations from the target's `/metrics`, over this run.
    pub metrics: Vec<Mean>,
    /// CPU per image, of all images asked for.
    pub cpu: Cpu,
    /// Seconds of latency gained per second: above zero when the rate exceeds the capacity.
    pub growth: f64,
    /// What to know before believing the figures.
    pub notes: Vec<String>,
}

/// Counts of requests.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Requests {
    /// All that were counted.
    pub sent: u64,
    /// Answered with the right scores.
    pub ok: u64,
    /// Anything else.
    pub failed: u64,
    /// Sent to warm up, and left out.
    pub warmup: u64,
}

/// Failures of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorCount {
    /// The kind.
    pub kind: String,
    /// How many.
    pub count: u64,
    /// The words of the first.
    pub example: String,
}

/// Percentiles in milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Distribution {
    /// How many values.
    pub count: u64,
    /// The mean.
    pub mean_ms: f64,
    /// The median.
    pub p50_ms: f64,
    /// 90 %.
    pub p90_ms: f64,
    /// 99 %.
    pub p99_ms: f64,
    /// 99.9 %.
    pub p999_ms: f64,
    /// The largest.
    pub max_ms: f64,
    /// Quantile and milliseconds, dense towards the end.
    pub curve: Vec<(f64, f64)>,
}

/// A piece of time.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// Its middle, in seconds from the start.
    pub second: f64,
    /// Images per second with right scores.
    pub images_per_second: f64,
    /// Failed requests per second.
    pub failed_per_second: f64,
    /// Median latency of the requests meant to be sent then; none if there were none.
    pub p50_ms: Option<f64>,
    /// Their 99 %.
    pub p99_ms: Option<f64>,
}

/// A stage of the target.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Its durations.
    pub time: Distribution,
}

/// A duration that the target itself measured.
#[derive(Clone, Debug, Serialize)]
pub struct Mean {
    /// The metric with its labels.
    pub name: String,
    /// How often.
    pub count: u64,
    /// The mean in milliseconds.
    pub mean_ms: f64,
}

/// CPU time, user and system.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cpu {
    /// Microseconds per image of the process given by `--pid`.
    pub target_us: Option<f64>,
    /// Seconds it used in all; below one the figure above is coarse, as it comes in hundredths.
    pub target_seconds: Option<f64>,
    /// Its resident memory at the end, in MiB.
    pub target_mib: Option<f64>,
    /// Microseconds per image of the load test itself.
    pub own_us: Option<f64>,
}

/// What a run was, beside its samples.
#[derive(Debug)]
pub(in crate::loadtest) struct Circumstances {
    pub(in crate::loadtest) label: String,
    pub(in crate::loadtest) offered: Option<f64>,
    pub(in crate::loadtest) batch: usize,
    /// Lanes that were open, and how many were allowed; the rest waited.
    pub(in crate::loadtest) lanes: (usize, usize),
    /// CPU of the target and of ourselves while it was counted.
    pub(in crate::loadtest) target_cpu: Option<Duration>,
    pub(in crate::loadtest) own_cpu: Option<Duration>,
    pub(in crate::loadtest) target_bytes: Option<u64>,
    pub(in crate::loadtest) metrics: Vec<Mean>,
}

impl Summary {
    pub(in crate::loadtest) fn new(
        from: Instant,
        recorded: &Recorded,
        about: Circumstances,
    ) -> Self {
        let failed = recorded.failed();
        let seconds = (recorded.last - from).as_secs_f64().max(1e-9);
        let requests = Requests {
            sent: recorded.ok + failed,
            ok: recorded.ok,
            failed,
            warmup: recorded.warmup,
        };
        let asked = requests.sent * about.batch as u64;
        let per_image = |cpu: Option<Duration>| {
            cpu.filter(|_| asked > 0)
                .map(|cpu| cpu.as_secs_f64() * 1e6 / asked as f64)
        };
        let error = |(fault, count): (&Fault, &FaultCount)| ErrorCount {
            kind: fault.to_string(),
            count: count.count,
            example: count.example.clone(),
        };
        let stage = |(name, time): (&String, &Histogram<u32>)| Stage {
            name: name.clone(),
            time: Distribution::of(time),
        };
        let mut summary = Self {
            label: about.label,
            offered: about.offered,
            seconds,
            images: recorded.images,
            images_per_second: recorded.images as f64 / seconds,
            requests,
            errors: recorded.faults.iter().map(error).collect(),
            latency: Distribution::of(&recorded.latency),
            service: Distribution::of(&recorded.service),
            send_lag: Distribution::of(&recorded.lag),
            series: series(recorded),
            stages: recorded.stages.iter().map(stage).collect(),
            metrics: about.metrics,
            cpu: Cpu {
                target_us: per_image(about.target_cpu),
                target_seconds: about.target_cpu.map(|cpu| cpu.as_secs_f64()),
                target_mib: about.target_bytes.map(|b| b as f64 / f64::from(1 << 20)),
                own_us: per_image(about.own_cpu),
            },
            growth: growth(recorded),
            notes: Vec::new(),
        };
        summary.notes = summary.observe(recorded, about.lanes);
        summary
    }

    /// The share of counted requests that failed.
    pub fn error_share(&self) -> f64 {
        self.requests.failed as f64 / self.requests.sent.max(1) as f64
    }

    /// Requests answered rightly per second.
    pub fn requests_per_second(&self) -> f64 {
        self.requests.ok as f64 / self.seconds
    }

    fn observe(&self, recorded: &Recorded, lanes: (usize, usize)) -> Vec<String> {
        let mut notes = Vec::new();
        if self.offered.is_none() {
            notes.push(CLOSED.to_owned());
        }
        if self.requests.sent == 0 {
            notes.push("nothing was counted: the run was shorter than its warm-up".to_owned());
            return notes;
        }
        let (silence, began) = recorded.silence;
        let usual = 5.0 * self.seconds / self.requests.sent as f64;
        let long = (0.01 * self.latency.p50_ms).max(usual).max(0.05);
        if silence.as_secs_f64() > long {
            notes.push(format!(
                "no answer for {} from second {:.1} on",
                show_milliseconds(milliseconds(silence)),
                began.as_secs_f64(),
            ));
        }
        if self.offered.is_some() {
            if lanes.0 >= lanes.1 && self.send_lag.p99_ms > 2.0 {
                notes.push(format!(
                    "all {} lanes were busy: requests waited for one, {} at p99 (counted; \
                     --max_connections)",
                    lanes.1,
                    show_milliseconds(self.send_lag.p99_ms),
                ));
            } else if self.send_lag.p99_ms > 2.0 {
                notes.push(format!(
                    "the load test itself was late: {} at p99 between a request's moment and its \
                     sending (counted; the machine is busy)",
                    show_milliseconds(self.send_lag.p99_ms),
                ));
            }
            if self.growth > GROWTH {
                notes.push(format!(
                    "latency grew by {} in each second: the rate is above the capacity, and the \
                     percentiles depend on how long the run lasts",
                    show_milliseconds(self.growth * 1e3),
                ));
            }
        }
        if self.cpu.target_seconds.is_some_and(|seconds| seconds < 1.0) {
            notes.push(
                "the target used less than a second of CPU, which is counted in hundredths: \
                 let the run last longer for an exact figure"
                    .to_owned(),
            );
        }
        notes.extend(self.unsteady());
        notes
    }

    /// Says so when the throughput of whole pieces of the run lies far from the usual one.
    fn unsteady(&self) -> Option<String> {
        // Ends are cut: the first piece begins and the last one ends somewhere within.
        let inner = self.series.get(1..self.series.len().saturating_sub(1))?;
        if inner.len() < 8 {
            return None;
        }
        // Eight pieces, so that one odd slot does not decide.
        let piece = inner.len() / 8;
        let mut rates: Vec<_> = inner
            .chunks_exact(piece)
            .map(|slots| {
                let sum: f64 = slots.iter().map(|slot| slot.images_per_second).sum();
                sum / piece as f64
            })
            .collect();
        rates.sort_by(f64::total_cmp);
        let (least, middle, most) = (*rates.first()?, rates[rates.len() / 2], *rates.last()?);
        (most - least > 0.3 * middle).then(|| {
            format!(
                "unsteady: images went through at {} to {}, {} in the middle",
                show_rate(least),
                show_rate(most),
                show_rate(middle),
            )
        })
    }
}

/// Seconds of latency gained per second above which a rate is said to exceed the capacity.
pub(in crate::loadtest) const GROWTH: f64 = 0.02;

/// The same, beyond doubt.
pub(in crate::loadtest) const OVERRUN: f64 = 0.25;

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

    /// The value at a quantile, between the kept points the next higher one.
    pub(in crate::loadtest) fn at(&self, quantile: f64) -> f64 {
        self.curve
            .iter()
            .find(|(q, _)| *q >= quantile - 1e-9)
            .map_or(self.max_ms, |&(_, ms)| ms)
    }
}

fn series(recorded: &Recorded) -> Vec<Point> {
    let width = recorded.slot_width.as_secs_f64();
    let quantile = |histogram: &Histogram<u32>, q| {
        (!histogram.is_empty()).then(|| histogram.value_at_quantile(q) as f64 / 1e6)
    };
    let slots = recorded.slots.iter().enumerate();
    slots
        .map(|(number, slot)| Point {
            second: (number as f64 + 0.5) * width,
            images_per_second: slot.images as f64 / width,
            failed_per_second: slot.failed as f64 / width,
            p50_ms: quantile(&slot.latency, 0.5),
            p99_ms: quantile(&slot.latency, 0.99),
        })
        .collect()
}

/// The median latency of the last quarter against the first, over the time between.
fn growth(recorded: &Recorded) -> f64 {
    let used = recorded
        .slots
        .iter()
        .rposition(|slot| !slot.latency.is_empty())
        .map_or(0, |last| last + 1);
    let quarter = used / 4;
    if quarter == 0 {
        return 0.0;
    }
    let median = |slots: &[crate::loadtest::measure::record::Slot]| {
        let mut medians: Vec<_> = slots
            .iter()
            .filter(|slot| !slot.latency.is_empty())
            .map(|slot| slot.latency.value_at_quantile(0.5))
            .collect();
        medians.sort_unstable();
        medians
            .get(medians.len() / 2)
            .map_or(0.0, |&ns| ns as f64 / 1e9)
    };
    let gained = median(&recorded.slots[used - quarter..used]) - median(&recorded.slots[..quarter]);
    let between = recorded.slot_width.as_secs_f64() * (used - quarter) as f64;
    gained / between
}
