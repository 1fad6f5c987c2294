//! What happened, in memory that does not grow with the run: histograms, a time series whose slots
//! widen, counts by kind of failure.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hdrhistogram::{Counter, Histogram};

use crate::loadtest::failure::{Failure, Fault};

/// Slots of the time series; when they are full, neighbours are merged.
const SLOTS: usize = 240;

/// Width of a slot at the start.
const SLOT: Duration = Duration::from_millis(100);

/// The longest time that is told apart, in nanoseconds: an hour.
const LONGEST: u64 = 3_600_000_000_000;

/// Stages of `server-timing` that are kept.
const STAGES: usize = 16;

/// One request from its intended moment to its end.
#[derive(Debug)]
pub(in crate::loadtest) struct Sample {
    /// When it was meant to be sent. In a closed loop, when it was.
    pub(in crate::loadtest) intended: Instant,
    pub(in crate::loadtest) sent: Instant,
    pub(in crate::loadtest) done: Instant,
    pub(in crate::loadtest) outcome: Result<(), Failure>,
    /// Images in it.
    pub(in crate::loadtest) images: usize,
    /// The answer's `server-timing`: names and milliseconds.
    pub(in crate::loadtest) stages: Vec<(String, f64)>,
}

/// Takes samples from all lanes.
#[derive(Debug)]
pub(in crate::loadtest) struct Recorder {
    /// Requests intended before are warm-up.
    from: Instant,
    inner: Mutex<Recorded>,
}

/// All samples of a run.
#[derive(Debug)]
pub(in crate::loadtest) struct Recorded {
    pub(in crate::loadtest) warmup: u64,
    pub(in crate::loadtest) ok: u64,
    pub(in crate::loadtest) images: u64,
    pub(in crate::loadtest) faults: BTreeMap<Fault, FaultCount>,
    /// From the intended moment; answers that were right, and timeouts as at least that long.
    pub(in crate::loadtest) latency: Histogram<u64>,
    /// From the sending; the same requests.
    pub(in crate::loadtest) service: Histogram<u64>,
    /// From the intended moment to the sending; all requests.
    pub(in crate::loadtest) lag: Histogram<u64>,
    pub(in crate::loadtest) stages: BTreeMap<String, Histogram<u32>>,
    pub(in crate::loadtest) slots: Vec<Slot>,
    pub(in crate::loadtest) slot_width: Duration,
    /// The last answer; the start as long as there is none.
    pub(in crate::loadtest) last: Instant,
    /// The longest time without any answer, and when it began after the start.
    pub(in crate::loadtest) silence: (Duration, Duration),
}

/// Failures of one kind.
#[derive(Debug, Default)]
pub(in crate::loadtest) struct FaultCount {
    pub(in crate::loadtest) count: u64,
    /// The target's words at the first of them.
    pub(in crate::loadtest) example: String,
}

/// A piece of time.
#[derive(Debug)]
pub(in crate::loadtest) struct Slot {
    /// Right answers that came in it.
    pub(in crate::loadtest) ok: u64,
    /// Images in them.
    pub(in crate::loadtest) images: u64,
    /// Failures that came in it.
    pub(in crate::loadtest) failed: u64,
    /// Latencies of requests that were meant to be sent in it.
    pub(in crate::loadtest) latency: Histogram<u32>,
}

/// A look while the run goes on.
#[derive(Debug)]
pub(in crate::loadtest) struct Glance {
    pub(in crate::loadtest) answered: u64,
    pub(in crate::loadtest) p50: Duration,
    pub(in crate::loadtest) p99: Duration,
    pub(in crate::loadtest) faults: Vec<(Fault, u64)>,
}

impl Recorder {
    /// Counts what is intended at `from` or later.
    pub(in crate::loadtest) fn new(from: Instant) -> Self {
        let recorded = Recorded {
            warmup: 0,
            ok: 0,
            images: 0,
            faults: BTreeMap::new(),
            latency: histogram(3),
            service: histogram(3),
            lag: histogram(3),
            stages: BTreeMap::new(),
            slots: Vec::new(),
            slot_width: SLOT,
            last: from,
            silence: (Duration::ZERO, Duration::ZERO),
        };
        Self {
            from,
            inner: Mutex::new(recorded),
        }
    }

