//! How well a replica does, from its calls: whether it is ejected, and how long it takes.
//!
//! A replica that fails every call at once always has the least in flight. Without ejection it
//! would get nearly all calls; without a look at latency, one that is ten times slower than its
//! twin would get half of them until they pile up.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;

/// Failures in a row after which a replica is ejected.
const MAX_FAILURES: u32 = 5;
/// A replica that fails again so soon after it came back is left alone for longer.
const RELAPSE: Duration = Duration::from_secs(10);
/// How soon a latency is forgotten, with or without calls: a replica that was slow is tried again.
const LATENCY_DECAY: Duration = Duration::from_secs(5);

/// Shared by the connections to one address.
///
/// | state | event | new state |
/// |---|---|---|
/// | in use | the fifth failure in a row | ejected |
/// | ejected | its delay is over, and a call comes | probed by this call |
/// | probed | the call succeeds | in use |
/// | probed | it fails | ejected, for longer |
/// | probed | it is dropped without a result | ejected, with its delay over |
#[derive(Debug)]
pub(super) struct ReplicaHealth {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// In a row.
    failures: u32,
    ejection: Option<Ejection>,
    backoff: Backoff,
    /// When the replica last came back.
    readmitted: Option<Instant>,
    latency: Option<Latency>,
}

#[derive(Debug)]
struct Ejection {
    until: Instant,
    probed: bool,
}

/// A moving average that follows a rise at once and a fall slowly ("peak EWMA").
#[derive(Clone, Copy, Debug)]
struct Latency {
    value: Duration,
    at: Instant,
}

/// What a replica may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// One call, to find out whether it is well again.
    ProbeDue,
    /// Calls.
    InUse,
    /// Nothing, unless there is no other replica.
    Ejected,
}

impl Latency {
    fn decayed(self, now: Instant) -> (Duration, f64) {
        let age = now.saturating_duration_since(self.at);
        let weight = (-age.div_duration_f64(LATENCY_DECAY)).exp();
        (self.value.mul_f64(weight), weight)
    }
}

impl ReplicaHealth {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                failures: 0,
                ejection: None,
                backoff: Backoff::new(),
                readmitted: None,
                latency: None,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn standing(&self) -> Standing {
        match &self.lock().ejection {
            None => Standing::InUse,
            Some(ejection) if !ejection.probed && ejection.until <= Instant::now() => {
                Standing::ProbeDue
            }
            Some(_) => Standing::Ejected,
        }
    }

    /// How long its calls take at present; nothing before the first one.
    pub(super) fn latency(&self, now: Instant) -> Option<Duration> {
        let latency = self.lock().latency?;
        Some(latency.decayed(now).0)
    }

    /// Behind the address is another process, or the same one after a pause.
    pub(super) fn forget_latency(&self) {
        self.lock().latency = None;
    }

    /// Takes the probe that is due, if no other call has taken it.
    pub(super) fn try_probe(&self) -> bool {
        match &mut self.lock().ejection {
            Some(ejection) if !ejection.probed && ejection.until <= Instant::now() => {
                ejection.probed = true;
                true
            }
            _ => false,
        }
    }

    /// A probe ended without a result: the next call is one.
    pub(super) fn abandon_probe(&self) {
        if let Some(ejection) = &mut self.lock().ejection {
            ejection.probed = false;
        }
    }

