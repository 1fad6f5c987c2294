//! Who may enter: pictures in the house (`--queue`) and bytes in flight
//! (`--max_bytes_in_flight`). The third bound, calls in flight, belongs to the predictor.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::metrics::{Counted, Metrics};

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Pictures admitted, not yet answered.
    pub pictures: usize,
    /// Bytes of bodies and tensors.
    pub bytes: usize,
    /// How long a body may wait, unread, for its bytes.
    pub wait: Duration,
}

/// Why a request may not enter.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// Its pictures do not fit beside those that are here.
    #[error(
        "too busy: {inside} pictures are being worked on and {asked} more do not fit \
         (--queue {limit}); try again later"
    )]
    Full {
        /// Pictures inside.
        inside: usize,
        /// Pictures of this request.
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

/// The two bounds and what is inside them.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    inside: Arc<AtomicUsize>,
    room: Arc<Room>,
    metrics: Arc<Metrics>,
}

impl Admission {
    /// An empty house.
    pub fn new(limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self {
            limits,
            inside: Arc::default(),
            room: Arc::new(Room {
                limit: limits.bytes,
                state: Mutex::default(),
            }),
            metrics,
        }
    }

    /// Lets `pictures` in: at once, or not at all. An empty house takes any number.
    ///
    /// # Errors
    ///
    /// [`Refusal::Full`].
    pub fn enter(&self, pictures: usize) -> Result<Guest, Refusal> {
        let fits = |inside: usize| {
            (inside == 0 || inside + pictures <= self.limits.pictures).then_some(inside + pictures)
        };
        self.inside
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits)
            .map_err(|inside| Refusal::Full {
                inside,
                asked: pictures,
                limit: self.limits.pictures,
            })?;
        Ok(Guest {
            inside: Arc::clone(&self.inside),
            pictures,
            _counted: Counted::add(&self.metrics.house, pictures),
        })
    }

    /// Waits for room for `bytes` of a body, first come first served. An empty room takes any
    /// number.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoBytes`] after `--queue_timeout_ms`.
    pub async fn reserve(&self, bytes: usize) -> Result<Reserved, Refusal> {
        if let Some(turn) = self.room.ask(bytes) {
            match tokio::time::timeout(self.limits.wait, turn).await {
                Ok(Ok(reserved)) => return Ok(self.counted(reserved)),
                // The sender is dropped only with the room itself, which is ours.
                _ => {
                    return Err(Refusal::NoBytes {
                        asked: bytes,
                        waited_ms: self.limits.wait.as_millis(),
                        limit: self.limits.bytes,
                    });
                }
            }
        }
        Ok(self.counted(Held {
            room: Arc::clone(&self.room),
            bytes,
        }))
    }

    /// Takes room for the tensors of a request that is inside already. It never waits: those who
    /// hold room for their bodies would wait for each other. Later bodies wait instead.
    pub fn charge(&self, bytes: usize) -> Reserved {
        self.room.lock().used += bytes;
        self.counted(Held {
            room: Arc::clone(&self.room),
            bytes,
        })
    }

    fn counted(&self, held: Held) -> Reserved {
        Reserved {
            _counted: Counted::add(&self.metrics.bytes_in_flight, held.bytes),
            _held: held,
        }
    }

    /// Pictures inside.
    pub fn inside(&self) -> usize {
        self.inside.load(Ordering::Acquire)
    }
}

/// The bytes in flight and who waits for them.
#[derive(Debug)]
struct Room {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    waiting: VecDeque<(usize, oneshot::Sender<Held>)>,
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fits(&self, used: usize, bytes: usize) -> bool {
        used == 0 || used + bytes <= self.limit
    }

    /// Takes room for `bytes` at once, or gives a place in the line.
    fn ask(&self, bytes: usize) -> Option<oneshot::Receiver<Held>> {
        let mut state = self.lock();
        if state.waiting.is_empty() && self.fits(state.used, bytes) {
            state.used += bytes;
            return None;
        }
        let (sender, turn) = oneshot::channel();
        state.waiting.push_back((bytes, sender));
        Some(turn)
    }

    /// Gives room back and lets in those at the head of the line who now fit.
    fn give_back(self: &Arc<Self>, bytes: usize) {
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
            let held = Held {
                room: Arc::clone(self),
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

/// Room taken; given back when dropped.
#[derive(Debug)]
struct Held {
    room: Arc<Room>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.give_back(self.bytes);
    }
}

/// Pictures inside; they leave when this is dropped.
#[derive(Debug)]
pub struct Guest {
    inside: Arc<AtomicUsize>,
    pictures: usize,
    _counted: Counted,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.inside.fetch_sub(self.pictures, Ordering::AcqRel);
    }
}

/// Bytes reserved; they are free again when this is dropped.
#[derive(Debug)]
pub struct Reserved {
    _held: Held,
    _counted: Counted,
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn admission(pictures: usize, bytes: usize) -> Admission {
        let limits = Limits {
            pictures,
            bytes,
            wait: Duration::from_millis(20),
        };
        Admission::new(limits, Arc::new(Metrics::new("none", &[]).unwrap()))
    }

    #[test]
    fn an_empty_house_takes_any_request_and_a_full_one_none() {
        let house = admission(4, 1000);
        let large = house.enter(9).unwrap();
        let refusal = house.enter(1).unwrap_err().to_string();
        assert!(refusal.contains("--queue 4"), "{refusal}");
        drop(large);
        let _three = house.enter(3).unwrap();
        assert!(house.enter(2).is_err());
        let _one = house.enter(1).unwrap();
        assert_eq!(house.inside(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_waited_for_and_refused_in_the_end() {
        let house = admission(4, 1000);
        let half = house.reserve(500).await.unwrap();
        let refusal = house.reserve(600).await.unwrap_err().to_string();
        assert!(refusal.contains("--max_bytes_in_flight 1000"), "{refusal}");
        let (more, _) = tokio::join!(house.reserve(600), async { drop(half) });
        drop(more.unwrap());
        let _more_than_all = house.reserve(100_000).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_body_does_not_overtake_and_one_who_left_is_passed_over() {
        let house = admission(4, 1000);
        let most = house.reserve(900).await.unwrap();
        let mut large = Box::pin(house.reserve(800));
        let mut left = Box::pin(house.reserve(700));
        let mut small = Box::pin(house.reserve(50));
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
        let house = admission(4, 1000);
        let body = house.reserve(900).await.unwrap();
        let tensors = house.charge(5000);
        drop(body);
        assert!(house.reserve(1).await.is_err());
        drop(tensors);
        assert!(house.reserve(1).await.is_ok());
    }
}
