//! How a call to the predictor ended, counted and told to its span however it ends.

use crate::observe::metrics::PredictorMetrics;
use crate::observe::spans::Span;
use crate::observe::timing::Deadline;

/// Counts one outcome when it is dropped: what was set, or that the caller's time was up or that
/// the caller left.
pub(super) struct OutcomeGuard<'a> {
    metrics: &'a PredictorMetrics,
    deadline: Deadline,
    /// The outcome if the time is up, which says what took it.
    late: &'static str,
    outcome: Option<&'static str>,
    span: Option<Span>,
    armed: bool,
}

impl<'a> OutcomeGuard<'a> {
    pub(super) fn new(
        metrics: &'a PredictorMetrics,
        deadline: Deadline,
        late: &'static str,
    ) -> Self {
        Self {
            metrics,
            deadline,
            late,
            outcome: None,
            span: None,
            armed: true,
        }
    }

    /// The same for a call that has a span.
    pub(super) fn traced(mut self, span: Option<Span>) -> Self {
        self.span = span;
        self
    }

    pub(super) fn set(&mut self, outcome: &'static str) {
        self.outcome = Some(outcome);
    }

    /// Counts nothing: what was waited for has come.
    pub(super) fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for OutcomeGuard<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let outcome = match self.outcome {
            Some(outcome) => outcome,
            None if std::thread::panicking() => "internal",
            None if self.deadline.remaining().is_zero() => self.late,
            None => "canceled",
        };
        self.metrics.count(outcome);
        if let Some(span) = &self.span {
            span.set("inference.outcome", outcome);
            if outcome != "ok" {
                span.fail(outcome, "");
            }
            span.end();
        }
    }
}
