//! Which failed calls are sent once more, and how many of them: a retry must cure a lost
//! connection without turning overload into more load.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::predictor::Error;
use crate::wire::tensor::DataType;

/// A call that failed, and whether it may be sent again.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) cause: Cause,
}

/// What made a call fail, as far as it matters for its retry and for the replica. ModelInfer of a
/// stateless model is idempotent: sent again, it does no harm if it ran after all.
///
/// | cause | sent again | from | held against the replica |
/// |---|---|---|---|
/// | `Lost`, `StreamReset` | anywhere | the reserve | yes; `Lost`: by checking the connection |
/// | `Unavailable` | to another address, else anywhere | the reserve, else the share | yes |
/// | `NotFound`, `Failed` | to another address | the reserve | yes |
/// | `QueueFull` | anywhere | the share | no |
/// | `Refused` | never | | no |
/// | `TimedOut` | never | | yes |
/// | `Internal` | never | | no |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The connection was refused, reset or lost.
    Lost,
    /// The call alone was reset, or refused before it ran (REFUSED_STREAM).
    StreamReset,
    /// UNAVAILABLE: shutting down, or a proxy without an upstream. The call did not run.
    Unavailable,
    /// UNAVAILABLE because of a full queue: more calls would make it worse.
    QueueFull,
    /// NOT_FOUND: the model is not loaded, or not any more. The call did not run.
    NotFound,
    /// The predictor failed by its own fault, or its response is invalid.
    Failed,
    /// The predictor had a reason to refuse the call.
    Refused,
    /// The predictor says that time is up.
    TimedOut,
    /// A defect of this service.
    Internal,
}

/// Characters of a predictor's own text in an error.
const MAX_TEXT_CHARS: usize = 512;

impl Failure {
    pub(super) fn new(cause: Cause, error: Error) -> Self {
        Self { error, cause }
    }

    /// The connection was lost, as the transport says.
    pub(super) fn lost(reason: String) -> Self {
        Self::new(Cause::Lost, Error::Unreachable(reason))
    }

    /// The predictor, or a proxy in front of it, says that it is unavailable.
    pub(super) fn unavailable(message: &str) -> Self {
        // Triton's words. They are the only sign of it.
        let cause = if message.contains("maximum queue size") {
            Cause::QueueFull
        } else {
            Cause::Unavailable
        };
        Self::new(cause, Error::Unavailable(bounded(message)))
    }

    /// The predictor responded with an error.
    pub(super) fn error_response(cause: Cause, code: impl Into<String>, message: &str) -> Self {
        let (code, message) = (code.into(), bounded(message));
        Self::new(cause, Error::ErrorResponse { code, message })
    }

    /// The predictor had a reason to refuse the call, which the caller shall know.
    pub(super) fn refused(error: fn(String) -> Error, message: &str) -> Self {
        Self::new(Cause::Refused, error(bounded(message)))
    }

    /// The predictor, or a proxy in front of it, limits the rate of calls.
    pub(super) fn overloaded(message: &str, retry_after: Option<u32>) -> Self {
        let message = bounded(message);
        let error = Error::Overloaded {
            message,
            retry_after,
        };
        Self::new(Cause::Refused, error)
    }

    /// The response is not what the protocol or the signature says.
    pub(super) fn invalid_response(text: String) -> Self {
        Self::new(Cause::Failed, Error::InvalidResponse(text))
    }

    /// The response has more bytes than its tensor can need.
    pub(super) fn too_long(limit: usize) -> Self {
        Self::invalid_response(format!("it is longer than {limit} bytes"))
    }

    /// The replica's model takes other datatypes than those of the call, which were another replica's.
    /// It did not run.
    pub(super) fn other_datatypes(found: &[DataType]) -> Self {
        let text = format!(
            "the model of this replica takes {}",
            DataType::one_of(found)
        );
        Self::new(Cause::NotFound, Error::NotReady(text))
    }

    pub(super) fn internal(error: impl ToString) -> Self {
        Self::new(Cause::Internal, Error::Internal(error.to_string()))
    }
}

