//! When to give a target up: if none of its first requests succeeds, more of them only load it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::loadtest::failure::{Failure, FailureKind};

/// Failures in a row, from the first request on, after which a target is given up.
const LIMIT: u64 = 50;

/// Watches the requests to one target over all its runs.
#[derive(Debug, Default)]
pub(crate) struct GiveUp {
    any_ok: AtomicBool,
    failures: AtomicU64,
    /// The first failure, in words.
    reason: Mutex<Option<String>>,
}

impl GiveUp {
    /// Takes the outcome of a request into account; whether the target is now given up.
    pub(crate) fn record(&self, outcome: &Result<(), Failure>) -> bool {
        match outcome {
            Ok(()) => {
                self.any_ok.store(true, Ordering::Relaxed);
                false
            }
            // The target did respond; what it should have said is for the verdicts.
            Err(failure) if failure.kind == FailureKind::WrongScore => false,
            Err(_) if self.any_ok.load(Ordering::Relaxed) => false,
            Err(failure) => {
                if self.failures.fetch_add(1, Ordering::Relaxed) == 0 {
                    let reason = format!("{} \"{}\"", failure.kind, failure.text);
                    if let Ok(mut first) = self.reason.lock() {
                        *first = Some(reason);
                    }
                }
                self.is_given_up()
            }
        }
    }

    /// Whether the target is given up.
    pub(crate) fn is_given_up(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= LIMIT && !self.any_ok.load(Ordering::Relaxed)
    }

    /// Why, if the target is given up.
    pub(crate) fn reason(&self) -> Option<String> {
        if !self.is_given_up() {
            return None;
        }
        let failures = self.failures.load(Ordering::Relaxed);
        let first = self.reason.lock().ok()?.clone()?;
        Some(format!(
            "all of the first {failures} requests failed: {first}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: FailureKind) -> Result<(), Failure> {
        Err(Failure::new(kind, "no"))
    }

    #[test]
    fn a_target_that_only_fails_is_given_up_with_the_first_reason() {
        let give_up = GiveUp::default();
        assert!(!give_up.record(&failed(FailureKind::Http(404))));
        for _ in 2..LIMIT {
            assert!(!give_up.record(&failed(FailureKind::Http(503))));
        }
        assert_eq!(give_up.reason(), None);
        assert!(give_up.record(&failed(FailureKind::Http(503))));
        let reason = give_up.reason().unwrap();
        assert_eq!(
            reason,
            "all of the first 50 requests failed: http 404 \"no\""
        );
    }

    #[test]
    fn one_success_is_enough_to_go_on() {
        let give_up = GiveUp::default();
        give_up.record(&Ok(()));
        for _ in 0..2 * LIMIT {
            assert!(!give_up.record(&failed(FailureKind::Timeout)));
        }
    }

    #[test]
    fn wrong_scores_are_responses() {
        let give_up = GiveUp::default();
        for _ in 0..2 * LIMIT {
            assert!(!give_up.record(&failed(FailureKind::WrongScore)));
        }
    }
}
