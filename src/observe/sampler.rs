//! Which failures are told in the log: of those for one reason the first, and then one in each second,
//! with how many were left out. Under overload a line for each would be a load of its own.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::reason::Reason;

/// How often a reason is told.
const INTERVAL: Duration = Duration::from_secs(1);

/// What was told and left out, by reason.
#[derive(Debug)]
pub(crate) struct Sampler {
    begin: Instant,
    reasons: [Told; Reason::ALL.len()],
}

#[derive(Debug, Default)]
struct Told {
    /// Milliseconds from the beginning until it may be told again.
    next: AtomicU64,
    left_out: AtomicU64,
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            begin: Instant::now(),
            reasons: Default::default(),
        }
    }
}

impl Sampler {
    /// Whether a failure is told now; with how many were left out since the last that was.
    pub(crate) fn admit(&self, reason: Reason) -> Option<u64> {
        let told = &self.reasons[reason as usize];
        let now = self.begin.elapsed().as_millis() as u64;
        let next = told.next.load(Relaxed);
        let again = now + INTERVAL.as_millis() as u64;
        let mine = now >= next
            && told
                .next
                .compare_exchange(next, again, Relaxed, Relaxed)
                .is_ok();
        if mine {
            return Some(told.left_out.swap(0, Relaxed));
        }
        told.left_out.fetch_add(1, Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_and_then_one_in_a_second_with_the_number_of_the_others() {
        let sampler = Sampler::default();
        assert_eq!(sampler.admit(Reason::QueueFull), Some(0));
        for _ in 0..500 {
            assert_eq!(sampler.admit(Reason::QueueFull), None);
        }
        // Another reason is told all the same.
        assert_eq!(sampler.admit(Reason::Invalid), Some(0));
        advance(Duration::from_millis(999)).await;
        assert_eq!(sampler.admit(Reason::QueueFull), None);
        advance(Duration::from_millis(1)).await;
        assert_eq!(sampler.admit(Reason::QueueFull), Some(501));
        assert_eq!(sampler.admit(Reason::QueueFull), None);
    }
}
