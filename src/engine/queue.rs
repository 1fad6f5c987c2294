//! The queue in front of a model: overload is bounded in time. Of the calls that requests need only
//! so many are in work at once, a few more than the predictor takes; the others wait in order, and
//! each that comes is told at once when it would wait for too long.
//!
//! The expected wait follows from how long a call has been in work lately: were `slots` calls in
//! work all the time and each took a time, one would begin every time / slots (Little's law). So it
//! does not matter what the calls wait for inside, pixel threads or the predictor.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::admission::{FairBudget, FairPermit, Grants, Refusal};
use crate::observe::timing::Deadline;

/// How much a call's time counts beside those before it: after a score of calls their times are
/// forgotten.
const WEIGHT: f64 = 0.1;

/// The calls of a model that wait and that are in work.
#[derive(Debug)]
pub(super) struct Queue {
    slots: Arc<FairBudget>,
    timeout: Duration,
    waiting: AtomicUsize,
    work: Arc<Mutex<Work>>,
}

/// The times of calls in work, in seconds since `begin`.
#[derive(Debug)]
struct Work {
    begin: Instant,
    /// A call's time, averaged over the last ones; nothing before the first.
    mean: Option<f64>,
    in_work: f64,
    /// The sum of the moments at which they began.
    began: f64,
}

impl Work {
    fn now(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }

    /// How long a call takes: as long as the last ones did, or as those in work already have. The
    /// latter is how a predictor that stalls is noticed.
    fn expected(&self) -> Option<f64> {
        let age = if self.in_work > 0.0 {
            self.now() - self.began / self.in_work
        } else {
            0.0
        };
        match self.mean {
            None if age == 0.0 => None,
            mean => Some(mean.unwrap_or(0.0).max(age)),
        }
    }
}

impl Queue {
    /// At most `slots` calls in work; a request waits for `timeout`.
    pub(super) fn new(slots: usize, timeout: Duration) -> Self {
        Self {
            slots: FairBudget::new(slots, Grants::UntilFull),
            timeout,
            waiting: AtomicUsize::new(0),
            work: Arc::new(Mutex::new(Work {
                begin: Instant::now(),
                mean: None,
                in_work: 0.0,
                began: 0.0,
            })),
        }
    }

    /// How long a request that comes now is expected to wait.
    pub(super) fn expected_wait(&self) -> Duration {
        if !self.slots.is_full() {
            return Duration::ZERO;
        }
        let Some(call) = self.work().expected() else {
            return Duration::ZERO;
        };
        let ahead = self.waiting() as f64 + 1.0;
        let seconds = ahead * call / self.slots.limit() as f64;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// Refuses a request that would wait for too long.
    pub(super) fn check(&self, deadline: Deadline) -> Result<(), Refusal> {
        let expected = self.expected_wait();
        let limit = self.timeout.min(deadline.remaining());
        if expected <= limit {
            return Ok(());
        }
        Err(Refusal::TooLate {
            waiting: self.waiting(),
            expected,
            limit,
        })
    }

    /// Waits until a request of this many calls may begin.
    pub(super) async fn begin(&self, calls: usize) -> Result<InWork, Refusal> {
        let counted = Waiting::new(&self.waiting, calls);
        let slots = timeout(self.timeout, self.slots.acquire(calls)).await;
        drop(counted);
        let slots = slots.map_err(|_| Refusal::Waited {
            waiting: self.waiting(),
            waited: self.timeout,
        })?;
        let mut work = self.work();
        let began = work.now();
        work.in_work += calls as f64;
        work.began += calls as f64 * began;
        Ok(InWork {
            work: Arc::clone(&self.work),
            began,
            slots,
        })
    }

    /// Calls that wait to begin.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        lock(&self.work)
    }
}

fn lock(work: &Mutex<Work>) -> MutexGuard<'_, Work> {
    work.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls that wait, until they begin or their request leaves.
struct Waiting<'a> {
    waiting: &'a AtomicUsize,
    calls: usize,
}

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize, calls: usize) -> Self {
        waiting.fetch_add(calls, Ordering::Relaxed);
        Self { waiting, calls }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.calls, Ordering::Relaxed);
    }
}

/// A request in work; the next may begin when this is dropped.
#[derive(Debug)]
pub(super) struct InWork {
    work: Arc<Mutex<Work>>,
    began: f64,
    slots: FairPermit,
}

