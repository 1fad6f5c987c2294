//! What a request needs to be admitted: places for its images (`--queue`) and bytes of memory
//! (`--max_bytes_in_flight`). The third bound, calls in flight, belongs to the predictor.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::oneshot;

use crate::observe::metrics::{GaugeGuard, Metrics};

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `--queue`: images admitted, whose request has no response yet.
    pub images: usize,
    /// `--max_bytes_in_flight`: bytes of bodies and tensors.
    pub bytes: usize,
    /// `--queue_timeout_ms`: how long a body may wait, unread, for its bytes.
    pub reserve_timeout: Duration,
}

/// Why a request is not admitted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// Its images do not fit beside the ones in flight.
    #[error(
        "too busy: {in_flight} images are in flight and {requested} more do not fit \
         (--queue {limit}); try again later"
    )]
    Full {
        /// Images in flight.
        in_flight: usize,
        /// Images of this request.
        requested: usize,
        /// `--queue`.
        limit: usize,
    },
    /// Its bytes did not come free in time.
    #[error(
        "too busy: {requested} more bytes did not come free within {waited_ms} ms \
         (--max_bytes_in_flight {limit}, --queue_timeout_ms); try again later"
    )]
    NoBytes {
        /// Bytes of this request.
        requested: usize,
        /// How long it waited.
        waited_ms: u128,
        /// `--max_bytes_in_flight`.
        limit: usize,
    },
}

/// The images and bytes in flight, against their bounds.
#[derive(Debug)]
pub struct Admission {
    max_images: usize,
    in_flight: Arc<AtomicUsize>,
    gauge: IntGauge,
    bytes: ByteBudget,
}

impl Admission {
    /// Nothing is in flight yet.
    pub fn new(limits: Limits, metrics: &Metrics) -> Self {
        Self {
            max_images: limits.images,
            in_flight: Arc::default(),
            gauge: metrics.images_in_flight.clone(),
            bytes: ByteBudget::new(limits.bytes, limits.reserve_timeout, metrics),
        }
    }

    /// Admits `images` at once, or not at all. When nothing is in flight, any number is admitted.
    ///
    /// # Errors
    ///
    /// [`Refusal::Full`].
    pub fn try_admit(&self, images: usize) -> Result<AdmissionPermit, Refusal> {
        let fits = |in_flight: usize| {
            (in_flight == 0 || in_flight + images <= self.max_images).then_some(in_flight + images)
        };
        self.in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits)
            .map_err(|in_flight| Refusal::Full {
                in_flight,
                requested: images,
                limit: self.max_images,
            })?;
        Ok(AdmissionPermit {
            in_flight: Arc::clone(&self.in_flight),
            images,
            _counted: GaugeGuard::add(&self.gauge, images),
        })
    }

    /// The bytes, to reserve some of them.
    pub fn bytes(&self) -> &ByteBudget {
        &self.bytes
    }

    /// Images in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }
}

/// Images in flight; no longer so when this is dropped.
#[derive(Debug)]
pub struct AdmissionPermit {
    in_flight: Arc<AtomicUsize>,
    images: usize,
    _counted: GaugeGuard,
}

impl Drop for AdmissionPermit {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(self.images, Ordering::AcqRel);
    }
}

/// The bytes of all requests in flight and who waits for some. Clones share them.
///
/// It is not tokio's semaphore, which cannot do what [`Self::reserve_now`] does: go beyond the
/// limit, so that later bodies wait until the debt is paid.
#[derive(Clone, Debug)]
pub struct ByteBudget(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    limit: usize,
    timeout: Duration,
    gauge: IntGauge,
    state: Mutex<BudgetState>,
}

#[derive(Debug, Default)]
struct BudgetState {
    used: usize,
    waiters: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    bytes: usize,
    granted: oneshot::Sender<ByteReservation>,
}

impl ByteBudget {
    /// At most `limit` bytes, for which a body waits for `timeout`.
    pub fn new(limit: usize, timeout: Duration, metrics: &Metrics) -> Self {
        Self(Arc::new(Budget {
            limit,
            timeout,
            gauge: metrics.bytes_in_flight.clone(),
            state: Mutex::default(),
        }))
    }

    /// Counts bytes without a bound.
    pub fn unlimited(metrics: &Metrics) -> Self {
        Self::new(usize::MAX, Duration::MAX, metrics)
    }

    /// Waits for `bytes` of a body, first come first served. When none are taken, any number is
    /// granted.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoBytes`] after `--queue_timeout_ms`.
    pub async fn reserve(&self, bytes: usize) -> Result<ByteReservation, Refusal> {
        let granted = match self.try_acquire(bytes) {
            Ok(reservation) => return Ok(reservation),
            Err(granted) => granted,
        };
        // A sender is dropped only with the budget itself, which is ours.
        let granted = tokio::time::timeout(self.0.timeout, granted).await;
        granted.ok().and_then(Result::ok).ok_or(Refusal::NoBytes {
            requested: bytes,
            waited_ms: self.0.timeout.as_millis(),
            limit: self.0.limit,
        })
    }

    /// Takes `bytes` at once or not at all, for work that holds memory and so must not wait.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoBytes`].
    pub fn try_reserve(&self, bytes: usize) -> Result<ByteReservation, Refusal> {
        let mut state = self.lock();
        if state.waiters.is_empty() && self.fits(state.used, bytes) {
            state.used += bytes;
            return Ok(self.reservation(bytes));
        }
        Err(Refusal::NoBytes {
            requested: bytes,
            waited_ms: 0,
            limit: self.0.limit,
        })
    }

