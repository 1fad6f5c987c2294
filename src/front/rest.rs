//! A REST request on its way.

use std::sync::Arc;

use http::request::Parts;

use crate::context::RequestContext;
use crate::error::Error;
use crate::observe::timing::Stage;
use crate::transport::http_body::{self, ReadBody};
use crate::transport::{BodyLimits, RequestBody};

/// A request whose head was read and whose body was not.
pub(super) struct RestRequest {
    pub(super) head: Parts,
    pub(super) body: RequestBody,
    pub(super) context: RequestContext,
}

impl RestRequest {
    /// Reads the body within its limits.
    pub(super) async fn read_body(&mut self, limits: &BodyLimits) -> Result<ReadBody, Error> {
        let timings = Arc::clone(&self.context.timings);
        let _timer = timings.stage(Stage::Read);
        let RestRequest {
            head,
            body,
            context,
        } = self;
        let deadline = context.deadline.instant().into();
        let read = http_body::read(&head.headers, body, limits, deadline, &context.timings);
        let body = read.await?;
        context.facts.set_request_bytes(body.sent_bytes);
        Ok(body)
    }

    /// Reads over the rest of the body of a request that is refused.
    pub(super) async fn discard_body(&mut self) {
        self.body.discard(&self.head.headers).await;
    }
}
