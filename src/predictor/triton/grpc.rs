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
use crate::predictor::retry::{Failure, Retry};
use crate::predictor::triton::EncodedCall;
use crate::predictor::triton::body::EncodedBody;
use crate::predictor::triton::dial::Stream;
use crate::wire::grpc::{self, code_name, error_status, format_timeout};
use crate::wire::triton::grpc_inference_service_client::GrpcInferenceServiceClient;
use crate::wire::triton::{
    MODEL_INFER, ModelConfig, ModelConfigRequest, ModelInferResponse, ModelMetadataRequest,
    ModelMetadataResponse, ServerLiveRequest,
};

/// A connection.
#[derive(Debug)]
pub(in crate::predictor) struct GrpcConnection {
    sender: http2::SendRequest<Body>,
    /// `http://authority`; the scheme is `https` with TLS.
    origin: Uri,
    /// `origin` with ModelInfer's path.
    infer: Uri,
    max_calls: Arc<AtomicUsize>,
    address: String,
}

impl GrpcConnection {
    /// Speaks HTTP/2 on a new stream. The future ends when the connection takes no more calls, and
    /// says why; those under way may still be answered.
    pub(in crate::predictor) async fn open(
        stream: Stream,
        address: &Address,
    ) -> Result<(Self, impl Future<Output = String> + Send + use<>), String> {
        let scheme = if stream.is_tls() { "https" } else { "http" };
        let authority = address.authority();
        let uri = |path: &str| {
            format!("{scheme}://{authority}{path}")
                .parse::<Uri>()
                .map_err(|error| error.to_string())
        };
        let (origin, infer) = (uri("/")?, uri(MODEL_INFER)?);
        let (sender, mut connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
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
            address: address.to_string(),
        };
        Ok((connection, closed))
    }

    /// Streams that the predictor allows at once.
    pub(in crate::predictor) fn max_calls(&self) -> usize {
        self.max_calls.load(Ordering::Relaxed)
    }

    fn client(&self) -> GrpcInferenceServiceClient<GeneratedChannel> {
        GrpcInferenceServiceClient::with_origin(
            GeneratedChannel(self.sender.clone()),
            self.origin.clone(),
        )
    }

    /// Asks for a sign of life. Any response is one.
    pub(in crate::predictor) async fn check_live(&self) -> Result<(), String> {
        match self.client().server_live(ServerLiveRequest {}).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::Unimplemented => Ok(()),
            Err(status) => Err(status_text(&status)),
        }
    }

    /// The model's metadata, and its configuration where the predictor has such a thing.
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
            Err(status) if status.code() == Code::Unimplemented => Ok((metadata, None)),
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
        let mut request = Request::post(self.infer.clone())
            .body(Body::new(EncodedBody::new(call.message)))
            .map_err(|error| Failure::never(Error::Internal(error.to_string())))?;
        set_headers(request.headers_mut(), context);
        let lost = |error: &(dyn std::error::Error + 'static)| {
            Failure::lost(&self.address, error_chain(error))
        };
        let mut sender = self.sender.clone();
        let response = sender.send_request(request).await;
        let (parts, body) = response.map_err(|error| lost(&error))?.into_parts();
        // An error may come with the headers alone, without a body.
        if let Some(status) = error_status(&parts.headers) {
            return Err(error_response(&status, &self.address));
        }
        if parts.status != StatusCode::OK {
            return Err(not_grpc(parts.status, &self.address));
        }
        let collected = Limited::new(body, call.response_limit).collect().await;
        let collected = collected.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => lost(&*error),
            Err(_) => Failure::too_long(call.response_limit),
        })?;
        if let Some(status) = collected.trailers().and_then(error_status) {
            return Err(error_response(&status, &self.address));
        }
        grpc::decode(collected.to_bytes())
            .map_err(|error| Failure::invalid_response(error.to_string()))
    }
}

fn set_headers(headers: &mut HeaderMap, context: &RequestContext) {
    for (name, value) in &context.headers {
        headers.append(name, value.clone());
    }
    grpc::set_request_headers(headers);
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static(crate::USER_AGENT),
    );
    if let Ok(value) = HeaderValue::from_str(&format_timeout(context.deadline.remaining())) {
        headers.insert(grpc::TIMEOUT, value);
    }
}

/// The failure that a gRPC status stands for.
fn error_response(status: &Status, address: &str) -> Failure {
    let address = address.to_owned();
    let message = status.message().to_owned();
    match status.code() {
        Code::Unavailable => Failure {
            error: Error::Unavailable { address, message },
            retry: Retry::Unavailable,
        },
        Code::DeadlineExceeded => Failure::never(Error::Deadline),
        code => Failure::never(Error::ErrorResponse {
            code: code_name(code).to_owned(),
            message,
        }),
    }
}

/// A response without a gRPC status: a proxy's, or that of a server which does not speak gRPC.
fn not_grpc(status: StatusCode, address: &str) -> Failure {
    let message = format!("HTTP status {status} instead of a gRPC response");
    match status.as_u16() {
        429 | 502..=504 => Failure {
            error: Error::Unavailable {
                address: address.to_owned(),
                message,
            },
            retry: Retry::Unavailable,
        },
        _ => Failure::invalid_response(message),
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
struct GeneratedChannel(http2::SendRequest<Body>);

impl Service<Request<Body>> for GeneratedChannel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // hyper queues what the peer's stream limit does not let through yet.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut sender = self.0.clone();
        Box::pin(async move { sender.send_request(request).await })
    }
}