    /// Takes the bytes of a request that is admitted already. It never waits: requests that hold
    /// the bytes of their bodies would wait for each other. Later bodies wait instead.
    pub fn reserve_now(&self, bytes: usize) -> ByteReservation {
        self.lock().used += bytes;
        self.reservation(bytes)
    }

    /// Takes `bytes` at once, or gives what to wait for.
    fn try_acquire(
        &self,
        bytes: usize,
    ) -> Result<ByteReservation, oneshot::Receiver<ByteReservation>> {
        let mut state = self.lock();
        if state.waiters.is_empty() && self.fits(state.used, bytes) {
            state.used += bytes;
            return Ok(self.reservation(bytes));
        }
        let (sender, granted) = oneshot::channel();
        state.waiters.push_back(Waiter {
            bytes,
            granted: sender,
        });
        Err(granted)
    }

    /// Gives bytes back and grants the first waiters theirs, as far as they fit now.
    fn release(&self, bytes: usize) {
        self.0.gauge.sub(signed(bytes));
        let mut granted = Vec::new();
        let mut state = self.lock();
        debug_assert!(state.used >= bytes, "more is given back than was taken");
        state.used -= bytes;
        while let Some(waiter) = state.waiters.pop_front() {
            if waiter.granted.is_closed() {
                continue;
            }
            if !self.fits(state.used, waiter.bytes) {
                state.waiters.push_front(waiter);
                break;
            }
            state.used += waiter.bytes;
            granted.push((waiter.granted, self.reservation(waiter.bytes)));
        }
        drop(state);
        // Outside the lock: a waiter that has just left drops what it was granted, which locks again.
        for (waiter, reservation) in granted {
            let _ = waiter.send(reservation);
        }
    }

    fn reservation(&self, bytes: usize) -> ByteReservation {
        self.0.gauge.add(signed(bytes));
        ByteReservation {
            budget: self.clone(),
            bytes,
        }
    }

    fn fits(&self, used: usize, bytes: usize) -> bool {
        used == 0 || used.saturating_add(bytes) <= self.0.limit
    }

    fn lock(&self) -> MutexGuard<'_, BudgetState> {
        // No code that can panic runs under the lock.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Bytes that are reserved; they are free again when this is dropped.
#[derive(Debug)]
pub struct ByteReservation {
    budget: ByteBudget,
    bytes: usize,
}

impl ByteReservation {
    /// Gives back all but `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let unused = self.bytes.saturating_sub(bytes);
        self.bytes -= unused;
        self.budget.release(unused);
    }
}

impl Drop for ByteReservation {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn admission(images: usize, bytes: usize) -> Admission {
        let limits = Limits {
            images,
            bytes,
            reserve_timeout: Duration::from_millis(20),
        };
        Admission::new(limits, &Metrics::new(&[]).unwrap())
    }

    #[test]
    fn any_request_is_admitted_when_none_is_in_flight_and_none_when_full() {
        let admission = admission(4, 1000);
        let large = admission.try_admit(9).unwrap();
        let refusal = admission.try_admit(1).unwrap_err().to_string();
        assert!(refusal.contains("--queue 4"), "{refusal}");
        drop(large);
        let _three = admission.try_admit(3).unwrap();
        assert!(admission.try_admit(2).is_err());
        let _one = admission.try_admit(1).unwrap();
        assert_eq!(admission.in_flight(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_waited_for_and_refused_in_the_end() {
        let admission = admission(4, 1000);
        let budget = admission.bytes();
        let half = budget.reserve(500).await.unwrap();
        let refusal = budget.reserve(600).await.unwrap_err().to_string();
        assert!(refusal.contains("--max_bytes_in_flight 1000"), "{refusal}");
        let (more, ()) = tokio::join!(budget.reserve(600), async { drop(half) });
        drop(more.unwrap());
        let _more_than_all = budget.reserve(100_000).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_body_does_not_overtake_and_a_waiter_that_left_is_passed_over() {
        let admission = admission(4, 1000);
        let budget = admission.bytes();
        let most = budget.reserve(900).await.unwrap();
        let mut large = Box::pin(budget.reserve(800));
        let mut left = Box::pin(budget.reserve(700));
        let mut small = Box::pin(budget.reserve(50));
        assert!(large.as_mut().now_or_never().is_none());
        assert!(left.as_mut().now_or_never().is_none());
        assert!(small.as_mut().now_or_never().is_none());
        drop(left);
        drop(most);
        let _large = large.await.unwrap();
        let _small = small.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_needed_goes_to_the_next_waiter() {
        let admission = admission(4, 1000);
        let budget = admission.bytes();
        let mut ahead = budget.reserve(1000).await.unwrap();
        assert!(budget.try_reserve(1).is_err());
        let mut next = Box::pin(budget.reserve(600));
        assert!(next.as_mut().now_or_never().is_none());
        ahead.shrink_to(400);
        let next = next.await.unwrap();
        drop((ahead, next));
        assert!(budget.try_reserve(1000).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn tensors_never_wait_but_make_bodies_wait() {
        let admission = admission(4, 1000);
        let budget = admission.bytes();
        let body = budget.reserve(900).await.unwrap();
        let tensors = budget.reserve_now(5000);
        drop(body);
        assert!(budget.reserve(1).await.is_err());
        drop(tensors);
        assert!(budget.reserve(1).await.is_ok());
        assert_eq!(budget.0.gauge.get(), 0);
    }
}
