//! What happened, in memory that does not grow with the run: histograms, a time series whose slots
//! widen, counts by kind of failure.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hdrhistogram::{Counter, Histogram};

use crate::loadtest::failure::{Failure, FailureKind};
use crate::loadtest::measure::scrape::StageTime;

/// Slots of the time series; when they are full, neighbours are merged.
const MAX_SLOTS: usize = 240;

/// Width of a slot at the start.
const SLOT_WIDTH: Duration = Duration::from_millis(100);

/// Longer times count as this, an hour.
const MAX_NANOSECONDS: u64 = 3_600_000_000_000;

/// Stages of `server-timing` that are kept.
const MAX_STAGES: usize = 16;

/// One request from its intended moment to its end.
#[derive(Debug)]
pub(crate) struct Sample {
    /// When it was meant to be sent. In a closed loop, when it was.
    pub(crate) intended: Instant,
    pub(crate) sent: Instant,
    pub(crate) done: Instant,
    pub(crate) outcome: Result<(), Failure>,
    pub(crate) images: usize,
    /// From the response's `server-timing`.
    pub(crate) stages: Vec<StageTime>,
}

/// Takes samples from all connections.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// Requests intended before are warm-up.
    from: Instant,
    inner: Mutex<Recorded>,
}

/// All samples of a run.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) warmup: u64,
    pub(crate) ok: u64,
    pub(crate) images: u64,
    pub(crate) failures: BTreeMap<FailureKind, FailureCount>,
    /// From the intended moment; requests that succeeded, and timeouts as at least that long.
    pub(crate) latency: Histogram<u64>,
    /// From the sending; the same requests.
    pub(crate) service: Histogram<u64>,
    /// From the intended moment to the sending; all requests.
    pub(crate) lag: Histogram<u64>,
    /// In the order in which the responses name them: that of the request's path.
    pub(crate) stages: Vec<StageRecord>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) slot_width: Duration,
    /// The end of the last request; the start as long as there is none.
    pub(crate) last: Instant,
    /// When the last request was sent; the start as long as none was.
    pub(crate) last_sent: Instant,
    /// The longest time in which no request ended.
    pub(crate) silence: Silence,
}

/// The times of one stage of the target.
#[derive(Debug)]
pub(crate) struct StageRecord {
    pub(crate) name: String,
    pub(crate) time: Histogram<u32>,
}

/// A time without a response.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Silence {
    pub(crate) length: Duration,
    /// When it began, after the start.
    pub(crate) began: Duration,
}

/// Failures of one kind.
#[derive(Debug, Default)]
pub(crate) struct FailureCount {
    pub(crate) count: u64,
    /// The target's words at the first of them.
    pub(crate) example: String,
}

/// A piece of time.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Requests that succeeded in it.
    pub(crate) ok: u64,
    /// The images of those.
    pub(crate) images: u64,
    /// Images of requests that were sent in the warm-up and succeeded in this slot. They are in no
    /// figure, but without them every run would seem to begin with a dip.
    pub(crate) warmup_images: u64,
    /// Requests that failed in it.
    pub(crate) failed: u64,
    /// Latencies of requests that were meant to be sent in it.
    pub(crate) latency: Histogram<u32>,
}

/// The figures while the run goes on.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) done: u64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) failures: Vec<(FailureKind, u64)>,
}

impl Recorder {
    /// Counts what is intended at `from` or later.
    pub(crate) fn new(from: Instant) -> Self {
        let recorded = Recorded {
            warmup: 0,
            ok: 0,
            images: 0,
            failures: BTreeMap::new(),
            latency: histogram(3),
            service: histogram(3),
            lag: histogram(3),
            stages: Vec::new(),
            slots: Vec::new(),
            slot_width: SLOT_WIDTH,
            last: from,
            last_sent: from,
            silence: Silence::default(),
        };
        Self {
            from,
            inner: Mutex::new(recorded),
        }
    }

