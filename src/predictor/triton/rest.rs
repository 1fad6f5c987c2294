//! A predictor that speaks Triton's HTTP, with the tensors behind the JSON as they are.
//!
//! `Expect: 100-continue` is never sent: with a body of 20 MB it crashes a Triton.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tower_service::Service;

use crate::context::RequestContext;
use crate::error_chain::error_chain;
use crate::predictor::address::Address;
use crate::predictor::retry::{Failure, Retry};
use crate::predictor::triton::EncodedCall;
use crate::predictor::triton::body::EncodedBody;
use crate::predictor::triton::dial::{Stream, Tls};
use crate::predictor::{Error, Signature};
use crate::wire::tensor::EncodedTensor;
use crate::wire::triton::{ModelConfig, ModelInferResponse, ModelMetadataResponse};
use crate::wire::{error_body, v2};

/// A connection without calls keeps a Triton from ending.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two questions whether an idle predictor is there: no connection tells.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of a response that is not a tensor.
const TEXT_LIMIT: usize = 1024 * 1024;

/// Kept connections to one address, one for each call in flight.
#[derive(Debug)]
pub(in crate::predictor) struct RestConnection {
    client: Client<Connector, EncodedBody>,
    /// `http://authority`; the scheme is `https` with TLS.
    origin: String,
    address: String,
}

impl RestConnection {
    /// Makes sure that the predictor answers.
    pub(in crate::predictor) async fn open(
        address: &Address,
        tls: Option<&Tls>,
    ) -> Result<Self, String> {
        let connector = Connector {
            address: address.clone(),
            tls: tls.cloned(),
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        let scheme = if tls.is_some() { "https" } else { "http" };
        let connection = Self {
            client,
            origin: format!("{scheme}://{}", address.authority()),
            address: address.to_string(),
        };
        connection.check_live().await?;
        Ok(connection)
    }

    /// Ends when the predictor is gone.
    pub(in crate::predictor) async fn closed(self: Arc<Self>) -> String {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            if let Err(reason) = self.check_live().await {
                return reason;
            }
        }
    }

    /// Asks for a sign of life. Any response is one.
    pub(in crate::predictor) async fn check_live(&self) -> Result<(), String> {
        self.get("/v2/health/live").await.map(|_| ())
    }

    /// The model's metadata, and its configuration where the predictor has such a thing.
    pub(in crate::predictor) async fn describe(
        &self,
        model: &str,
    ) -> Result<(ModelMetadataResponse, Option<ModelConfig>), String> {
        let path = format!("/v2/models/{}", path_segment(model));
        let (status, body) = self.get(&path).await?;
        if status != StatusCode::OK {
            return Err(format!(
                "HTTP {}: {}",
                status.as_u16(),
                error_body::parse(&body)
            ));
        }
        let metadata = v2::parse_metadata(&body).map_err(|error| format!("{path}: {error}"))?;
        let path = format!("{path}/config");
        let config = match self.get(&path).await? {
            (StatusCode::OK, body) => {
                Some(v2::parse_config(&body).map_err(|error| format!("{path}: {error}"))?)
            }
            // The model is there, so it is the route that is not.
            (
                StatusCode::NOT_FOUND
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::NOT_IMPLEMENTED,
                _,
            ) => None,
            (status, body) => {
                return Err(format!(
                    "HTTP {}: {}",
                    status.as_u16(),
                    error_body::parse(&body)
                ));
            }
        };
        Ok((metadata, config))
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, Bytes), String> {
        let nothing = EncodedTensor {
            head: Bytes::new(),
            tail: Bytes::new(),
        };
        let request = Request::get(format!("{}{path}", self.origin))
            .header(header::USER_AGENT, crate::USER_AGENT)
            .body(EncodedBody::with_length(nothing))
            .map_err(|error| error.to_string())?;
        let response = self.client.request(request).await;
        let (parts, body) = response.map_err(|error| error_chain(&error))?.into_parts();
        let body = Limited::new(body, TEXT_LIMIT).collect().await;
        let body = body.map_err(|error| error_chain(&*error))?;
        Ok((parts.status, body.to_bytes()))
    }

    /// Sends a call and reads its response. Dropped, it closes the connection; Triton does not
    /// notice that.
    pub(in crate::predictor) async fn infer(
        &self,
        signature: &Signature,
        call: EncodedCall,
        context: &RequestContext,
    ) -> Result<ModelInferResponse, Failure> {
        let internal = |text: String| Failure::never(Error::Internal(text));
        let path = format!("/v2/models/{}/infer", path_segment(&signature.model));
        let uri = format!("{}{path}", self.origin).parse::<Uri>();
        let uri = uri.map_err(|error| internal(error.to_string()))?;
        let mut request = Request::post(uri)
            .body(EncodedBody::with_length(call.message))
            .map_err(|error| internal(error.to_string()))?;
        let headers = request.headers_mut();
        headers.extend(context.headers.clone());
        headers.insert(v2::JSON_LENGTH, HeaderValue::from(call.head_bytes));
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(crate::USER_AGENT),
        );
        let lost = |error: &(dyn std::error::Error + 'static)| {
            Failure::lost(&self.address, error_chain(error))
        };
        let response = self.client.request(request).await;
        let (parts, body) = response.map_err(|error| lost(&error))?.into_parts();
        let limit = if parts.status == StatusCode::OK {
            call.response_limit
        } else {
            TEXT_LIMIT
        };
        let body = Limited::new(body, limit).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => lost(&*error),
            Err(_) => Failure::too_long(limit),
        })?;
        let body = body.to_bytes();
        match parts.status {
            StatusCode::OK => v2::json_length(&parts.headers)
                .and_then(|length| {
                    v2::response::parse(&body, length, |name| name == signature.output)
                })
                .map_err(|error| Failure::invalid_response(error.to_string())),
            status => Err(self.error_response(status, &body)),
        }
    }

    /// The failure that a status stands for.
    fn error_response(&self, status: StatusCode, body: &Bytes) -> Failure {
        let message = error_body::parse(body);
        match status {
            // A full queue, or a proxy without an upstream.
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY => Failure {
                error: Error::Unavailable {
                    address: self.address.clone(),
                    message,
                },
                retry: Retry::Unavailable,
            },
            StatusCode::GATEWAY_TIMEOUT => Failure::never(Error::Deadline),
            status => Failure::never(Error::ErrorResponse {
                code: format!("HTTP {}", status.as_u16()),
                message,
            }),
        }
    }
}

/// A model's name in a path.
fn path_segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                segment.push(char::from(byte));
            }
            _ => segment.push_str(&format!("%{byte:02X}")),
        }
    }
    segment
}

/// Opens connections to the one address, whatever the URI says.
#[derive(Clone, Debug)]
struct Connector {
    address: Address,
    tls: Option<Tls>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { address, tls } = self.clone();
        Box::pin(async move {
            Stream::connect(&address, tls.as_ref(), b"http/1.1")
                .await
                .map(TokioIo::new)
        })
    }
}
