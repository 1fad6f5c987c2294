//! Who may enter: pictures in the house (`--queue`) and bytes in flight
//! (`--max_bytes_in_flight`). The third bound, calls in flight, belongs to the predictor.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::{Counted, Metrics};

/// Bytes are counted in units of this many, so that the largest limits fit a semaphore.
const UNIT: usize = 1024;

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
    units: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Admission {
    /// An empty house.
    pub fn new(limits: Limits, metrics: Arc<Metrics>) -> Self {
        let units = limits.bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS);
        Self {
            limits,
            inside: Arc::default(),
            units: Arc::new(Semaphore::new(units)),
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

    /// Waits for room for `bytes`, first come first served. A request larger than the whole room
    /// gets the whole room.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoBytes`] after `--queue_timeout_ms`.
    pub async fn reserve(&self, bytes: usize) -> Result<Reserved, Refusal> {
        let all = self.limits.bytes.div_ceil(UNIT).max(1);
        let units = u32::try_from(bytes.div_ceil(UNIT).min(all)).unwrap_or(u32::MAX);
        let acquire = Arc::clone(&self.units).acquire_many_owned(units);
        match tokio::time::timeout(self.limits.wait, acquire).await {
            Ok(Ok(permit)) => Ok(Reserved {
                _permit: permit,
                _counted: Counted::add(&self.metrics.bytes_in_flight, bytes),
            }),
            // The semaphore is never closed, so that an error can only be the clock's.
            _ => Err(Refusal::NoBytes {
                asked: bytes,
                waited_ms: self.limits.wait.as_millis(),
                limit: self.limits.bytes,
            }),
        }
    }

    /// Pictures inside.
    pub fn inside(&self) -> usize {
        self.inside.load(Ordering::Acquire)
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
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

#[cfg(test)]
mod tests {
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
        let house = admission(4, UNIT);
        let large = house.enter(9).unwrap();
        assert!(
            house
                .enter(1)
                .unwrap_err()
                .to_string()
                .contains("--queue 4")
        );
        drop(large);
        let _three = house.enter(3).unwrap();
        assert!(house.enter(2).is_err());
        let _one = house.enter(1).unwrap();
        assert_eq!(house.inside(), 4);
    }

    #[tokio::test]
    async fn bytes_are_waited_for_and_refused_in_the_end() {
        let house = admission(4, 4 * UNIT);
        let half = house.reserve(2 * UNIT).await.unwrap();
        assert!(house.reserve(3 * UNIT).await.is_err());
        drop(half);
        let _more_than_all = house.reserve(100 * UNIT).await.unwrap();
    }
}
