//! The course of a run.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::loadtest::measure::record::{Recorded, Slot};

/// Latency gained per second of the run above which the rate is said to exceed the capacity.
pub(crate) const CAPACITY_EXCEEDED: f64 = 0.02;

/// The same, beyond doubt.
pub(crate) const CAPACITY_FAR_EXCEEDED: f64 = 0.25;

/// A piece of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// The middle, in seconds from the start.
    pub second: f64,
    pub images_per_second: f64,
    pub failed_per_second: f64,
    /// Latency of the requests that were meant to be sent then; none without such a request.
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

/// How long the course of a run is worth showing. Once a closed loop sends no more, its throughput
/// falls by itself; what an open loop is still owed belongs to its course.
pub(crate) fn end(from: Instant, recorded: &Recorded, offered: Option<f64>) -> Duration {
    let last = match offered {
        Some(_) => recorded.last,
        None => recorded.last_sent,
    };
    last - from
}

/// The points up to `end`: whole slots only, if there is one. The rest of a slot would show a rate
/// of its own, mostly a dip.
pub(crate) fn points(recorded: &Recorded, end: Duration) -> Vec<Point> {
    let width = recorded.slot_width.as_secs_f64();
    let whole = (end.as_secs_f64() / width) as usize;
    let slots = recorded.slots.iter().take(whole.max(1)).enumerate();
    slots
        .map(|(number, slot)| Point {
            second: (number as f64 + 0.5) * width,
            images_per_second: (slot.images + slot.warmup_images) as f64 / width,
            failed_per_second: slot.failed as f64 / width,
            p50_ms: quantile(slot, 0.5),
            p99_ms: quantile(slot, 0.99),
        })
        .collect()
}

fn quantile(slot: &Slot, quantile: f64) -> Option<f64> {
    let latency = &slot.latency;
    (!latency.is_empty()).then(|| latency.value_at_quantile(quantile) as f64 / 1e6)
}

/// The median latency of the last quarter against the first, over the time between.
pub(crate) fn growth(recorded: &Recorded) -> f64 {
    let used = recorded
        .slots
        .iter()
        .rposition(|slot| !slot.latency.is_empty())
        .map_or(0, |last| last + 1);
    let quarter = used / 4;
    if quarter == 0 {
        return 0.0;
    }
    let median = |slots: &[Slot]| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loadtest::measure::record::{Recorder, Sample};

    /// A closed loop of two with a latency of 150 ms, for a second after a second of warm-up.
    #[test]
    fn a_steady_run_is_flat_from_its_first_point_to_its_last() {
        let ms = Duration::from_millis;
        let start = Instant::now();
        let from = start + ms(1000);
        let recorder = Recorder::new(from);
        for connection in 0..2 {
            let mut sent = start + ms(75 * connection);
            while sent < from + ms(1000) {
                let done = sent + ms(150);
                recorder.record(Sample {
                    intended: sent,
                    sent,
                    done,
                    outcome: Ok(()),
                    images: 3,
                    stages: Vec::new(),
                });
                sent = done;
            }
        }
        let (from, mut recorded) = recorder.finish();
        // Slots of a width that the responses fill evenly.
        while recorded.slot_width < ms(400) {
            recorded.merge_slots();
        }
        let end = end(from, &recorded, None);
        let rates: Vec<_> = points(&recorded, end)
            .iter()
            .map(|point| point.images_per_second)
            .collect();
        assert_eq!(rates.len(), 2);
        for rate in rates {
            assert!((rate / 40.0 - 1.0).abs() < 0.1, "{rate} images/s of 40");
        }
    }
}
