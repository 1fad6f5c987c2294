//! One HTTP/2 connection to a predictor that speaks gRPC.
//!
//! ModelInfer goes out as one body that is encoded already: gRPC header, protobuf of everything but the raw
//! contents, and the tensor behind it, in the memory in which the tensor was filled. The generated
//! client would copy the tensor twice; it is used for the small calls, and is the tests' oracle.
//!
//! The connection is hyper's own, and not a tonic `Channel`, because the pool must know when it is
//! lost: a `Channel` hides that and reconnects by itself, with the next calls as its victims.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tonic::body::Body;
use tonic::{Code, Status};
use tower_service::Service;

use crate::context::RequestContext;
use crate::error_chain::error_chain;
use crate::predictor::Error;
use crate::predictor::address::Address;
use crate::predictor::headers::PredictorHeaders;
use crate::predictor::retry::{Cause, Failure};
use crate::predictor::triton::body::EncodedBody;
use crate::predictor::triton::dial::Stream;
use crate::predictor::triton::http_error::{describe, http_error, is_html};
use crate::predictor::triton::{ConnectOptions, EncodedCall};
use crate::wire::grpc::{self, code_name, error_status, format_timeout};
use crate::wire::triton::grpc_inference_service_client::GrpcInferenceServiceClient;
use crate::wire::triton::{
    MODEL_INFER, ModelConfig, ModelConfigRequest, ModelInferResponse, ModelMetadataRequest,
    ModelMetadataResponse, ServerLiveRequest,
};

/// Bytes of a response's headers or trailers. A model's error may hold a traceback.
const MAX_HEADER_BYTES: u32 = 1 << 20;

/// A connection.
#[derive(Debug)]
pub(in crate::predictor) struct GrpcConnection {
    sender: http2::SendRequest<Body>,
    /// `http://authority`; the scheme is `https` with TLS.
    origin: Uri,
    /// `origin` with ModelInfer's path.
    infer: Uri,
    max_calls: Arc<AtomicUsize>,
    headers: PredictorHeaders,
}

impl GrpcConnection {
    /// Speaks HTTP/2 on a new stream. The future ends when the connection takes no more calls, and
    /// says why; those under way may still be answered.
    pub(in crate::predictor) async fn open(
        stream: Stream,
        address: &Address,
        options: &ConnectOptions,
    ) -> Result<(Self, impl Future<Output = String> + Send + use<>), String> {
        let scheme = options.dialer.scheme();
        let authority = address.authority();
        let uri = |path: &str| {
            format!("{scheme}://{authority}{path}")
                .parse::<Uri>()
                .map_err(|error| error.to_string())
        };
        let (origin, infer) = (uri("/")?, uri(MODEL_INFER)?);
        let (sender, mut connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(MAX_HEADER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error_chain(&error))?;
        let max_calls = Arc::new(AtomicUsize::new(usize::MAX));
        let current = Arc::clone(&max_calls);
        let ended = poll_fn(move |cx| {
            let ended = Pin::new(&mut connection).poll(cx);
            current.store(connection.current_max_send_streams(), Ordering::Relaxed);
            ended
        });
        let closed = async move {
            match ended.await {
                Ok(()) => "the predictor closed the connection".to_owned(),
                Err(error) => error_chain(&error),
            }
        };
        let connection = Self {
            sender,
            origin,
            infer,
            max_calls,
            headers: options.headers.clone(),
        };
        Ok((connection, closed))
    }

    /// Streams that the predictor allows at once.
    pub(in crate::predictor) fn max_calls(&self) -> usize {
        self.max_calls.load(Ordering::Relaxed)
    }

    fn client(&self) -> GrpcInferenceServiceClient<GeneratedChannel> {
        let channel = GeneratedChannel {
            sender: self.sender.clone(),
            headers: self.headers.clone(),
        };
        GrpcInferenceServiceClient::with_origin(channel, self.origin.clone())
    }

    /// Asks for a sign of life. Any response is one.
    pub(in crate::predictor) async fn check_live(&self) -> Result<(), String> {
        match self.client().server_live(ServerLiveRequest {}).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::Unimplemented => Ok(()),
            Err(status) => Err(status_text(&status)),
        }
    }

    /// The model's metadata, and its configuration where the predictor has such a thing and shows
    /// it.
    pub(in crate::predictor) async fn describe(
        &self,
        model: &str,
    ) -> Result<(ModelMetadataResponse, Option<ModelConfig>), String> {
        let request = ModelMetadataRequest {
            name: model.to_owned(),
            version: String::new(),
        };
        let metadata = self.client().model_metadata(request).await;
        let metadata = metadata
            .map_err(|status| status_text(&status))?
            .into_inner();
        let request = ModelConfigRequest {
            name: model.to_owned(),
            version: String::new(),
        };
        match self.client().model_config(request).await {
            Ok(response) => Ok((metadata, response.into_inner().config)),
            Err(status) if is_refused(&status) => Ok((metadata, None)),
            Err(status) => Err(status_text(&status)),
        }
    }

