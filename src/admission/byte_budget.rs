//! The bytes of bodies and tensors in flight.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;

use super::Refusal;
use super::fair_budget::{FairBudget, FairPermit, Grants};
use crate::observe::metrics::Metrics;

/// The bytes of all requests in flight. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct ByteBudget {
    budget: Arc<FairBudget>,
    timeout: Duration,
    gauge: Gauge,
}

impl ByteBudget {
    /// At most `limit` bytes, for which a body waits for `timeout`.
    pub(crate) fn new(limit: usize, timeout: Duration, metrics: &Metrics) -> Self {
        Self {
            budget: FairBudget::new(limit, Grants::Whole),
            timeout,
            gauge: metrics.bytes_in_flight.clone(),
        }
    }

    /// Counts bytes without a bound.
    #[cfg(test)]
    pub(crate) fn unlimited(metrics: &Metrics) -> Self {
        Self::new(usize::MAX, Duration::MAX, metrics)
    }

    /// `--max_bytes_in_flight`.
    pub(crate) fn limit(&self) -> usize {
        self.budget.limit()
    }

    /// Waits for `bytes` of a body, first come, first served. When none are taken, any number is
    /// granted.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoBytes`] after `--queue_timeout_ms`.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<ByteReservation, Refusal> {
        let permit = tokio::time::timeout(self.timeout, self.budget.acquire(bytes)).await;
        let permit = permit.map_err(|_| self.refusal(bytes, self.timeout))?;
        Ok(self.reservation(permit))
    }

    /// Takes `bytes` at once or not at all, for work that holds memory and so must not wait.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoBytes`].
    pub(crate) fn try_reserve(&self, bytes: usize) -> Result<ByteReservation, Refusal> {
        let permit = self.budget.try_acquire(bytes);
        let permit = permit.ok_or_else(|| self.refusal(bytes, Duration::ZERO))?;
        Ok(self.reservation(permit))
    }

    /// Takes the bytes of a request that is admitted already. It never waits: requests that hold
    /// the bytes of their bodies would wait for each other. Later bodies wait instead.
    pub(crate) fn reserve_now(&self, bytes: usize) -> ByteReservation {
        self.reservation(self.budget.take(bytes))
    }

    fn reservation(&self, permit: FairPermit) -> ByteReservation {
        self.gauge.inc_by(signed(permit.amount()));
        ByteReservation {
            permit,
            gauge: self.gauge.clone(),
        }
    }

    fn refusal(&self, requested: usize, waited: Duration) -> Refusal {
        Refusal::NoBytes {
            requested,
            waited_ms: waited.as_millis(),
            limit: self.budget.limit(),
        }
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Bytes that are reserved; they are free again when this is dropped.
#[derive(Debug)]
pub(crate) struct ByteReservation {
    permit: FairPermit,
    gauge: Gauge,
}

impl ByteReservation {
    /// Gives back all but `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let before = self.permit.amount();
        self.permit.shrink_to(bytes);
        self.gauge.dec_by(signed(before - self.permit.amount()));
    }

    /// These bytes, reserved for as long as they or a clone of them live.
    pub(crate) fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held {
            bytes,
            _reserved: self,
        })
    }
}

struct Held {
    bytes: Bytes,
    _reserved: ByteReservation,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for ByteReservation {
    fn drop(&mut self) {
        self.gauge.dec_by(signed(self.permit.amount()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_are_waited_for_and_refused_in_the_end() {
        let metrics = Metrics::default();
        let budget = ByteBudget::new(1000, Duration::from_millis(20), &metrics);
        let mut half = budget.reserve(500).await.unwrap();
        let refusal = budget.reserve(600).await.unwrap_err().to_string();
        assert!(refusal.contains("--max_bytes_in_flight 1000"), "{refusal}");
        assert!(budget.try_reserve(600).is_err());
        half.shrink_to(400);
        assert_eq!(metrics.bytes_in_flight.get(), 400);
        drop(budget.try_reserve(600).unwrap());
        let tensors = budget.reserve_now(5000);
        assert_eq!(metrics.bytes_in_flight.get(), 5400);
        drop(half);
        assert!(budget.reserve(1).await.is_err());
        drop(tensors);
        let _more_than_all = budget.reserve(100_000).await.unwrap();
        assert_eq!(metrics.bytes_in_flight.get(), 100_000);
    }
}
