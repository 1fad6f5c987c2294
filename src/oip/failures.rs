//! Failures on purpose, so that a client's handling of them can be tried.

use std::sync::atomic::{AtomicU64, Ordering};

/// Lets a share of the calls fail, evenly among the others: the same ones in every run.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    share: f64,
    calls: AtomicU64,
}

impl Failures {
    /// `share` of the calls, from 0 to 1, are to fail.
    pub(crate) fn new(share: f64) -> Self {
        debug_assert!((0.0..=1.0).contains(&share), "a share is from 0 to 1");
        Self {
            share,
            calls: AtomicU64::new(0),
        }
    }

    /// Whether the next call is to fail.
    pub(super) fn next(&self) -> bool {
        let before = self.calls.fetch_add(1, Ordering::Relaxed) as f64;
        // Rounding must not leave the tenth tenth a little short.
        let failed = |calls: f64| (calls * self.share + 1e-9).floor();
        failed(before + 1.0) > failed(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_exact_and_spread_out() {
        for (share, failing) in [(0.0, 0), (0.1, 100), (0.25, 250), (1.0, 1000)] {
            let failures = Failures::new(share);
            let failed: Vec<_> = (0..1000).filter(|_| failures.next()).collect();
            assert_eq!(failed.len(), failing, "{share}");
            let gaps = failed.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(gaps.max().unwrap_or(0) as f64 <= 1.0 / share + 1.0);
        }
    }
}
