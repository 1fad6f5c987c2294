//! Who may enter: images in the admission (`--queue`) and bytes in flight
//! (`--max_bytes_in_flight`). The third bound, calls in flight, belongs to the predictor.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::observe::metrics::{GaugeGuard, Metrics};

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Images admitted, not yet answered.
    pub images: usize,
    /// Bytes of bodies and tensors.
    pub bytes: usize,
    /// How long a body may wait, unread, for its bytes.
    pub reserve_timeout: Duration,
}

/// Why a request may not enter.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// Its images do not fit beside those that are here.
    #[error(
        "too busy: {in_flight} images are being worked on and {asked} more do not fit \
         (--queue {limit}); try again later"
    )]
    Full {
        /// Images in_flight.
        in_flight: usize,
        /// Images of this request.
        asked: usize,
        /// `--queue`.
        limit: usize,
    },
    /// Its bytes did not come free in time.
    #[error(
        "too busy: no room for {asked} more bytes within {waited_ms} ms \
         (--max_bytes_in_flight {limit}, --queue_timeout_ms); try again later"
    )]
    NoBytes {
        /// Bytes of this request.
        asked: usize,
        /// How long it waited.
        waited_ms: u128,
        /// `--max_bytes_in_flight`.
        limit: usize,
    },
}

/// The two bounds and what is in_flight them.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    in_flight: Arc<AtomicUsize>,
    budget: Arc<ByteBudget>,
    metrics: Arc<Metrics>,
}

impl Admission {
    /// An empty admission.
    pub fn new(limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self {
            limits,
            in_flight: Arc::default(),
            budget: Arc::new(ByteBudget {
                limit: limits.bytes,
                state: Mutex::default(),
            }),
            metrics,
        }
    }

    /// Lets `images` in: at once, or not at all. An empty admission takes any number.
    ///
    /// # Errors
    ///
    /// [`Refusal::Full`].
    pub fn try_admit(&self, images: usize) -> Result<AdmissionPermit, Refusal> {
        let fits = |in_flight: usize| {
            (in_flight == 0 || in_flight + images <= self.limits.images)
                .then_some(in_flight + images)
        };
        self.in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits)
            .map_err(|in_flight| Refusal::Full {
                in_flight,
                asked: images,
                limit: self.limits.images,
            })?;
        Ok(AdmissionPermit {
            in_flight: Arc::clone(&self.in_flight),
            images,
            _counted: GaugeGuard::add(&self.metrics.images_in_flight, images),
        })
    }

    /// Waits for room for `bytes` of a body, first come first served. An empty room takes any
    /// number.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoBytes`] after `--queue_timeout_ms`.
    pub async fn reserve(&self, bytes: usize) -> Result<ByteReservation, Refusal> {
        if let Some(granted) = self.budget.try_acquire(bytes) {
            match tokio::time::timeout(self.limits.reserve_timeout, granted).await {
                Ok(Ok(reserved)) => return Ok(self.counted(reserved)),
                // The sender is dropped only with the room itself, which is ours.
                _ => {
                    return Err(Refusal::NoBytes {
                        asked: bytes,
                        waited_ms: self.limits.reserve_timeout.as_millis(),
                        limit: self.limits.bytes,
                    });
                }
            }
        }
        Ok(self.counted(BytesPermit {
            budget: Arc::clone(&self.budget),
            bytes,
        }))
    }

    /// Takes room for the tensors of a request that is in_flight already. It never waits: those who
    /// hold room for their bodies would wait for each other. Later bodies wait instead.
    pub fn reserve_now(&self, bytes: usize) -> ByteReservation {
        self.budget.lock().used += bytes;
        self.counted(BytesPermit {
            budget: Arc::clone(&self.budget),
            bytes,
        })
    }

    fn counted(&self, held: BytesPermit) -> ByteReservation {
        ByteReservation {
            _counted: GaugeGuard::add(&self.metrics.bytes_in_flight, held.bytes),
            _held: held,
        }
    }

    /// Images in_flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }
}

