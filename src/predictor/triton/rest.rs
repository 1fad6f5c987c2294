//! A predictor that speaks Triton's HTTP, with the tensors behind the JSON as they are.
//!
//! `Expect: 100-continue` is never sent: with a body of 20 MB it crashes a Triton.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::json;
use tower_service::Service;

use crate::context::RequestContext;
use crate::predictor::address::Address;
use crate::predictor::retry::{Failure, Retry};
use crate::predictor::triton::body::ReadyMade;
use crate::predictor::triton::dial::{Stream, Tls, causes};
use crate::predictor::{Error, Signature};
use crate::wire::tensor::EncodedTensor;
use crate::wire::triton::model_infer_response::InferOutputTensor;
use crate::wire::triton::model_metadata_response::TensorMetadata;
use crate::wire::triton::{
    InferTensorContents, ModelConfig, ModelInferResponse, ModelInput, ModelMetadataResponse,
    ModelTransactionPolicy,
};

const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
/// A connection that nobody uses keeps a Triton from ending.
const IDLE: Duration = Duration::from_secs(15);
/// Between two questions whether an idle predictor is there: no connection tells.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes of an answer that is not a tensor.
const TEXT_LIMIT: usize = 1024 * 1024;

/// Kept connections to one address, one for each call in flight.
#[derive(Debug)]
pub(in crate::predictor) struct Link {
    client: Client<Connector, ReadyMade>,
    /// `http://authority`; the scheme is `https` with TLS.
    origin: String,
    address: String,
}

/// The JSON in front of the tensor.
pub(in crate::predictor) fn header(
    signature: &Signature,
    shape: &[i64],
    id: &str,
    tensor: usize,
) -> Vec<u8> {
    json!({
        "id": id,
        "inputs": [{
            "name": signature.input,
            "datatype": "FP32",
            "shape": shape,
            "parameters": {"binary_data_size": tensor},
        }],
        "outputs": [{"name": signature.output, "parameters": {"binary_data": true}}],
    })
    .to_string()
    .into_bytes()
}

