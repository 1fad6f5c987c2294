//! What a model did since the start, as Triton's statistics count it: requests, images, calls and the
//! nanoseconds of each stage. Clients such as perf_analyzer read them before and after a run.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::observe::timing::Stage;

/// The running totals of one model.
#[derive(Debug, Default)]
pub(crate) struct Statistics(Mutex<Snapshot>);

/// How often something was, and how long it took altogether.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) count: u64,
    pub(crate) nanoseconds: u64,
}

impl Total {
    fn add(&mut self, duration: Duration) {
        self.count += 1;
        self.nanoseconds += u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    }
}

/// The totals at one moment. Those of stages are of requests that succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// When the last request was done, in milliseconds since 1970; 0 before the first.
    pub(crate) last_milliseconds: u64,
    /// Images of the requests that succeeded.
    pub(crate) images: u64,
    /// Requests that succeeded, with their whole time.
    pub(crate) success: Total,
    /// The others, those that were refused among them.
    pub(crate) fail: Total,
    /// Of these, the requests whose caller left.
    pub(crate) cancel: Total,
    /// Waiting to begin, and for a permit of `--concurrency`.
    pub(crate) queue: Total,
    /// Items to tensors.
    pub(crate) input: Total,
    /// Calls to the predictor, without the wait for the permit.
    pub(crate) infer: Total,
    /// Outputs to rows.
    pub(crate) output: Total,
    /// Calls to the predictor that were answered, by their rows.
    pub(crate) calls: BTreeMap<usize, Total>,
}

impl Statistics {
    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request that succeeded, with the times of its stages by [`Stage::ALL`].
    pub(crate) fn record_success(
        &self,
        total: Duration,
        stages: &[Option<Duration>; Stage::ALL.len()],
        images: usize,
    ) {
        let spent = |stage: Stage| stages[stage as usize].unwrap_or_default();
        let permit = spent(Stage::PermitWait);
        let mut totals = self.lock();
        totals.set_last();
        totals.images += images as u64;
        totals.success.add(total);
        totals.queue.add(spent(Stage::QueueWait) + permit);
        totals.input.add(spent(Stage::Preprocess));
        totals
            .infer
            .add(spent(Stage::Predict).saturating_sub(permit));
        totals.output.add(spent(Stage::Postprocess));
    }

    /// Counts a request that did not succeed.
    pub(crate) fn record_failure(&self, total: Duration, canceled: bool) {
        let mut totals = self.lock();
        totals.set_last();
        totals.fail.add(total);
        if canceled {
            totals.cancel.add(total);
        }
    }

    /// Counts a call of the predictor that was answered.
    pub(crate) fn record_call(&self, rows: usize, took: Duration) {
        self.lock().calls.entry(rows).or_default().add(took);
    }

    /// The totals now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.lock().clone()
    }
}

impl Snapshot {
    fn set_last(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_millis() as u64);
        self.last_milliseconds = self.last_milliseconds.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn waiting_is_queue_time_and_only_successes_count_images_and_stages() {
        let statistics = Statistics::default();
        let mut stages = [None; Stage::ALL.len()];
        for (stage, time) in [
            (Stage::QueueWait, 1),
            (Stage::Preprocess, 2),
            (Stage::PermitWait, 3),
            (Stage::Predict, 7),
            (Stage::Postprocess, 5),
        ] {
            stages[stage as usize] = Some(time * MS);
        }
        statistics.record_success(20 * MS, &stages, 5);
        statistics.record_call(4, 3 * MS);
        statistics.record_call(1, MS);
        let good = statistics.snapshot();
        let nanoseconds = |ms: u64| Total {
            count: 1,
            nanoseconds: ms * 1_000_000,
        };
        let times = [
            good.success,
            good.queue,
            good.input,
            good.infer,
            good.output,
        ];
        assert_eq!(times, [20, 4, 2, 4, 5].map(nanoseconds));
        assert_eq!((good.images, good.fail.count), (5, 0));
        assert_eq!(
            good.calls,
            [(1, nanoseconds(1)), (4, nanoseconds(3))].into()
        );
        statistics.record_failure(MS, false);
        statistics.record_failure(MS, true);
        let all = statistics.snapshot();
        assert_eq!((all.success.count, all.images), (1, 5));
        assert_eq!((all.fail.count, all.cancel.count), (2, 1));
        assert_eq!(all.infer, good.infer);
    }
}