    pub(in crate::loadtest) fn record(&self, sample: Sample) {
        let mut recorded = self.lock();
        if sample.intended < self.from {
            recorded.warmup += 1;
        } else {
            recorded.add(sample, self.from);
        }
    }

    pub(in crate::loadtest) fn glance(&self) -> Glance {
        let recorded = self.lock();
        let quantile = |q| Duration::from_nanos(recorded.latency.value_at_quantile(q));
        let faults = recorded.faults.iter();
        Glance {
            answered: recorded.ok + recorded.failed(),
            p50: quantile(0.5),
            p99: quantile(0.99),
            faults: faults.map(|(&fault, count)| (fault, count.count)).collect(),
        }
    }

    /// What was recorded, emptying the recorder. `from` is the moment from which it counted.
    pub(in crate::loadtest) fn finish(&self) -> (Instant, Recorded) {
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
    pub(in crate::loadtest) fn failed(&self) -> u64 {
        self.faults.values().map(|fault| fault.count).sum()
    }

    fn add(&mut self, sample: Sample, from: Instant) {
        let latency = nanoseconds(sample.done - sample.intended);
        self.lag
            .saturating_record(nanoseconds(sample.sent - sample.intended));
        let silence = sample.done.saturating_duration_since(self.last);
        if silence > self.silence.0 {
            self.silence = (silence, self.last - from);
        }
        self.last = self.last.max(sample.done);
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
                let count = self.faults.entry(failure.fault).or_default();
                if count.count == 0 {
                    count.example = failure.text;
                }
                count.count += 1;
                matches!(failure.fault, Fault::Timeout | Fault::NeverSent)
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
        for (name, milliseconds) in sample.stages {
            if self.stages.len() < STAGES || self.stages.contains_key(&name) {
                self.stages
                    .entry(name)
                    .or_insert_with(|| histogram(2))
                    .saturating_record((milliseconds.max(0.0) * 1e6) as u64);
            }
        }
    }

    fn slot(&mut self, moment: Duration) -> &mut Slot {
        let mut number = (moment.as_nanos() / self.slot_width.as_nanos()) as usize;
        while number >= SLOTS {
            self.merge_slots();
            number /= 2;
        }
        while self.slots.len() <= number {
            self.slots.push(Slot::empty());
        }
        &mut self.slots[number]
    }

    fn merge_slots(&mut self) {
        self.slot_width *= 2;
        let mut slots = std::mem::take(&mut self.slots).into_iter();
        while let Some(mut slot) = slots.next() {
            if let Some(next) = slots.next() {
                slot.ok += next.ok;
                slot.images += next.images;
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
            failed: 0,
            latency: histogram(2),
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "the bounds are constants that are right"
)]
fn histogram<T: Counter>(digits: u8) -> Histogram<T> {
    Histogram::new_with_bounds(1, LONGEST, digits).expect("1 to an hour is a range")
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
                Err(Failure::new(Fault::Http(503), "full"))
            },
            images: 2,
            stages: vec![("parse".to_owned(), 1.0)],
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
        assert_eq!(recorded.faults[&Fault::Http(503)].example, "full");
    }

    #[test]
    fn a_long_run_widens_its_slots_and_loses_nothing() {
        let from = Instant::now();
        let recorder = Recorder::new(from);
        for second in 0..1000 {
            recorder.record(sample(from, second * 1000, 0, 5, true));
        }
        let (_, recorded) = recorder.finish();
        assert!(recorded.slots.len() <= SLOTS);
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
        let (length, began) = recorder.finish().1.silence;
        assert_eq!(length, Duration::from_millis(480));
        assert_eq!(began, Duration::from_millis(25));
    }
}
