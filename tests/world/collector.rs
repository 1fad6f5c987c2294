//! An OpenTelemetry collector in the test's process, which speaks OTLP over gRPC and keeps the spans.
#![allow(dead_code)] // each test binary uses its part

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::Span as ProtoSpan;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use tonic::{Request, Response, Status};

/// A span as a reader of traces sees it.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) name: String,
    /// The number of OTLP's `SpanKind`: 1 internal, 2 server, 3 client.
    pub(crate) kind: i32,
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) failed: bool,
}

/// A running collector.
pub(crate) struct Collector {
    address: SocketAddr,
    kept: Kept,
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Span>>>);

impl Collector {
    /// One on a free port.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Kept::default();
        let service = TraceServiceServer::new(kept.clone());
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(incoming));
        Self { address, kept }
    }

    /// Its URL, as `--otlp_endpoint` takes it beside `--otlp_protocol=grpc`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it has received, in the order in which the spans began.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let mut spans = self.kept.0.lock().unwrap().clone();
        spans.sort_by_key(|span| span.begin);
        spans
    }
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        let spans = scopes.flat_map(|scope| scope.spans).map(Span::from);
        self.0.lock().unwrap().extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl From<ProtoSpan> for Span {
    fn from(span: ProtoSpan) -> Self {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = |value: any_value::Value| match value {
            any_value::Value::StringValue(text) => text,
            any_value::Value::IntValue(number) => number.to_string(),
            any_value::Value::DoubleValue(number) => number.to_string(),
            other => format!("{other:?}"),
        };
        let attributes = span.attributes.into_iter().map(|attribute| {
            let value = attribute.value.and_then(|value| value.value);
            (attribute.key, value.map_or_else(String::new, text))
        });
        Self {
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            name: span.name,
            kind: span.kind,
            begin: span.start_time_unix_nano,
            end: span.end_time_unix_nano,
            attributes: attributes.collect(),
            failed: span
                .status
                .is_some_and(|status| status.code() == StatusCode::Error),
        }
    }
}
