//! The span of a request: what it is called, and how it says that the request was answered. Names and
//! attributes are those of OpenTelemetry's semantic conventions for HTTP and RPC servers.
//!
//! Traced are requests with work to do: POST over REST, ModelInfer and each message of ModelStreamInfer
//! over gRPC. Probes, metadata and metrics would bury them.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, StatusCode, Version};
use tonic::{Code, Status};

use crate::context::RequestContext;
use crate::observe::spans::Span;
use crate::observe::timing::{Timings, milliseconds};
use crate::wire::grpc::code_name;

/// Says how the request was answered, or that it was not: dropped before, it was canceled.
pub(super) struct RequestSpan(Option<(Span, Arc<Timings>)>);

impl RequestSpan {
    /// Begins the span of a REST request where `context` did.
    pub(super) fn rest(head: &Parts, context: &mut RequestContext) -> Self {
        if head.method != Method::POST {
            return Self(None);
        }
        let path = head.uri.path();
        let route = route(path);
        let name = route.map_or_else(
            || head.method.to_string(),
            |route| format!("{} {route}", head.method),
        );
        Self::begin(name, context, |span| {
            span.set("http.request.method", head.method.to_string());
            span.set("url.path", path.to_owned());
            if let Some(route) = route {
                span.set("http.route", route);
            }
            let version = if head.version == Version::HTTP_2 {
                "2"
            } else {
                "1.1"
            };
            span.set("network.protocol.version", version);
        })
    }

    /// Begins the span of a call, or of one message of a stream. `path` is that of HTTP.
    pub(super) fn grpc(path: &str, context: &mut RequestContext) -> Self {
        let method = path.trim_start_matches('/').to_owned();
        Self::begin(method.clone(), context, |span| {
            span.set("rpc.system.name", "grpc");
            span.set("rpc.method", method);
        })
    }

    fn begin(name: String, context: &mut RequestContext, describe: impl FnOnce(&Span)) -> Self {
        let Some(caller) = &context.caller else {
            return Self(None);
        };
        let span = caller.begin(name.into(), context.timings.begin());
        if span.is_recording() {
            describe(&span);
            span.set("request_id", context.id.clone());
        }
        context.trace = Some(span.trace());
        context.traced(span.clone());
        Self(Some((span, Arc::clone(&context.timings))))
    }

    /// What is left to say at the end.
    fn take(&mut self) -> Option<Span> {
        let (span, timings) = self.0.take()?;
        if span.is_recording() {
            for (stage, duration) in timings.without_spans() {
                let key = format!("{}_ms", stage.name());
                span.set(key, milliseconds(duration));
            }
        }
        Some(span)
    }

    /// It was answered over HTTP: the status, and the text of its error.
    pub(super) fn end_rest(mut self, status: StatusCode, error: Option<&str>) {
        let Some(span) = self.take() else { return };
        span.set("http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            span.fail(status.as_str(), error.unwrap_or_default());
        }
        span.end();
    }

    /// It was answered over gRPC.
    pub(super) fn end_grpc(mut self, failure: Option<&Status>) {
        let Some(span) = self.take() else { return };
        let code = failure.map_or(Code::Ok, Status::code);
        span.set("rpc.response.status_code", code_name(code));
        if let Some(failure) = failure
            && is_server_error(code)
        {
            span.fail(code_name(code), failure.message());
        }
        span.end();
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        if let Some(span) = self.take() {
            span.fail("canceled", "the caller left");
            span.end();
        }
    }
}

/// Which codes are the server's fault, by the semantic conventions.
fn is_server_error(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// The route of a path to which requests are posted, without what differs from request to request.
fn route(path: &str) -> Option<&'static str> {
    let segments: Vec<_> = path.trim_matches('/').split('/').collect();
    match segments.as_slice() {
        ["v1", "models", model] if model.ends_with(":predict") => {
            Some("/v1/models/{model}:predict")
        }
        ["v2", "models", _, "infer"] => Some("/v2/models/{model}/infer"),
        ["v2", "models", _, "versions", _, "infer"] => {
            Some("/v2/models/{model}/versions/{version}/infer")
        }
        _ => None,
    }
}