impl Drop for InWork {
    fn drop(&mut self) {
        let calls = self.slots.amount() as f64;
        let mut work = lock(&self.work);
        let took = work.now() - self.began;
        work.in_work -= calls;
        work.began -= calls * self.began;
        let keep = (1.0 - WEIGHT).powf(calls);
        let mean = work.mean.unwrap_or(took);
        work.mean = Some(keep * mean + (1.0 - keep) * took);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use tokio::time::{interval, sleep};

    use super::*;

    const SLOTS: usize = 10;
    const TIMEOUT: Duration = Duration::from_secs(5);

    /// A model that takes calls of `call` milliseconds, under a load of `rate` requests per second.
    struct Simulation {
        queue: Arc<Queue>,
        call: Arc<AtomicU64>,
        rate: u64,
        done: Arc<Mutex<Vec<Duration>>>,
    }

    impl Simulation {
        fn new(call: u64, rate: u64) -> Self {
            Self {
                queue: Arc::new(Queue::new(SLOTS, TIMEOUT)),
                call: Arc::new(AtomicU64::new(call)),
                rate,
                done: Arc::default(),
            }
        }

        /// Runs for some seconds; the latencies of what was done meanwhile, and how many were
        /// refused on arrival.
        async fn run(&self, seconds: u64) -> (Vec<Duration>, usize) {
            let mut refused = 0;
            let mut ticks = interval(Duration::from_micros(1_000_000 / self.rate));
            for _ in 0..seconds * self.rate {
                ticks.tick().await;
                let patience = Duration::from_secs(3600);
                if self.queue.check(Deadline::after(patience)).is_err() {
                    refused += 1;
                    continue;
                }
                let arrived = Instant::now();
                let (queue, done) = (Arc::clone(&self.queue), Arc::clone(&self.done));
                let call = Arc::clone(&self.call);
                tokio::spawn(async move {
                    let Ok(_in_work) = queue.begin(1).await else {
                        return;
                    };
                    sleep(Duration::from_millis(call.load(Ordering::Relaxed))).await;
                    done.lock().unwrap().push(arrived.elapsed());
                });
            }
            (std::mem::take(&mut *self.done.lock().unwrap()), refused)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ten_times_the_load_gives_all_the_goodput_within_the_time() {
        // Ten calls of 100 ms are a hundred in a second.
        let simulation = Simulation::new(100, 1000);
        let (latencies, refused) = simulation.run(60).await;
        assert!(latencies.len() > 5900, "{} were done", latencies.len());
        assert!(refused > 50_000, "{refused} were refused on arrival");
        let longest = latencies.iter().max().unwrap();
        assert!(
            *longest <= TIMEOUT + Duration::from_millis(200),
            "{longest:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_load_below_the_capacity_is_never_refused() {
        for (call, rate) in [(100, 90), (1000, 9), (10, 900)] {
            let simulation = Simulation::new(call, rate);
            let (latencies, refused) = simulation.run(20).await;
            assert_eq!(refused, 0);
            let longest = latencies.iter().max().unwrap();
            assert!(longest.as_millis() <= u128::from(call) * 2, "{longest:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_speed_that_changes_tenfold_is_known_within_two_seconds() {
        let simulation = Simulation::new(100, 200);
        simulation.run(20).await;
        // Ten times slower: ten in a second, of which fifty may wait.
        simulation.call.store(1000, Ordering::Relaxed);
        simulation.run(2).await;
        let (_, refused) = simulation.run(10).await;
        assert!(refused > 1800, "{refused} of 2000 were refused");
        // Ten times faster than at first: all are taken when the queue is short again.
        simulation.call.store(10, Ordering::Relaxed);
        simulation.run(2).await;
        let (latencies, refused) = simulation.run(10).await;
        assert_eq!(refused, 0);
        assert!(latencies.len() > 1900, "{} were done", latencies.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_predictor_that_stalls_fills_no_queue() {
        let simulation = Simulation::new(100, 90);
        simulation.run(5).await;
        simulation.call.store(1_000_000, Ordering::Relaxed);
        simulation.run(3).await;
        let (_, refused) = simulation.run(5).await;
        assert!(refused > 400, "{refused} of 450 were refused");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_cannot_begin_in_time_is_refused_at_once() {
        let queue = Queue::new(1, TIMEOUT);
        let first = queue.begin(1).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        let soon = Deadline::after(Duration::from_millis(500));
        assert!(matches!(queue.check(soon), Err(Refusal::TooLate { .. })));
        let later = Deadline::after(Duration::from_secs(60));
        assert!(queue.check(later).is_ok());
        drop(first);
        assert!(queue.check(soon).is_ok());
        let _many = queue.begin(1000).await.unwrap();
        let waited = queue.begin(1).await.unwrap_err();
        assert!(matches!(waited, Refusal::Waited { .. }), "{waited}");
    }
}
