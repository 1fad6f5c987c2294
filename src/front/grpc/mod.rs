//! gRPC: Triton's GRPCInferenceService, health and reflection for whatever takes tensors.
//!
//! Messages are measured, reserved and inflated in `transport/grpc_body.rs` before tonic sees them;
//! what may come in a message is decided in `oip`.

mod health;
mod inference;
mod stream;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Either};
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataValue;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower_service::Service;
use tracing::Instrument;

use self::health::Health;
use self::inference::Inference;
use super::span::RequestSpan;
use super::{Settings, endpoint, failure, response};
use crate::context::RequestContext;
use crate::error::Error;
use crate::observe::endpoint::{Endpoint, Route};
use crate::observe::facts::Facts;
use crate::observe::reason::Reason;
use crate::observe::timing::Deadline;
use crate::oip::OpenInference;
use crate::transport::grpc_body::{LimitedBody, MessageEncoding, Messages, PendingReservations};
use crate::transport::headers::REQUEST_ID;
use crate::transport::{Body, Handler, RequestBody};
use crate::wire::grpc;
use crate::wire::triton::DESCRIPTORS;
use crate::wire::triton::grpc_inference_service_server::GrpcInferenceServiceServer;

/// What comes with a call beside its messages; travels in the request's extensions.
#[derive(Clone)]
struct Call {
    context: RequestContext,
    /// What the caller itself set; a stream without it may last as long as its caller likes.
    caller_deadline: Option<Deadline>,
    pending: PendingReservations,
}

/// All gRPC services of this server, as one tower service for any HTTP/2 listener.
#[derive(Clone)]
pub(crate) struct GrpcRoutes {
    routes: Routes,
    oip: OpenInference,
    settings: Arc<Settings>,
}

/// The services that speak for `oip`.
///
/// # Errors
///
/// When the descriptors that the build wrote cannot be read: a defect.
pub(crate) fn routes(
    oip: &OpenInference,
    settings: Arc<Settings>,
) -> Result<GrpcRoutes, tonic_reflection::server::Error> {
    let inference = Inference::new(oip.clone(), Arc::clone(&settings));
    let inference = GrpcInferenceServiceServer::new(inference)
        // Messages come measured and inflated; this only makes tonic name what is understood.
        // Responses are not compressed: they are small, and clients offer it by habit.
        .max_decoding_message_size(usize::MAX)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Deflate);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(inference)
        .add_service(Health::server(oip.clone()))
        .add_service(reflection().build_v1()?)
        // grpcurl and grpcui of some years ago ask for this one.
        .add_service(reflection().build_v1alpha()?)
        .prepare();
    Ok(GrpcRoutes {
        routes,
        oip: oip.clone(),
        settings,
    })
}

/// A port that serves gRPC alone.
impl Handler for GrpcRoutes {
    const HTTP1: bool = false;

    async fn handle(self: Arc<Self>, request: Request<RequestBody>) -> Response<Body> {
        if let Err((status, text)) = check_protocol(request.version(), request.headers()) {
            self.settings.count_other(status);
            return response::failure(status, text);
        }
        let mut routes = GrpcRoutes::clone(&self);
        let Ok(response) = routes.call(request).await;
        response.map(Either::Right)
    }

    fn refuse(&self, status: StatusCode) -> Bytes {
        self.settings.refuse_head(status)
    }
}

/// What of gRPC is not spoken here, with its HTTP status: other messages than protobuf, and gRPC over
/// HTTP/1, which has no trailers for the status.
pub(super) fn check_protocol(
    version: Version,
    headers: &HeaderMap,
) -> Result<(), (StatusCode, &'static str)> {
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let media_type = content_type.unwrap_or_default().split(';').next();
    if !matches!(
        media_type.map(str::trim),
        Some("application/grpc" | "application/grpc+proto")
    ) {
        return Err((
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported content-type; expected application/grpc (gRPC-Web and JSON are not spoken \
             here)",
        ));
    }
    if version != Version::HTTP_2 {
        return Err((
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "gRPC needs HTTP/2; an HTTP/1.1 proxy in between cannot carry it",
        ));
    }
    Ok(())
}