/// The bytes in flight and who waits for them.
#[derive(Debug)]
struct ByteBudget {
    limit: usize,
    state: Mutex<BudgetState>,
}

#[derive(Debug, Default)]
struct BudgetState {
    used: usize,
    waiting: VecDeque<(usize, oneshot::Sender<BytesPermit>)>,
}

impl ByteBudget {
    fn lock(&self) -> MutexGuard<'_, BudgetState> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fits(&self, used: usize, bytes: usize) -> bool {
        used == 0 || used + bytes <= self.limit
    }

    /// Takes room for `bytes` at once, or gives a place in the line.
    fn try_acquire(&self, bytes: usize) -> Option<oneshot::Receiver<BytesPermit>> {
        let mut state = self.lock();
        if state.waiting.is_empty() && self.fits(state.used, bytes) {
            state.used += bytes;
            return None;
        }
        let (sender, granted) = oneshot::channel();
        state.waiting.push_back((bytes, sender));
        Some(granted)
    }

    /// Gives room back and lets in those at the head of the line who now fit.
    fn release(self: &Arc<Self>, bytes: usize) {
        let mut admitted = Vec::new();
        let mut state = self.lock();
        state.used -= bytes;
        while let Some((bytes, sender)) = state.waiting.pop_front() {
            if sender.is_closed() {
                continue;
            }
            if !self.fits(state.used, bytes) {
                state.waiting.push_front((bytes, sender));
                break;
            }
            state.used += bytes;
            let held = BytesPermit {
                budget: Arc::clone(self),
                bytes,
            };
            admitted.push((sender, held));
        }
        drop(state);
        // Outside the lock: a waiter who has just left drops what it was given, which locks again.
        for (sender, held) in admitted {
            let _ = sender.send(held);
        }
    }
}

/// ByteBudget taken; given back when dropped.
#[derive(Debug)]
struct BytesPermit {
    budget: Arc<ByteBudget>,
    bytes: usize,
}

impl Drop for BytesPermit {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

/// Images in_flight; they leave when this is dropped.
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

/// Bytes reserved; they are free again when this is dropped.
#[derive(Debug)]
pub struct ByteReservation {
    _held: BytesPermit,
    _counted: GaugeGuard,
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
        Admission::new(limits, Arc::new(Metrics::new(&[]).unwrap()))
    }

    #[test]
    fn an_empty_house_takes_any_request_and_a_full_one_none() {
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
        let half = admission.reserve(500).await.unwrap();
        let refusal = admission.reserve(600).await.unwrap_err().to_string();
        assert!(refusal.contains("--max_bytes_in_flight 1000"), "{refusal}");
        let (more, _) = tokio::join!(admission.reserve(600), async { drop(half) });
        drop(more.unwrap());
        let _more_than_all = admission.reserve(100_000).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_body_does_not_overtake_and_one_who_left_is_passed_over() {
        let admission = admission(4, 1000);
        let most = admission.reserve(900).await.unwrap();
        let mut large = Box::pin(admission.reserve(800));
        let mut left = Box::pin(admission.reserve(700));
        let mut small = Box::pin(admission.reserve(50));
        assert!(large.as_mut().now_or_never().is_none());
        assert!(left.as_mut().now_or_never().is_none());
        assert!(small.as_mut().now_or_never().is_none());
        drop(left);
        drop(most);
        let _large = large.await.unwrap();
        let _small = small.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn tensors_never_wait_but_make_bodies_wait() {
        let admission = admission(4, 1000);
        let body = admission.reserve(900).await.unwrap();
        let tensors = admission.reserve_now(5000);
        drop(body);
        assert!(admission.reserve(1).await.is_err());
        drop(tensors);
        assert!(admission.reserve(1).await.is_ok());
    }
}
