//! What a request carries from its first byte to its last.

use std::sync::Arc;

use http::HeaderMap;
use tracing::Span;

use crate::observe::timing::{Deadline, Timings};

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
    /// When the caller stops waiting, counted from the request's first byte.
    pub deadline: Deadline,
    /// Where its time goes.
    pub timings: Arc<Timings>,
    /// The span of its log lines, for tasks that outlive the call.
    pub span: Span,
}

impl RequestContext {
    /// A request that arrives now.
    pub fn new(id: String, deadline: Deadline) -> Self {
        Self {
            id,
            model: String::new(),
            headers: HeaderMap::new(),
            priority: None,
            deadline,
            timings: Arc::new(Timings::start()),
            span: Span::current(),
        }
    }
}
