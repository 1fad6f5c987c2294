//! What a request needs to be admitted: places for its images (`--queue`), bytes of memory
//! (`--max_bytes_in_flight`), and the prospect to begin in time (`--queue_timeout_ms`). The calls in
//! flight are bounded by the predictor.

mod byte_budget;
mod fair_budget;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;

pub(crate) use self::byte_budget::{ByteBudget, ByteReservation};
pub(crate) use self::fair_budget::{FairBudget, FairPermit, Grants};
use crate::observe::metrics::{GaugeGuard, Metrics};

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `--queue`: images admitted, whose request has no response yet.
    pub images: usize,
    /// `--max_bytes_in_flight`: bytes of bodies and tensors.
    pub bytes: usize,
    /// `--queue_timeout_ms`: how long a body may wait, unread, for its bytes, and a request until it
    /// begins.
    pub queue_timeout: Duration,
}

/// Why a request is not admitted.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Refusal {
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
        /// How long what is in flight is expected to take.
        expected: Duration,
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
    /// Its pixels do not fit beside the ones in flight.
    #[error(
        "too busy: images of {in_flight} pixels are in flight and {requested} more do not fit \
         (--max_pixels_in_flight {limit}); try again later"
    )]
    NoPixels {
        /// Pixels in flight.
        in_flight: usize,
        /// Pixels of this request.
        requested: usize,
        /// `--max_pixels_in_flight`.
        limit: usize,
    },
    /// It would begin too late.
    #[error(
        "too busy: {waiting} calls wait to begin, which is expected to take {} ms; this request can \
         wait for {} ms (--queue_timeout_ms, or the caller's own deadline); try again later",
        expected.as_millis(),
        limit.as_millis()
    )]
    TooLate {
        /// Calls that wait.
        waiting: usize,
        /// How long this request would wait.
        expected: Duration,
        /// How long it may.
        limit: Duration,
    },
    /// It waited for too long.
    #[error(
        "too busy: the request could not begin within {} ms behind {waiting} calls that wait \
         (--queue_timeout_ms, --concurrency); try again later",
        waited.as_millis()
    )]
    Waited {
        /// Calls that wait.
        waiting: usize,
        /// How long it waited.
        waited: Duration,
    },
}

impl Refusal {
    /// When it makes sense to try again.
    pub(crate) fn retry_after(&self) -> Duration {
        const SOON: Duration = Duration::from_secs(1);
        match self {
            Self::Full { expected, .. } | Self::TooLate { expected, .. } => *expected,
            Self::Waited { waited, .. } => *waited,
            Self::NoBytes { .. } | Self::NoPixels { .. } => SOON,
        }
        .clamp(SOON, Duration::from_secs(60))
    }
}

/// The images and bytes in flight, against their bounds.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Limits,
    in_flight: Arc<AtomicUsize>,
    gauge: Gauge,
    bytes: ByteBudget,
}

impl Admission {
    /// Nothing is in flight yet.
    pub(crate) fn new(limits: Limits, metrics: &Metrics) -> Self {
        Self {
            limits,
            in_flight: Arc::default(),
            gauge: metrics.images_in_flight.clone(),
            bytes: ByteBudget::new(limits.bytes, limits.queue_timeout, metrics),
        }
    }

    /// Admits `images` at once, or not at all. When nothing is in flight, any number is admitted.
    /// What is in flight is expected to take `expected`.
    ///
    /// # Errors
    ///
    /// [`Refusal::Full`].
    pub(crate) fn try_admit(
        &self,
        images: usize,
        expected: Duration,
    ) -> Result<AdmissionPermit, Refusal> {
        self.in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |in_flight| {
                self.fits(in_flight, images).then_some(in_flight + images)
            })
            .map_err(|in_flight| self.full(in_flight, images, expected))?;
        Ok(AdmissionPermit {
            in_flight: Arc::clone(&self.in_flight),
            images,
            _counted: GaugeGuard::add(&self.gauge, images),
        })
    }

    /// Whether not even one image would be admitted now.
    ///
    /// # Errors
    ///
    /// [`Refusal::Full`].
    pub(crate) fn check(&self, expected: Duration) -> Result<(), Refusal> {
        let in_flight = self.in_flight();
        if self.fits(in_flight, 1) {
            return Ok(());
        }
        Err(self.full(in_flight, 1, expected))
    }

    fn fits(&self, in_flight: usize, images: usize) -> bool {
        in_flight == 0 || in_flight.saturating_add(images) <= self.limits.images
    }

    fn full(&self, in_flight: usize, requested: usize, expected: Duration) -> Refusal {
        Refusal::Full {
            in_flight,
            requested,
            limit: self.limits.images,
            expected,
        }
    }

    /// The bytes, to reserve some of them.
    pub(crate) fn bytes(&self) -> &ByteBudget {
        &self.bytes
    }

    /// `--queue_timeout_ms`.
    pub(crate) fn queue_timeout(&self) -> Duration {
        self.limits.queue_timeout
    }

    /// Images in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }
}

/// Images in flight; no longer so when this is dropped.
#[derive(Debug)]
pub(crate) struct AdmissionPermit {
    in_flight: Arc<AtomicUsize>,
    images: usize,
    _counted: GaugeGuard,
}

impl Drop for AdmissionPermit {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(self.images, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_request_is_admitted_when_none_is_in_flight_and_none_when_full() {
        let limits = Limits {
            images: 4,
            bytes: 1000,
            queue_timeout: Duration::from_millis(20),
        };
        let admission = Admission::new(limits, &Metrics::default());
        let soon = Duration::ZERO;
        let large = admission.try_admit(9, soon).unwrap();
        let refusal = admission.try_admit(1, soon).unwrap_err().to_string();
        assert!(refusal.contains("--queue 4"), "{refusal}");
        assert!(admission.check(soon).is_err());
        drop(large);
        let _three = admission.try_admit(3, soon).unwrap();
        assert!(admission.check(soon).is_ok());
        assert!(admission.try_admit(2, soon).is_err());
        let _one = admission.try_admit(1, soon).unwrap();
        assert_eq!(admission.in_flight(), 4);
        let refusal = admission.try_admit(1, Duration::from_secs(7)).unwrap_err();
        assert_eq!(refusal.retry_after(), Duration::from_secs(7));
    }
}
