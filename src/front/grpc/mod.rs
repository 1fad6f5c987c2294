//! gRPC: Triton's GRPCInferenceService, health and reflection over whatever takes tensors.
//!
//! Messages are measured, admitted and inflated in `body.rs` before tonic sees them; what may come
//! in a message is decided in `served.rs`.

mod health;
mod inference;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::Either;
use hyper::body::Incoming;
use tonic::Status;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tower_service::Service;
use tracing::{Instrument, Span};

use self::health::Health;
use self::inference::Inference;
use crate::error::Error;
use crate::observe::metrics::Metrics;
use crate::observe::timing::Timings;
use crate::oip::InferenceService;
use crate::transport::grpc_body::{Coding, Measured, Room};
use crate::transport::headers::{self, Forwarded, REQUEST_ID};
use crate::transport::listener::Body;
use crate::wire::grpc;
use crate::wire::triton::DESCRIPTORS;
use crate::wire::triton::grpc_inference_service_server::GrpcInferenceServiceServer;

/// What the front itself decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--max_body_bytes`, for a message as sent and as inflated.
    pub max_body_bytes: usize,
    /// `--body_read_timeout_seconds`, for a message whose header has come.
    pub body_read_timeout: Duration,
    /// Requests of one stream that are worked on side by side (`--concurrency`).
    pub concurrency: usize,
    /// Headers that go on to the predictor (`--forward_headers`).
    pub forward_headers: Vec<Forwarded>,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
}

/// What comes with a call beside its messages; travels in the request's extensions.
#[derive(Clone)]
struct Arrival {
    timings: Arc<Timings>,
    timeout: Option<Duration>,
    headers: HeaderMap,
    request_id: HeaderValue,
    room: Room,
    /// For tasks that outlive the call.
    span: Span,
}

/// All gRPC services of this server, as one tower service for any HTTP/2 listener.
#[derive(Clone)]
pub struct GrpcRoutes {
    routes: Routes,
    served: Arc<dyn InferenceService>,
    settings: Arc<Settings>,
}

/// The services over `served`.
///
/// # Errors
///
/// When the descriptors that the build wrote cannot be read: a defect.
pub fn routes(
    served: Arc<dyn InferenceService>,
    settings: Settings,
) -> Result<GrpcRoutes, tonic_reflection::server::Error> {
    let settings = Arc::new(settings);
    let inference = Inference::new(Arc::clone(&served), Arc::clone(&settings));
    let inference = GrpcInferenceServiceServer::new(inference)
        // Messages come measured and inflated; this only makes tonic name what is understood.
        .max_decoding_message_size(usize::MAX)
        .accept_compressed(CompressionEncoding::Gzip)
        // Answers are not compressed: they are small, and clients offer it by habit.
        .accept_compressed(CompressionEncoding::Deflate);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(inference)
        .add_service(Health::server(Arc::clone(&served)))
        .add_service(reflection().build_v1()?)
        // grpcurl and grpcui of some years ago ask for this one.
        .add_service(reflection().build_v1alpha()?)
        .prepare();
    Ok(GrpcRoutes {
        routes,
        served,
        settings,
    })
}

/// A port that serves gRPC alone.
impl crate::transport::listener::Routes for GrpcRoutes {
    const HTTP1: bool = false;

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let mut routes = GrpcRoutes::clone(&self);
        let Ok(answer) = routes.call(request).await;
        answer.map(Either::Right)
    }
}

/// Whether a request is gRPC's, on a port that serves other protocols too.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

impl<B> Service<Request<B>> for GrpcRoutes
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if let Some(sentence) = not_built_in(request.uri().path()) {
            let response = Status::unimplemented(sentence).into_http();
            return Box::pin(std::future::ready(Ok(response)));
        }
        let arrival = Arrival::of(&request, &self.settings.forward_headers);
        let span = arrival.span.clone();
        let request_id = arrival.request_id.clone();
        let (mut head, body) = request.into_parts();
        let coding = Coding::take(&mut head.headers);
        let body = Measured {
            body,
            coding,
            served: Arc::clone(&self.served),
            limit: self.settings.max_body_bytes,
            time: self.settings.body_read_timeout,
            room: arrival.room.clone(),
        };
        head.extensions.insert(arrival);
        let mut routes = self.routes.clone();
        let answer = async move {
            let request = Request::from_parts(head, body.into_body());
            let mut response = routes.call(request).await?;
            response.headers_mut().insert(REQUEST_ID, request_id);
            Ok(response)
        };
        Box::pin(answer.instrument(span))
    }
}

impl Arrival {
    fn of<B>(request: &Request<B>, forward: &[Forwarded]) -> Self {
        let headers = request.headers();
        let request_id = HeaderValue::try_from(headers::request_id(headers))
            .unwrap_or(HeaderValue::from_static(""));
        let mut forwarded = headers::forwarded(forward, headers);
        let name = HeaderName::from_static(REQUEST_ID);
        if forward.iter().any(|wanted| wanted.matches(&name)) {
            forwarded.insert(name, request_id.clone());
        }
        let id = request_id.to_str().unwrap_or_default();
        let span = tracing::info_span!("request", id, path = request.uri().path());
        Self {
            timings: Arc::new(Timings::start()),
            timeout: headers.get(grpc::TIMEOUT).and_then(grpc::parse_timeout),
            headers: forwarded,
            request_id,
            room: Room::default(),
            span,
        }
    }
}

/// What the service has in its protocol and not here, with the sentence that says so.
fn not_built_in(path: &str) -> Option<&'static str> {
    let method = path.strip_prefix("/inference.GRPCInferenceService/")?;
    let parts = [
        (
            "RepositoryModel",
            "loading and unloading models is not built in; a model is loaded when the service starts",
        ),
        (
            "SystemSharedMemory",
            "system shared memory is not built in; send the values in the request",
        ),
        (
            "CudaSharedMemory",
            "cuda shared memory is not built in; send the values in the request",
        ),
        (
            "TraceSetting",
            "trace settings are not built in; traces are set up by the service's own flags",
        ),
        (
            "LogSettings",
            "log settings are not built in; logging is set up by the service's own flags",
        ),
    ];
    parts
        .into_iter()
        .find_map(|(start, sentence)| method.starts_with(start).then_some(sentence))
}

pub(crate) fn status(error: Error) -> Status {
    Status::new(error.kind.grpc_code(), error.text)
}

#[cfg(test)]
mod tests;
