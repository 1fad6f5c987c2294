//! What a request carries from its first byte to its last.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tracing::Span;

use crate::observe::facts::Facts;
use crate::observe::spans;
use crate::observe::timing::{Deadline, Stage, Timings};
use crate::observe::trace::Trace;

/// Made once where a request arrives and passed down by reference; nothing below copies its parts.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// `x-request-id`, the caller's own or one that was made; goes on to the predictor.
    pub id: String,
    /// The model's public name.
    pub model: String,
    /// Headers that go on to the predictor.
    pub headers: HeaderMap,
    /// The caller's `priority` in the predictor's queue, as Triton's request parameter of this name.
    pub priority: Option<i64>,
    /// Outputs that the caller asks for and that are made on request only.
    pub outputs_on_request: Vec<String>,
    /// When the caller stops waiting, counted from the request's first byte.
    pub deadline: Deadline,
    /// Where its time goes.
    pub timings: Arc<Timings>,
    /// What else is known of it when it ends.
    pub(crate) facts: Arc<Facts>,
    /// The caller's trace.
    pub(crate) trace: Option<Trace>,
    /// The span of its log lines, for tasks that outlive the call.
    pub span: Span,
    /// The span that it came from, where requests are traced.
    pub(crate) caller: Option<spans::Caller>,
    /// Its own span.
    pub(crate) request_span: Option<spans::Span>,
}

impl RequestContext {
    /// A request that arrives now.
    pub fn new(id: String, deadline: Deadline) -> Self {
        Self {
            id,
            model: String::new(),
            headers: HeaderMap::new(),
            priority: None,
            outputs_on_request: Vec::new(),
            deadline,
            timings: Arc::new(Timings::start()),
            facts: Arc::default(),
            trace: None,
            span: Span::current(),
            caller: None,
            request_span: None,
        }
    }

    /// Its own span, below which its stages are recorded.
    pub(crate) fn traced(&mut self, span: spans::Span) {
        self.timings = Arc::new(self.timings.traced(&span));
        self.request_span = Some(span);
    }

    /// The span below which a call to a predictor belongs.
    pub(crate) fn predict_span(&self) -> Option<spans::Span> {
        let stage = self.timings.span(Stage::Predict);
        stage.or_else(|| self.request_span.clone())
    }

    /// Takes the caller's own deadline where it is sooner; `timeout` counts from the arrival.
    pub fn tighten(&mut self, timeout: Duration) {
        let remaining = timeout.saturating_sub(self.timings.total());
        if remaining < self.deadline.remaining() {
            self.deadline = Deadline::after(remaining);
        }
    }

    /// The context of one message of a streaming call, which is observed apart.
    pub fn for_message(&self, deadline: Deadline) -> Self {
        Self {
            deadline,
            timings: Arc::new(Timings::start()),
            facts: Arc::default(),
            request_span: None,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sooner_deadline_is_taken() {
        let minute = Duration::from_secs(60);
        let mut context = RequestContext::new("id".to_owned(), Deadline::after(minute));
        context.tighten(minute * 2);
        assert!(context.deadline.remaining() <= minute);
        context.tighten(minute / 2);
        assert!(context.deadline.remaining() <= minute / 2);
        let message = context.for_message(Deadline::after(minute));
        assert!(!Arc::ptr_eq(&message.timings, &context.timings));
    }
}