/// Whether a request is gRPC's, on a port that serves other protocols too.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
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
        let (mut head, body) = request.into_parts();
        let endpoint = endpoint::grpc(head.uri.path());
        if let Some(text) = unimplemented(head.uri.path()) {
            let status = Status::unimplemented(text);
            self.settings.count_grpc(endpoint, status.code());
            return Box::pin(std::future::ready(Ok(status.into_http())));
        }
        let mut context = self.settings.context(&head.headers);
        let timeout = head.headers.get(grpc::TIMEOUT);
        let timeout = timeout.and_then(grpc::parse_timeout);
        let caller_deadline = timeout.map(Deadline::after);
        if let Some(timeout) = timeout {
            context.tighten(timeout);
        }
        let messages = messages_of(head.uri.path());
        let deadline = match messages {
            Messages::One => Some(context.deadline),
            Messages::Stream => caller_deadline,
        };
        let span = tracing::info_span!("request", id = context.id, path = head.uri.path());
        context.span = span.clone();
        let facts = Arc::clone(&context.facts);
        // Of a stream each message is observed.
        let is_stream = endpoint.route == Route::ModelStreamInfer;
        let is_infer = endpoint.route == Route::ModelInfer;
        let request_span = is_infer.then(|| RequestSpan::grpc(head.uri.path(), &mut context));
        let observation = (!is_stream).then(|| self.settings.observe(endpoint, &context));
        if is_infer && let Err(error) = self.oip.service().check_load(None, context.deadline) {
            // Known before the message is read.
            span.in_scope(|| failure::note(&error, &facts, &self.settings.observer));
            let status = status(error);
            if let Some(observation) = observation {
                observation.end(grpc::code_name(status.code()));
            }
            if let Some(span) = request_span {
                span.end_grpc(Some(&status));
            }
            return Box::pin(std::future::ready(Ok(status.into_http())));
        }
        let request_id = HeaderValue::from_str(&context.id);
        let pending = PendingReservations::default();
        let body = LimitedBody {
            messages,
            deadline: deadline.map(|deadline| deadline.instant().into()),
            encoding: MessageEncoding::take(&mut head.headers),
            body,
            limits: self.settings.body.clone(),
            pending: pending.clone(),
            timings: Arc::clone(&context.timings),
        };
        head.extensions.insert(Call {
            context,
            caller_deadline,
            pending,
        });
        let mut routes = self.routes.clone();
        let settings = Arc::clone(&self.settings);
        let response = async move {
            let noted = (Arc::clone(&facts), Arc::clone(&settings));
            let body = body.into_body().map_err(move |error| {
                let error = Error::from(error);
                failure::note(&error, &noted.0, &noted.1.observer);
                status(error)
            });
            let request = Request::from_parts(head, tonic::body::Body::new(body));
            let mut response = routes.call(request).await?;
            // Failures are responses of headers alone.
            let failed = Status::from_header_map(response.headers());
            let failed = failed.filter(|status| status.code() != Code::Ok);
            let code = failed.as_ref().map_or(Code::Ok, Status::code);
            if let Some(span) = request_span {
                span.end_grpc(failed.as_ref());
            }
            match observation {
                Some(observation) => {
                    refused_by_tonic(code, &facts);
                    observation.end(grpc::code_name(code));
                }
                None if code != Code::Ok => settings.count_grpc(endpoint, code),
                None => (),
            }
            if let Ok(id) = request_id {
                response.headers_mut().insert(REQUEST_ID, id);
            }
            Ok(response)
        };
        Box::pin(response.instrument(span))
    }
}

impl Settings {
    /// Counts a response that is no prediction's.
    fn count_grpc(&self, endpoint: Endpoint, code: Code) {
        let metrics = &self.observer.metrics;
        metrics.responses(endpoint, grpc::code_name(code)).inc();
    }
}

/// Why a call failed that was refused before it came to any code of ours: its message is not protobuf,
/// its encoding unknown.
fn refused_by_tonic(code: Code, facts: &Facts) {
    match code {
        Code::Ok => (),
        Code::Unimplemented => facts.set_reason(Reason::UnsupportedEncoding),
        _ => facts.set_reason(Reason::Invalid),
    }
}

/// How many messages the calls of a method send.
fn messages_of(path: &str) -> Messages {
    match path.rsplit('/').next() {
        Some("ModelStreamInfer" | "ServerReflectionInfo") => Messages::Stream,
        _ => Messages::One,
    }
}

/// What is in Triton's protocol and not in this service, with the sentence that says so.
fn unimplemented(path: &str) -> Option<&'static str> {
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
        ("TraceSetting", "trace settings are not built in"),
    ];
    parts
        .into_iter()
        .find_map(|(start, text)| method.starts_with(start).then_some(text))
}

/// A failure as gRPC sends it.
fn status(error: Error) -> Status {
    let mut status = Status::new(error.kind.grpc_code(), error.text);
    if let Some(seconds) = error.retry_after {
        // Clients that retry by themselves wait for this long.
        let pushback = MetadataValue::from(u64::from(seconds) * 1000);
        status
            .metadata_mut()
            .insert("grpc-retry-pushback-ms", pushback);
    }
    status
}

#[cfg(test)]
mod tests;