    /// A call succeeded and took that long, or the predictor had a reason to refuse it. True if that
    /// ends an ejection.
    pub(super) fn record_success(&self, latency: Option<Duration>) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        state.failures = 0;
        if let Some(latency) = latency {
            let value = match state.latency.map(|latency| latency.decayed(now)) {
                Some((old, weight)) if latency < old => old + latency.mul_f64(1.0 - weight),
                _ => latency,
            };
            state.latency = Some(Latency { value, at: now });
        }
        let ended = state.ejection.take().is_some();
        if ended {
            state.readmitted = Some(now);
        }
        ended
    }

    /// A call failed by the replica's fault. The delay if that ejects it, or prolongs the ejection.
    pub(super) fn record_failure(&self) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.lock();
        state.failures += 1;
        let eject = match &state.ejection {
            // Other calls were under way when it was ejected.
            Some(ejection) => ejection.probed,
            None => state.failures >= MAX_FAILURES,
        };
        if !eject {
            return None;
        }
        let relapsed = |readmitted: Instant| now.saturating_duration_since(readmitted) < RELAPSE;
        if state.ejection.is_none() && !state.readmitted.is_some_and(relapsed) {
            state.backoff = Backoff::new();
        }
        let delay = state.backoff.next();
        state.ejection = Some(Ejection {
            until: now + delay,
            probed: false,
        });
        Some(delay)
    }

    /// A call ran out of time. A deadline that is shorter than what its calls usually take is not
    /// the replica's fault.
    pub(super) fn record_timeout(&self, waited: Duration) -> Option<Duration> {
        if self
            .latency(Instant::now())
            .is_none_or(|usual| waited > usual)
        {
            self.record_failure()
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const QUICK: Duration = Duration::from_millis(1);

    fn fail(health: &ReplicaHealth, times: u32) -> Option<Duration> {
        (0..times).fold(None, |_, _| health.record_failure())
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_eject_and_one_probe_brings_it_back() {
        let health = ReplicaHealth::new();
        assert_eq!(fail(&health, MAX_FAILURES - 1), None);
        assert!(!health.record_success(Some(QUICK)));
        assert_eq!(fail(&health, MAX_FAILURES - 1), None);
        let delay = health.record_failure().unwrap();
        assert_eq!(health.standing(), Standing::Ejected);
        // What was under way when it was ejected prolongs nothing.
        assert_eq!(health.record_failure(), None);

        advance(delay).await;
        assert_eq!(health.standing(), Standing::ProbeDue);
        assert!(health.try_probe());
        assert!(!health.try_probe(), "one call at a time");
        assert_eq!(health.standing(), Standing::Ejected);
        health.abandon_probe();
        assert!(health.try_probe());
        let delay = health.record_failure().unwrap();
        advance(delay).await;
        assert!(health.try_probe());
        assert!(health.record_success(Some(QUICK)));
        assert_eq!(health.standing(), Standing::InUse);
    }

    #[tokio::test(start_paused = true)]
    async fn latency_rises_at_once_and_falls_slowly() {
        let (slow, quick) = (Duration::from_millis(100), Duration::from_millis(10));
        let health = ReplicaHealth::new();
        assert_eq!(health.latency(Instant::now()), None);
        health.record_success(Some(quick));
        health.record_success(Some(slow));
        assert_eq!(health.latency(Instant::now()), Some(slow));
        advance(Duration::from_secs(1)).await;
        health.record_success(Some(quick));
        let after_a_second = health.latency(Instant::now()).unwrap();
        assert!(after_a_second > slow * 8 / 10, "{after_a_second:?}");
        for _ in 0..60 {
            advance(Duration::from_secs(1)).await;
            health.record_success(Some(quick));
        }
        let after_a_minute = health.latency(Instant::now()).unwrap();
        assert!(after_a_minute < quick * 2, "{after_a_minute:?}");
        // Not asked, it is forgotten too.
        advance(Duration::from_secs(60)).await;
        assert!(health.latency(Instant::now()).unwrap() < quick / 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_shorter_than_usual_is_not_the_replicas_fault() {
        let health = ReplicaHealth::new();
        health.record_success(Some(Duration::from_millis(20)));
        for _ in 0..2 * MAX_FAILURES {
            assert_eq!(health.record_timeout(Duration::from_millis(2)), None);
        }
        let ejected = (0..MAX_FAILURES).filter_map(|_| health.record_timeout(RELAPSE));
        assert_eq!(ejected.count(), 1);
    }
}
