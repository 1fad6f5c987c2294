//! The span of a call to a model: what it is called and what it says. Names and attributes are those of
//! OpenTelemetry's semantic conventions for RPC and HTTP clients, and `inference.*` for what they have
//! no word for.

use super::triton::Connection;
use crate::context::RequestContext;
use crate::observe::spans::Span;

/// What a call is about.
pub(super) struct Call<'a> {
    pub(super) model: &'a str,
    pub(super) rows: usize,
    /// 1, or 2 for a retry.
    pub(super) attempt: usize,
}

impl Call<'_> {
    /// The span of a call over this connection, to the replica at `address`.
    pub(super) fn remote(
        &self,
        context: &RequestContext,
        connection: &Connection,
        address: &str,
    ) -> Option<Span> {
        let parent = context.predict_span()?;
        let span = match connection {
            Connection::Grpc(_) => parent.client("inference.GRPCInferenceService/ModelInfer"),
            Connection::Rest(_) => parent.client("POST /v2/models/{model}/infer"),
        };
        if span.is_recording() {
            self.describe(&span);
            match connection {
                Connection::Grpc(_) => {
                    span.set("rpc.system.name", "grpc");
                    span.set("rpc.method", "inference.GRPCInferenceService/ModelInfer");
                }
                Connection::Rest(_) => span.set("http.request.method", "POST"),
            }
            let (host, port) = host_and_port(address);
            span.set("server.address", host.to_owned());
            if let Some(port) = port {
                span.set("server.port", port);
            }
        }
        Some(span)
    }

    /// The span of a call to a model in this process.
    pub(super) fn local(&self, context: &RequestContext) -> Option<Span> {
        let span = context
            .predict_span()?
            .internal("infer", std::time::Instant::now());
        if span.is_recording() {
            self.describe(&span);
        }
        Some(span)
    }

    fn describe(&self, span: &Span) {
        let count = |count| i64::try_from(count).unwrap_or(i64::MAX);
        span.set("inference.model", self.model.to_owned());
        span.set("inference.rows", count(self.rows));
        span.set("inference.attempt", count(self.attempt));
    }
}

/// A replica's address taken apart; that of a Unix socket has no port.
fn host_and_port(address: &str) -> (&str, Option<i64>) {
    if let Some((host, port)) = address.rsplit_once(':')
        && let Ok(port) = port.parse::<u16>()
    {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        return (host, Some(port.into()));
    }
    (address.trim_start_matches("unix:"), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        assert_eq!(host_and_port("triton:8001"), ("triton", Some(8001)));
        assert_eq!(host_and_port("[::1]:8001"), ("::1", Some(8001)));
        assert_eq!(host_and_port("unix:/run/triton"), ("/run/triton", None));
    }
}