fn bounded(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What a retry is paid from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fund {
    /// A burst: one dead or broken replica must cost no caller an error.
    Reserve,
    /// A share of the recent calls: retries must not add to an overload.
    Share,
}

impl Cause {
    /// Those whose calls may be sent again, with the value of the metrics' label `cause`.
    pub(super) const RETRIED: [(Self, &'static str); 6] = [
        (Self::Lost, "lost"),
        (Self::StreamReset, "stream_reset"),
        (Self::Unavailable, "unavailable"),
        (Self::QueueFull, "queue_full"),
        (Self::NotFound, "not_found"),
        (Self::Failed, "failed"),
    ];

    /// What the retry of a call is paid from, where it may be sent again.
    pub(super) fn fund(self, other_address: bool) -> Option<Fund> {
        match self {
            Self::Lost | Self::StreamReset => Some(Fund::Reserve),
            Self::Unavailable | Self::NotFound | Self::Failed if other_address => {
                Some(Fund::Reserve)
            }
            Self::Unavailable | Self::QueueFull => Some(Fund::Share),
            Self::NotFound | Self::Failed | Self::Refused | Self::TimedOut | Self::Internal => None,
        }
    }
}

/// Seconds over which calls count as recent.
const WINDOW: usize = 10;
/// Retries of the share that are free in each second.
const FREE_PER_SECOND: u32 = 3;
/// Above that, one for that many recent calls.
const CALLS_PER_RETRY: u32 = 10;

/// How many retries are left.
#[derive(Debug)]
pub(super) struct Budget {
    begin: Instant,
    /// Retries from the reserve at most at once.
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

    /// Retries that are left, by fund.
    pub(super) fn left(&self) -> [(&'static str, f64); 2] {
        self.at(self.begin.elapsed().as_secs(), |_, state| {
            [
                ("reserve", state.reserve.floor()),
                ("share", f64::from(state.share_left())),
            ]
        })
    }

    /// Takes a retry from the budget, if one is left.
    pub(super) fn try_spend(&self, fund: Fund) -> bool {
        self.try_spend_at(self.begin.elapsed().as_secs(), fund)
    }

    fn try_spend_at(&self, second: u64, fund: Fund) -> bool {
        self.at(second, |_, state| match fund {
            Fund::Reserve => {
                let left = state.reserve >= 1.0;
                if left {
                    state.reserve -= 1.0;
                }
                left
            }
            Fund::Share => {
                let left = state.share_left() > 0;
                if left {
                    state.current().retries += 1;
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
    /// Retries that the share has left: the free ones of this second, or one for so many calls.
    fn share_left(&mut self) -> u32 {
        let calls: u32 = self.counts.iter().map(|count| count.calls).sum();
        let retries: u32 = self.counts.iter().map(|count| count.retries).sum();
        let free = FREE_PER_SECOND.saturating_sub(self.current().retries);
        free.max((calls / CALLS_PER_RETRY).saturating_sub(retries))
    }

    fn current(&mut self) -> &mut Count {
        &mut self.counts[(self.now % WINDOW as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_did_not_run_or_does_no_harm_is_sent_again() {
        let (reserve, share) = (Some(Fund::Reserve), Some(Fund::Share));
        let cases = [
            // cause, with another address, without
            (Cause::Lost, reserve, reserve),
            (Cause::StreamReset, reserve, reserve),
            (Cause::Unavailable, reserve, share),
            (Cause::QueueFull, share, share),
            (Cause::NotFound, reserve, None),
            (Cause::Failed, reserve, None),
            (Cause::Refused, None, None),
            (Cause::TimedOut, None, None),
            (Cause::Internal, None, None),
        ];
        for (cause, elsewhere, alone) in cases {
            assert_eq!(cause.fund(true), elsewhere, "{cause:?}");
            assert_eq!(cause.fund(false), alone, "{cause:?}");
            let counted = Cause::RETRIED.iter().any(|(retried, _)| *retried == cause);
            assert_eq!(counted, elsewhere.or(alone).is_some(), "{cause:?}");
        }
    }

    #[test]
    fn a_predictors_text_is_bounded() {
        let failure = Failure::unavailable(&"é".repeat(20_000));
        assert!(failure.error.to_string().chars().count() < MAX_TEXT_CHARS + 100);
        assert_eq!(failure.cause, Cause::Unavailable);
        let full = Failure::unavailable("Exceeds maximum queue size");
        assert_eq!(full.cause, Cause::QueueFull);
    }

    fn spent(budget: &Budget, second: u64, fund: Fund) -> usize {
        (0..100)
            .take_while(|_| budget.try_spend_at(second, fund))
            .count()
    }

    #[test]
    fn the_reserve_lasts_for_a_burst() {
        let budget = Budget::new(8);
        assert_eq!(spent(&budget, 0, Fund::Reserve), 8);
        assert_eq!(spent(&budget, 0, Fund::Reserve), 0);
        assert_eq!(spent(&budget, 1, Fund::Reserve), 3);
        assert_eq!(spent(&budget, 60, Fund::Reserve), 8);
    }

    #[test]
    fn the_share_is_three_per_second() {
        let budget = Budget::new(100);
        for second in 0..20 {
            assert_eq!(spent(&budget, second, Fund::Share), 3);
        }
    }

    #[test]
    fn what_is_left_is_told() {
        let budget = Budget::new(8);
        assert_eq!(budget.left(), [("reserve", 8.0), ("share", 3.0)]);
        assert!(budget.try_spend(Fund::Reserve) && budget.try_spend(Fund::Share));
        assert!(budget.left()[0].1 <= 8.0);
        budget.at(0, |_, state| state.current().calls = 200);
        assert_eq!(budget.left()[1], ("share", 19.0));
    }

    #[test]
    fn or_a_tenth_of_recent_calls() {
        let budget = Budget::new(100);
        budget.at(0, |_, state| state.current().calls = 200);
        assert_eq!(spent(&budget, 0, Fund::Share), 20);
        // Both the calls and the retries are recent still.
        assert_eq!(spent(&budget, 9, Fund::Share), 3);
        // Neither is.
        assert_eq!(spent(&budget, 30, Fund::Share), 3);
    }
}
