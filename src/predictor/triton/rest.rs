//! A predictor that speaks Triton's HTTP, with the tensors behind the JSON as they are.
//!
//! `Expect: 100-continue` is never sent: with a body of 20 MB it crashes a Triton.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tower_service::Service;

use crate::context::RequestContext;
use crate::error_chain::error_chain;
use crate::predictor::Signature;
use crate::predictor::address::Address;
use crate::predictor::headers::PredictorHeaders;
use crate::predictor::retry::Failure;
use crate::predictor::triton::body::EncodedBody;
use crate::predictor::triton::dial::{Dialer, Stream};
use crate::predictor::triton::http_error::{code, describe, http_error, is_html};
use crate::predictor::triton::tls::Alpn;
use crate::predictor::triton::{ConnectOptions, EncodedCall};
use crate::wire::tensor::EncodedMessage;
use crate::wire::triton::{ModelConfig, ModelInferResponse, ModelMetadataResponse};
use crate::wire::v2;

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
    headers: PredictorHeaders,
}

impl RestConnection {
    /// Makes sure that the predictor answers.
    pub(in crate::predictor) async fn open(
        address: &Address,
        options: &ConnectOptions,
    ) -> Result<Self, String> {
        let connector = Connector {
            address: address.clone(),
            dialer: options.dialer.clone(),
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        let scheme = options.dialer.scheme();
        let connection = Self {
            client,
            origin: format!("{scheme}://{}", address.authority()),
            headers: options.headers.clone(),
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

    /// The model's metadata, and its configuration where the predictor has such a thing and shows
    /// it.
    pub(in crate::predictor) async fn describe(
        &self,
        model: &str,
    ) -> Result<(ModelMetadataResponse, Option<ModelConfig>), String> {
        let path = format!("/v2/models/{}", path_segment(model));
        let response = self.get(&path).await?;
        if response.status != StatusCode::OK {
            return Err(response.text());
        }
        let metadata = v2::parse_metadata(&response.body);
        let metadata = metadata.map_err(|error| format!("{path}: {error}"))?;
        let path = format!("{path}/config");
        let response = self.get(&path).await?;
        let config = match response.status {
            StatusCode::OK => {
                let config = v2::parse_config(&response.body);
                Some(config.map_err(|error| format!("{path}: {error}"))?)
            }
            // The model is there, so it is the route that is not, or that is restricted.
            StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED
            | StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN => None,
            _ => return Err(response.text()),
        };
        Ok((metadata, config))
    }

    async fn get(&self, path: &str) -> Result<GetResponse, String> {
        let nothing = EncodedMessage::default();
        let mut request = Request::get(format!("{}{path}", self.origin))
            .header(header::USER_AGENT, crate::USER_AGENT)
            .body(EncodedBody::with_length(nothing))
            .map_err(|error| error.to_string())?;
        self.headers.apply(request.headers_mut());
        let response = self.client.request(request).await;
        let (parts, body) = response.map_err(|error| error_chain(&error))?.into_parts();
        let body = Limited::new(body, TEXT_LIMIT).collect().await;
        let body = body.map_err(|error| error_chain(&*error))?.to_bytes();
        Ok(GetResponse {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }

    /// Sends a call and reads its response. Dropped, it closes the connection; Triton does not
    /// notice that.
    pub(in crate::predictor) async fn infer(
        &self,
        signature: &Signature,
        call: EncodedCall,
        context: &RequestContext,
    ) -> Result<ModelInferResponse, Failure> {
        let path = format!("/v2/models/{}/infer", path_segment(&signature.model));
        let uri = format!("{}{path}", self.origin).parse::<Uri>();
        let uri = uri.map_err(Failure::internal)?;
        let mut headers = HeaderMap::new();
        call.set_forwarded(&mut headers, context);
        let mut request = Request::post(uri)
            .body(EncodedBody::with_length(call.message))
            .map_err(Failure::internal)?;
        self.headers.apply(&mut headers);
        headers.insert(v2::JSON_LENGTH, HeaderValue::from(call.head_bytes));
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(crate::USER_AGENT),
        );
        *request.headers_mut() = headers;
        let lost = |error: &(dyn std::error::Error + 'static)| Failure::lost(error_chain(error));
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
            StatusCode::OK if is_html(&parts.headers, &body) => {
                Err(Failure::invalid_response("it is a page of HTML".to_owned()))
            }
            StatusCode::OK => v2::json_length(&parts.headers)
                .and_then(|length| {
                    let wanted =
                        |name: &str| signature.outputs.iter().any(|output| output.name == name);
                    v2::response::parse(&body, length, wanted)
                })
                .map_err(|error| Failure::invalid_response(error.to_string())),
            status => {
                let text = describe(status, &parts.headers, &body);
                Err(http_error(status, &parts.headers, &text))
            }
        }
    }
}

/// The response to a GET.
struct GetResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl GetResponse {
    fn text(&self) -> String {
        let text = describe(self.status, &self.headers, &self.body);
        format!("{}: {text}", code(self.status))
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
    dialer: Dialer,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { address, dialer } = self.clone();
        Box::pin(async move {
            dialer
                .connect(&address, Alpn::Http1)
                .await
                .map(TokioIo::new)
        })
    }
}