    pub(crate) fn record(&self, sample: Sample) {
        let mut recorded = self.lock();
        if sample.intended < self.from {
            recorded.warmup += 1;
            if sample.outcome.is_ok() && sample.done >= self.from {
                recorded.slot(sample.done - self.from).warmup_images += sample.images as u64;
            }
        } else {
            recorded.add(sample, self.from);
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let recorded = self.lock();
        let quantile = |q| Duration::from_nanos(recorded.latency.value_at_quantile(q));
        let failures = recorded.failures.iter();
        Snapshot {
            done: recorded.ok + recorded.failed(),
            p50: quantile(0.5),
            p99: quantile(0.99),
            failures: failures.map(|(&kind, count)| (kind, count.count)).collect(),
        }
    }

    /// What was recorded, emptying the recorder. `from` is the moment from which it counted.
    pub(crate) fn finish(&self) -> (Instant, Recorded) {
        let fresh = Self::new(self.from).inner.into_inner();
        let fresh = fresh.unwrap_or_else(std::sync::PoisonError::into_inner);
        (self.from, std::mem::replace(&mut *self.lock(), fresh))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Recorded> {
        // A count that a panicking task left is still a count.
        self.inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Recorded {
    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().map(|failures| failures.count).sum()
    }

    fn add(&mut self, sample: Sample, from: Instant) {
        let latency = nanoseconds(sample.done - sample.intended);
        self.lag
            .saturating_record(nanoseconds(sample.sent - sample.intended));
        let length = sample.done.saturating_duration_since(self.last);
        if length > self.silence.length {
            self.silence = Silence {
                length,
                began: self.last - from,
            };
        }
        self.last = self.last.max(sample.done);
        self.last_sent = self.last_sent.max(sample.sent);
        let done = self.slot(sample.done - from);
        let timed = match sample.outcome {
            Ok(()) => {
                done.ok += 1;
                done.images += sample.images as u64;
                self.ok += 1;
                self.images += sample.images as u64;
                true
            }
            Err(failure) => {
                done.failed += 1;
                let count = self.failures.entry(failure.kind).or_default();
                if count.count == 0 {
                    count.example = failure.text;
                }
                count.count += 1;
                matches!(failure.kind, FailureKind::Timeout | FailureKind::NeverSent)
            }
        };
        if timed {
            self.latency.saturating_record(latency);
            self.service
                .saturating_record(nanoseconds(sample.done - sample.sent));
            self.slot(sample.intended - from)
                .latency
                .saturating_record(latency);
        }
        self.add_stages(sample.stages);
    }

    /// A stage that is new stands behind the one before it in this response: not every request goes
    /// through every stage.
    fn add_stages(&mut self, stages: Vec<StageTime>) {
        let mut next = 0;
        for StageTime { name, milliseconds } in stages {
            let known = self.stages.iter().position(|stage| stage.name == name);
            let index = match known {
                Some(index) => index,
                None if self.stages.len() == MAX_STAGES => continue,
                None => {
                    let time = histogram(2);
                    self.stages.insert(next, StageRecord { name, time });
                    next
                }
            };
            self.stages[index]
                .time
                .saturating_record((milliseconds.max(0.0) * 1e6) as u64);
            next = index + 1;
        }
    }

    fn slot(&mut self, moment: Duration) -> &mut Slot {
        let mut number = (moment.as_nanos() / self.slot_width.as_nanos()) as usize;
        while number >= MAX_SLOTS {
            self.merge_slots();
            number /= 2;
        }
        while self.slots.len() <= number {
            self.slots.push(Slot::empty());
        }
        &mut self.slots[number]
    }

    pub(crate) fn merge_slots(&mut self) {
        self.slot_width *= 2;
        let mut slots = std::mem::take(&mut self.slots).into_iter();
        while let Some(mut slot) = slots.next() {
            if let Some(next) = slots.next() {
                slot.ok += next.ok;
                slot.images += next.images;
                slot.warmup_images += next.warmup_images;
                slot.failed += next.failed;
                // Both have the same bounds, so it cannot fail.
                let _ = slot.latency.add(next.latency);
            }
            self.slots.push(slot);
        }
    }
}

impl Slot {
    fn empty() -> Self {
        Self {
            ok: 0,
            images: 0,
            warmup_images: 0,
            failed: 0,
            latency: histogram(2),
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "the bounds are constants that make a range"
)]
fn histogram<T: Counter>(digits: u8) -> Histogram<T> {
    Histogram::new_with_bounds(1, MAX_NANOSECONDS, digits).expect("1 to an hour is a range")
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(from: Instant, at: u64, lag: u64, service: u64, ok: bool) -> Sample {
        let ms = Duration::from_millis;
        Sample {
            intended: from + ms(at),
            sent: from + ms(at + lag),
            done: from + ms(at + lag + service),
            outcome: if ok {
                Ok(())
            } else {
                Err(Failure::new(FailureKind::Http(503), "full"))
            },
            images: 2,
            stages: vec![StageTime {
                name: "parse".to_owned(),
                milliseconds: 1.0,
            }],
        }
    }

    #[test]
    fn latency_counts_from_the_intended_moment() {
        let from = Instant::now();
        let recorder = Recorder::new(from);
        recorder.record(sample(from, 0, 100, 5, true));
        let (_, recorded) = recorder.finish();
        let near = |nanoseconds: u64, milliseconds: u64| {
            (nanoseconds as f64 / 1e6 - milliseconds as f64).abs() < 0.2
        };
        assert!(near(recorded.latency.max(), 105));
        assert!(near(recorded.service.max(), 5));
        assert!(near(recorded.lag.max(), 100));
    }

    #[test]
    fn counts_add_up_and_warmup_is_left_out() {
        let from = Instant::now() + Duration::from_secs(1);
        let recorder = Recorder::new(from);
        let start = from - Duration::from_millis(500);
        recorder.record(sample(start, 0, 0, 900, true));
        for i in 0..10 {
            recorder.record(sample(from, i, 0, 5, i % 5 != 0));
        }
        let (_, recorded) = recorder.finish();
        assert_eq!((recorded.warmup, recorded.ok, recorded.failed()), (1, 8, 2));
        assert_eq!(recorded.images, 16);
        assert_eq!(recorded.latency.len(), 8);
        assert_eq!(recorded.failures[&FailureKind::Http(503)].example, "full");
    }

    #[test]
    fn stages_stay_in_the_order_of_the_path() {
        let from = Instant::now();
        let recorder = Recorder::new(from);
        for names in [
            &["read", "predict", "total"][..],
            &["read", "parse", "predict"],
        ] {
            let stage = |&name: &&str| StageTime {
                name: name.to_owned(),
                milliseconds: 1.0,
            };
            let mut sample = sample(from, 0, 0, 5, true);
            sample.stages = names.iter().map(stage).collect();
            recorder.record(sample);
        }
        let (_, recorded) = recorder.finish();
        let names: Vec<_> = recorded.stages.iter().map(|stage| &stage.name).collect();
        assert_eq!(names, ["read", "parse", "predict", "total"]);
        assert_eq!(recorded.stages[2].time.len(), 2);
    }

    #[test]
    fn a_long_run_widens_its_slots_and_loses_nothing() {
        let from = Instant::now();
        let recorder = Recorder::new(from);
        for second in 0..1000 {
            recorder.record(sample(from, second * 1000, 0, 5, true));
        }
        let (_, recorded) = recorder.finish();
        assert!(recorded.slots.len() <= MAX_SLOTS);
        assert_eq!(recorded.slots.iter().map(|slot| slot.ok).sum::<u64>(), 1000);
        let timed: u64 = recorded.slots.iter().map(|slot| slot.latency.len()).sum();
        assert_eq!(timed, 1000);
    }

    #[test]
    fn the_longest_silence_is_kept() {
        let from = Instant::now();
        let recorder = Recorder::new(from);
        for at in [0, 10, 20, 500, 510] {
            recorder.record(sample(from, at, 0, 5, true));
        }
        let Silence { length, began } = recorder.finish().1.silence;
        assert_eq!(length, Duration::from_millis(480));
        assert_eq!(began, Duration::from_millis(25));
    }
}
