//! How long to leave a predictor alone that fails again and again.

use std::time::Duration;

/// A predictor that has become well is found within about two seconds at first: this, connecting,
/// and asking.
const MIN: Duration = Duration::from_millis(500);
/// One that is gone for hours costs next to nothing.
const MAX: Duration = Duration::from_secs(10);
/// Each delay is at most this many times the one before.
const GROWTH: u32 = 3;

/// Delays that grow from attempt to attempt. Each is drawn at random between the least and the
/// longest that is due, so that the connections of many pods do not come all at once.
#[derive(Debug)]
pub(super) struct Backoff {
    longest: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { longest: MIN }
    }

    /// The next delay.
    pub(super) fn next(&mut self) -> Duration {
        self.longest = (self.longest * GROWTH).min(MAX);
        MIN + (self.longest - MIN).mul_f64(fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_within_their_bounds_and_differ() {
        let delays: Vec<Vec<_>> = (0..100)
            .map(|_| {
                let mut backoff = Backoff::new();
                (0..8).map(|_| backoff.next()).collect()
            })
            .collect();
        assert!(
            delays
                .iter()
                .flatten()
                .all(|delay| (MIN..=MAX).contains(delay))
        );
        let mean = |step: usize| delays.iter().map(|delays| delays[step]).sum::<Duration>() / 100;
        assert!(mean(0) < mean(1) && mean(1) < mean(3), "{delays:?}");
        let mut first: Vec<_> = delays.iter().map(|delays| delays[0]).collect();
        first.dedup();
        assert!(first.len() > 90, "{first:?}");
    }
}
