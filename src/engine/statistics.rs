//! What a model did since the start, as Triton's statistics count it: requests, images, and the
//! nanoseconds of each stage. Clients such as perf_analyzer read them before and after a run.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::observe::timing::{Stage, Timings};

/// The running totals of one model. Stages are those of requests that succeeded.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    last_milliseconds: AtomicU64,
    images: AtomicU64,
    success: Total,
    fail: Total,
    queue: AtomicU64,
    input: AtomicU64,
    infer: AtomicU64,
    output: AtomicU64,
}

#[derive(Debug, Default)]
struct Total {
    count: AtomicU64,
    nanoseconds: AtomicU64,
}

/// The totals at one moment; times in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// When the last request was done, in milliseconds since 1970; 0 before the first.
    pub last_milliseconds: u64,
    /// Images of the requests that succeeded.
    pub images: u64,
    /// Requests that succeeded.
    pub success: u64,
    /// Their whole time.
    pub success_ns: u64,
    /// Requests that failed.
    pub fail: u64,
    /// Their whole time.
    pub fail_ns: u64,
    /// Waiting for a permit of `--concurrency`.
    pub queue_ns: u64,
    /// Items to tensors.
    pub input_ns: u64,
    /// Calls to the predictor, without the wait for the permit.
    pub infer_ns: u64,
    /// Outputs to scores.
    pub output_ns: u64,
}

impl Statistics {
    /// Counts a request that is done.
    pub(crate) fn record(&self, timings: &Timings, images: usize, succeeded: bool) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.last_milliseconds
            .fetch_max(now.map_or(0, |now| now.as_millis() as u64), Relaxed);
        let total = if succeeded { &self.success } else { &self.fail };
        total.count.fetch_add(1, Relaxed);
        total
            .nanoseconds
            .fetch_add(nanoseconds(timings.total()), Relaxed);
        if succeeded {
            self.images.fetch_add(images as u64, Relaxed);
            let spent = |stage| timings.get(stage).map_or(0, nanoseconds);
            let queue = spent(Stage::Permit);
            self.queue.fetch_add(queue, Relaxed);
            self.input.fetch_add(spent(Stage::Preprocess), Relaxed);
            let infer = spent(Stage::Predict).saturating_sub(queue);
            self.infer.fetch_add(infer, Relaxed);
            self.output.fetch_add(spent(Stage::Postprocess), Relaxed);
        }
    }

    /// The totals now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            last_milliseconds: self.last_milliseconds.load(Relaxed),
            images: self.images.load(Relaxed),
            success: self.success.count.load(Relaxed),
            success_ns: self.success.nanoseconds.load(Relaxed),
            fail: self.fail.count.load(Relaxed),
            fail_ns: self.fail.nanoseconds.load(Relaxed),
            queue_ns: self.queue.load(Relaxed),
            input_ns: self.input.load(Relaxed),
            infer_ns: self.infer.load(Relaxed),
            output_ns: self.output.load(Relaxed),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_successes_count_images_and_stages() {
        let statistics = Statistics::default();
        let timings = Timings::start();
        drop(timings.stage(Stage::Predict));
        statistics.record(&timings, 5, true);
        let good = statistics.snapshot();
        assert_eq!((good.success, good.images, good.fail), (1, 5, 0));
        assert!(good.infer_ns > 0 && good.success_ns >= good.infer_ns);
        statistics.record(&timings, 7, false);
        let both = statistics.snapshot();
        assert_eq!((both.success, both.images, both.fail), (1, 5, 1));
        assert_eq!(both.infer_ns, good.infer_ns);
    }
}