impl Link {
    /// Makes sure that somebody answers.
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
            .pool_idle_timeout(IDLE)
            .build(connector);
        let scheme = if tls.is_some() { "https" } else { "http" };
        let link = Self {
            client,
            origin: format!("{scheme}://{}", address.authority()),
            address: address.to_string(),
        };
        link.live().await?;
        Ok(link)
    }

    /// Ends when the predictor is gone.
    pub(in crate::predictor) async fn closed(self: Arc<Self>) -> String {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Err(reason) = self.live().await {
                return reason;
            }
        }
    }

    /// Asks for a sign of life. Any answer is one.
    pub(in crate::predictor) async fn live(&self) -> Result<(), String> {
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
            return Err(format!("HTTP {}: {}", status.as_u16(), error_text(&body)));
        }
        let metadata: Metadata = serde_json::from_slice(&body)
            .map_err(|error| format!("no model metadata at {path}: {error}"))?;
        let path = format!("{path}/config");
        let config = match self.get(&path).await? {
            (StatusCode::OK, body) => {
                let config: Config = serde_json::from_slice(&body)
                    .map_err(|error| format!("no model configuration at {path}: {error}"))?;
                Some(config.into())
            }
            // The model is there, so it is the route that is not.
            (
                StatusCode::NOT_FOUND
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::NOT_IMPLEMENTED,
                _,
            ) => None,
            (status, body) => {
                return Err(format!("HTTP {}: {}", status.as_u16(), error_text(&body)));
            }
        };
        Ok((metadata.into(), config))
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, Bytes), String> {
        let nothing = EncodedTensor {
            head: Bytes::new(),
            tail: Bytes::new(),
        };
        let request = Request::get(format!("{}{path}", self.origin))
            .header(header::USER_AGENT, crate::USER_AGENT)
            .body(ReadyMade::with_length(nothing))
            .map_err(|error| error.to_string())?;
        let response = self.client.request(request).await;
        let (parts, body) = response.map_err(|error| causes(&error))?.into_parts();
        let body = Limited::new(body, TEXT_LIMIT).collect().await;
        let body = body.map_err(|error| causes(&*error))?;
        Ok((parts.status, body.to_bytes()))
    }

    /// Sends a message whose first `header_bytes` are JSON and reads the answer. Dropped, it closes
    /// the connection; Triton does not notice that.
    pub(in crate::predictor) async fn infer(
        &self,
        signature: &Signature,
        message: EncodedTensor,
        header_bytes: usize,
        context: &RequestContext,
        limit: usize,
    ) -> Result<ModelInferResponse, Failure> {
        let bug = |text: String| Failure::never(Error::Internal(text));
        let path = format!("/v2/models/{}/infer", path_segment(&signature.model));
        let uri = format!("{}{path}", self.origin).parse::<Uri>();
        let uri = uri.map_err(|error| bug(error.to_string()))?;
        let mut request = Request::post(uri)
            .body(ReadyMade::with_length(message))
            .map_err(|error| bug(error.to_string()))?;
        let headers = request.headers_mut();
        headers.extend(context.headers.clone());
        headers.insert(JSON_LENGTH, HeaderValue::from(header_bytes));
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(crate::USER_AGENT),
        );
        let lost = |error: &(dyn std::error::Error + 'static)| Failure {
            error: Error::Unreachable {
                address: self.address.clone(),
                reason: causes(error),
            },
            retry: Retry::Transport,
        };
        let response = self.client.request(request).await;
        let (parts, body) = response.map_err(|error| lost(&error))?.into_parts();
        let limit = if parts.status == StatusCode::OK {
            limit
        } else {
            TEXT_LIMIT
        };
        let body = Limited::new(body, limit).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => lost(&*error),
            Err(_) => invalid_response(format!("it is longer than {limit} bytes")),
        })?;
        let body = body.to_bytes();
        match parts.status {
            StatusCode::OK => decode(&parts.headers, &body),
            status => Err(self.answered(status, &body)),
        }
    }

    /// The failure that a status stands for.
    fn answered(&self, status: StatusCode, body: &Bytes) -> Failure {
        let message = error_text(body);
        match status {
            // A full queue, or a proxy that has nobody behind it.
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

fn invalid_response(text: String) -> Failure {
    Failure::never(Error::InvalidResponse(text))
}

/// The text of an error's JSON, or the beginning of whatever came instead.
fn error_text(body: &Bytes) -> String {
    #[derive(Deserialize)]
    struct Fault {
        error: String,
    }
    match serde_json::from_slice::<Fault>(body) {
        Ok(fault) => fault.error,
        Err(_) => String::from_utf8_lossy(body).chars().take(200).collect(),
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

/// An answer: JSON, and the binary tensors behind it in the order of the outputs.
fn decode(headers: &http::HeaderMap, body: &Bytes) -> Result<ModelInferResponse, Failure> {
    let length = match headers.get(JSON_LENGTH) {
        None => body.len(),
        Some(value) => value
            .to_str()
            .ok()
            .and_then(|value| value.parse().ok())
            .filter(|&length| length <= body.len())
            .ok_or_else(|| invalid_response(format!("{JSON_LENGTH}: {value:?}")))?,
    };
    let answer: Answer = serde_json::from_slice(&body[..length])
        .map_err(|error| invalid_response(format!("no inference answer: {error}")))?;
    let mut rest = body.slice(length..);
    let mut response = ModelInferResponse::default();
    for output in answer.outputs {
        let mut tensor = InferOutputTensor {
            name: output.name,
            datatype: output.datatype,
            shape: output.shape,
            ..InferOutputTensor::default()
        };
        match output.parameters.binary_data_size {
            Some(size) if size <= rest.len() => {
                response.raw_output_contents.push(rest.split_to(size));
            }
            Some(size) => {
                let there = rest.len();
                return Err(invalid_response(format!(
                    "output {:?} of {size} bytes, of which {there} are there",
                    tensor.name
                )));
            }
            None => {
                tensor.contents = Some(InferTensorContents {
                    fp32_contents: output.data.unwrap_or_default(),
                    ..InferTensorContents::default()
                });
            }
        }
        response.outputs.push(tensor);
    }
    Ok(response)
}

#[derive(Deserialize)]
struct Answer {
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    #[serde(default)]
    parameters: Parameters,
    data: Option<Vec<f32>>,
}

#[derive(Default, Deserialize)]
struct Parameters {
    binary_data_size: Option<usize>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    inputs: Vec<Tensor>,
    #[serde(default)]
    outputs: Vec<Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    name: String,
    datatype: String,
    #[serde(default)]
    shape: Vec<i64>,
}

impl From<Metadata> for ModelMetadataResponse {
    fn from(metadata: Metadata) -> Self {
        let tensors = |tensors: Vec<Tensor>| {
            let tensor = |tensor: Tensor| TensorMetadata {
                name: tensor.name,
                datatype: tensor.datatype,
                shape: tensor.shape,
            };
            tensors.into_iter().map(tensor).collect()
        };
        Self {
            inputs: tensors(metadata.inputs),
            outputs: tensors(metadata.outputs),
            ..Self::default()
        }
    }
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    max_batch_size: i32,
    #[serde(default)]
    input: Vec<Input>,
    #[serde(default)]
    model_transaction_policy: Policy,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    #[serde(default)]
    optional: bool,
}

#[derive(Default, Deserialize)]
struct Policy {
    #[serde(default)]
    decoupled: bool,
}

impl From<Config> for ModelConfig {
    fn from(config: Config) -> Self {
        let input = |input: Input| ModelInput {
            name: input.name,
            optional: input.optional,
            ..ModelInput::default()
        };
        Self {
            max_batch_size: config.max_batch_size,
            input: config.input.into_iter().map(input).collect(),
            model_transaction_policy: Some(ModelTransactionPolicy {
                decoupled: config.model_transaction_policy.decoupled,
            }),
            ..Self::default()
        }
    }
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
