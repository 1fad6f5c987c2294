//! Which failed calls are sent once more, and how many of them: a retry must cure a lost
//! connection without turning overload into more load.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::predictor::Error;

/// A call that failed, and whether it may be sent again.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) retry: Retry,
}

/// Whether a failed call may be sent again. ModelInfer of a stateless model is idempotent: it does
/// no harm if it ran after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// The predictor has spoken, or time is up.
    Never,
    /// The connection was refused, reset or lost.
    Transport,
    /// UNAVAILABLE: shutting down, or its queue is full.
    Unavailable,
}

impl Failure {
    /// The predictor has spoken, or the fault is ours.
    pub(super) fn never(error: Error) -> Self {
        let retry = Retry::Never;
        Self { error, retry }
    }

    /// The connection was lost, as the transport says.
    pub(super) fn lost(address: &str, reason: String) -> Self {
        Self {
            error: Error::Unreachable {
                address: address.to_owned(),
                reason,
            },
            retry: Retry::Transport,
        }
    }

    /// The response is not what the protocol or the signature says.
    pub(super) fn invalid_response(text: String) -> Self {
        Self::never(Error::InvalidResponse(text))
    }

    /// The response has more bytes than its tensor can need.
    pub(super) fn too_long(limit: usize) -> Self {
        Self::invalid_response(format!("it is longer than {limit} bytes"))
    }
}

/// Seconds over which calls count as recent.
const WINDOW: usize = 10;
/// Retries of UNAVAILABLE answers that are free in each second.
const FREE_PER_SECOND: u32 = 3;
/// Above that, one for that many recent calls.
const CALLS_PER_RETRY: u32 = 10;

/// How many retries are left.
#[derive(Debug)]
pub(super) struct Budget {
    begin: Instant,
    /// Retries after transport failures at most at once.
    reserve: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What is left of the reserve.
    reserve: f64,
    /// The second up to which `counts` is right.
    now: u64,
    counts: [Count; WINDOW],
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    calls: u32,
    retries: u32,
}

impl Budget {
    /// A budget whose burst reserve is `concurrency`: one dead Triton fails at most that many
    /// calls at once, and none of them shall be an error.
    pub(super) fn new(concurrency: usize) -> Self {
        let reserve = concurrency.max(FREE_PER_SECOND as usize) as f64;
        Self {
            begin: Instant::now(),
            reserve,
            state: Mutex::new(State {
                reserve,
                now: 0,
                counts: [Count::default(); WINDOW],
            }),
        }
    }

    /// Counts a call; every tenth gives a retry back to the reserve.
    pub(super) fn record_call(&self) {
        self.at(self.begin.elapsed().as_secs(), |budget, state| {
            state.current().calls += 1;
            state.reserve = (state.reserve + 1.0 / f64::from(CALLS_PER_RETRY)).min(budget.reserve);
        });
    }

    /// Takes a retry from the budget, if one is left.
    pub(super) fn try_spend(&self, retry: Retry) -> bool {
        self.try_spend_at(self.begin.elapsed().as_secs(), retry)
    }

    fn try_spend_at(&self, second: u64, retry: Retry) -> bool {
        self.at(second, |_, state| match retry {
            Retry::Never => false,
            Retry::Transport => {
                let left = state.reserve >= 1.0;
                if left {
                    state.reserve -= 1.0;
                }
                left
            }
            Retry::Unavailable => {
                let calls: u32 = state.counts.iter().map(|count| count.calls).sum();
                let retries: u32 = state.counts.iter().map(|count| count.retries).sum();
                let current = state.current();
                let left = current.retries < FREE_PER_SECOND || retries < calls / CALLS_PER_RETRY;
                if left {
                    current.retries += 1;
                }
                left
            }
        })
    }

    /// Brings the counts up to the present second and works on them.
    fn at<T>(&self, second: u64, work: impl FnOnce(&Self, &mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = second.saturating_sub(state.now);
        for _ in 0..passed.min(WINDOW as u64) {
            state.now += 1;
            *state.current() = Count::default();
        }
        state.now = state.now.max(second);
        let refill = passed as f64 * f64::from(FREE_PER_SECOND);
        state.reserve = (state.reserve + refill).min(self.reserve);
        work(self, &mut state)
    }
}

impl State {
    fn current(&mut self) -> &mut Count {
        &mut self.counts[(self.now % WINDOW as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(budget: &Budget, second: u64, retry: Retry) -> usize {
        (0..100)
            .take_while(|_| budget.try_spend_at(second, retry))
            .count()
    }

    #[test]
    fn transport_failures_have_a_burst_reserve() {
        let budget = Budget::new(8);
        assert_eq!(spent(&budget, 0, Retry::Transport), 8);
        assert_eq!(spent(&budget, 0, Retry::Transport), 0);
        assert_eq!(spent(&budget, 1, Retry::Transport), 3);
        assert_eq!(spent(&budget, 60, Retry::Transport), 8);
    }

    #[test]
    fn unavailable_answers_get_three_per_second() {
        let budget = Budget::new(100);
        for second in 0..20 {
            assert_eq!(spent(&budget, second, Retry::Unavailable), 3);
        }
    }

    #[test]
    fn or_a_tenth_of_recent_calls() {
        let budget = Budget::new(100);
        budget.at(0, |_, state| state.current().calls = 200);
        assert_eq!(spent(&budget, 0, Retry::Unavailable), 20);
        // Both the calls and the retries are recent still.
        assert_eq!(spent(&budget, 9, Retry::Unavailable), 3);
        // Neither is.
        assert_eq!(spent(&budget, 30, Retry::Unavailable), 3);
        assert!(!budget.try_spend_at(30, Retry::Never));
    }
}