    /// Sends a call and reads its response. Dropped, it resets the stream.
    pub(in crate::predictor) async fn infer(
        &self,
        call: EncodedCall,
        context: &RequestContext,
    ) -> Result<ModelInferResponse, Failure> {
        // Without a content-length, as gRPC messages go.
        let mut headers = HeaderMap::new();
        call.set_forwarded(&mut headers, context);
        self.set_headers(&mut headers, context);
        let mut request = Request::post(self.infer.clone())
            .body(Body::new(EncodedBody::new(call.message)))
            .map_err(Failure::internal)?;
        *request.headers_mut() = headers;
        let mut sender = self.sender.clone();
        let response = sender.send_request(request).await;
        let (parts, body) = response.map_err(|error| lost(&error))?.into_parts();
        // An error may come with the headers alone, without a body.
        if let Some(status) = error_status(&parts.headers) {
            return Err(error_response(&status));
        }
        if parts.status != StatusCode::OK {
            let text = describe(parts.status, &parts.headers, b"");
            let text = format!("not a gRPC response; {text}");
            let text = text.trim_end_matches("; ");
            return Err(http_error(parts.status, &parts.headers, text));
        }
        if is_html(&parts.headers, b"") {
            return Err(Failure::invalid_response("it is a page of HTML".to_owned()));
        }
        let collected = Limited::new(body, call.response_limit).collect().await;
        let collected = collected.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => lost(&error),
            Err(_) => Failure::too_long(call.response_limit),
        })?;
        if let Some(status) = collected.trailers().and_then(error_status) {
            return Err(error_response(&status));
        }
        grpc::decode(collected.to_bytes())
            .map_err(|error| Failure::invalid_response(error.to_string()))
    }

    fn set_headers(&self, headers: &mut HeaderMap, context: &RequestContext) {
        self.headers.apply(headers);
        grpc::set_request_headers(headers);
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(crate::USER_AGENT),
        );
        if let Ok(value) = HeaderValue::from_str(&format_timeout(context.deadline.remaining())) {
            headers.insert(grpc::TIMEOUT, value);
        }
    }
}

/// The failure of a call that got no response, or not all of it. A reset of its stream alone says
/// nothing against the connection.
fn lost(error: &hyper::Error) -> Failure {
    let source = std::error::Error::source(error);
    let source = source.and_then(|source| source.downcast_ref::<h2::Error>());
    match source {
        Some(reset) if reset.is_reset() && reset.is_library() => {
            Failure::invalid_response(format!("it cannot be read: {reset}"))
        }
        Some(reset) if reset.is_reset() => {
            Failure::new(Cause::StreamReset, Error::Unreachable(reset.to_string()))
        }
        _ => Failure::lost(error_chain(error)),
    }
}

/// The failure that a gRPC status stands for.
fn error_response(status: &Status) -> Failure {
    let message = status.message();
    let refused = |error: fn(String) -> Error| Failure::refused(error, message);
    match status.code() {
        Code::Unavailable => Failure::unavailable(message),
        Code::DeadlineExceeded => Failure::new(Cause::TimedOut, Error::Deadline),
        Code::Unauthenticated => refused(Error::Unauthenticated),
        Code::PermissionDenied => refused(Error::PermissionDenied),
        Code::ResourceExhausted => Failure::overloaded(message, None),
        code => {
            let cause = match code {
                Code::NotFound => Cause::NotFound,
                Code::Internal | Code::Unknown | Code::DataLoss => Cause::Failed,
                _ => Cause::Refused,
            };
            Failure::error_response(cause, code_name(code), message)
        }
    }
}

/// Whether the predictor does not have an RPC, or does not let us call it. Triton says UNAVAILABLE
/// of RPCs that are restricted (`--grpc-restricted-protocol`).
fn is_refused(status: &Status) -> bool {
    match status.code() {
        Code::Unimplemented | Code::PermissionDenied | Code::Unauthenticated => true,
        Code::Unavailable => status.message().contains("restricted"),
        _ => false,
    }
}

fn status_text(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(source) => error_chain(source),
        None => format!("{}: {}", code_name(status.code()), status.message()),
    }
}

/// The connection as the generated client takes it.
#[derive(Clone)]
struct GeneratedChannel {
    sender: http2::SendRequest<Body>,
    headers: PredictorHeaders,
}

impl Service<Request<Body>> for GeneratedChannel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // hyper queues what the peer's stream limit does not let through yet.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        self.headers.apply(request.headers_mut());
        let mut sender = self.sender.clone();
        Box::pin(async move { sender.send_request(request).await })
    }
}
