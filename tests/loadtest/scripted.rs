//! Targets that follow a script. The score of an image is its length in bytes / 1000, that of
//! a tensor its first value.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kserve_transformer::tls::{ServerTls, TlsFiles};
use kserve_transformer::wire::triton::grpc_inference_service_server::{
    GrpcInferenceService, GrpcInferenceServiceServer,
};
use kserve_transformer::wire::triton::model_infer_response::InferOutputTensor;
use kserve_transformer::wire::triton::{
    ModelInferRequest, ModelInferResponse, ModelStreamInferResponse,
};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_rustls::TlsAcceptor;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, ServerTlsConfig};
use tonic::{Status, Streaming};

/// What an HTTP target does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// Before each response.
    pub(crate) delay: Duration,
    /// Requests that are worked on at a time; the others queue.
    pub(crate) slots: Option<usize>,
    /// Every n-th request is refused with 503.
    pub(crate) refuse_every: Option<u64>,
    /// Every n-th request gets another score.
    pub(crate) wrong_every: Option<u64>,
    /// In each period (the first duration), for the second duration, no response is sent.
    pub(crate) stall: Option<(Duration, Duration)>,
    /// After this number of requests connections are closed without a response, for good.
    pub(crate) hang_up_after: Option<u64>,
}

struct State {
    script: Script,
    start: Instant,
    received: AtomicU64,
    last_headers: std::sync::Mutex<HeaderMap>,
    refused: AtomicU64,
    /// When each slot is free again: the capacity is exact, however late a timer is.
    slots: Mutex<Vec<Instant>>,
}

/// A target that speaks V1 and V2 over HTTP/1.1.
pub(crate) struct HttpTarget {
    pub(crate) url: String,
    state: Arc<State>,
}

impl HttpTarget {
    pub(crate) async fn start(script: Script) -> Self {
        Self::start_with(script, None).await
    }

    /// One behind TLS, by the authority of `tests/world/tls/ca.pem`.
    pub(crate) async fn start_tls(script: Script) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/world/tls");
        let tls = ServerTls::load(&TlsFiles {
            certificates: folder.join("server.pem"),
            key: folder.join("server-key.pem"),
            client_authorities: None,
        });
        let acceptor = tls.unwrap().acceptor();
        Self::start_with(script, Some(acceptor)).await
    }

    async fn start_with(script: Script, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let start = Instant::now();
        let state = Arc::new(State {
            slots: Mutex::new(vec![start; script.slots.unwrap_or(0)]),
            script,
            start,
            received: AtomicU64::new(0),
            last_headers: std::sync::Mutex::default(),
            refused: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let state = Arc::clone(&shared);
                let service = service_fn(move |request| respond(Arc::clone(&state), request));
                let tls = tls.clone();
                tokio::spawn(async move {
                    let http = http1::Builder::new();
                    match tls {
                        None => http
                            .serve_connection(TokioIo::new(stream), service)
                            .await
                            .ok(),
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => http
                                .serve_connection(TokioIo::new(stream), service)
                                .await
                                .ok(),
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { url, state }
    }

    /// The headers of the last request.
    pub(crate) fn last_headers(&self) -> HeaderMap {
        self.state.last_headers.lock().unwrap().clone()
    }

    pub(crate) fn received(&self) -> u64 {
        self.state.received.load(Ordering::SeqCst)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.state.refused.load(Ordering::SeqCst)
    }
}

#[derive(Debug)]
struct HangUp;

impl std::fmt::Display for HangUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hang up")
    }
}

impl std::error::Error for HangUp {}

async fn respond(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, HangUp> {
    let path = request.uri().path().to_owned();
    let text = |status: u16, body: String| {
        let response = Response::builder().status(status);
        Ok(response.body(Full::from(body)).unwrap())
    };
    if request.method() == "GET" {
        return text(404, "no such page".to_owned());
    }
    *state.last_headers.lock().unwrap() = request.headers().clone();
    let head_length = request.headers().get("inference-header-content-length");
    let head_length = head_length.map(|value| value.to_str().unwrap().parse::<usize>().unwrap());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let number = state.received.fetch_add(1, Ordering::SeqCst) + 1;
    let script = &state.script;
    if script.hang_up_after.is_some_and(|last| number > last) {
        return Err(HangUp);
    }
    wait(&state).await;
    let every = |every: Option<u64>| every.is_some_and(|every| number.is_multiple_of(every));
    if every(script.refuse_every) {
        state.refused.fetch_add(1, Ordering::SeqCst);
        return text(503, json!({"error": "full"}).to_string());
    }
    let mut scores: Vec<f64> = match head_length {
        Some(length) => elements(&body[length..]).map(score).collect(),
        None if body.starts_with(b"{") => {
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let one = vec![body.clone()];
            let requests = body["multi_data"].as_array().unwrap_or(&one);
            let image = |request: &serde_json::Value| {
                let item = request["data"]["item"].as_str().unwrap();
                let (_, payload) = item.split_once(',').unwrap();
                base64_simd::STANDARD.decode_to_vec(payload).unwrap()
            };
            requests
                .iter()
                .map(|request| score(&image(request)))
                .collect()
        }
        None => vec![score(&body)],
    };
    if every(script.wrong_every) {
        scores[0] += 0.1;
    }
    let response = Response::builder().header("server-timing", "predict;dur=1.5, total;dur=2");
    if path.starts_with("/v2") {
        let values: Vec<u8> = scores
            .iter()
            .flat_map(|s| (*s as f32).to_le_bytes())
            .collect();
        let head = json!({"outputs": [{
            "name": "score", "datatype": "FP32", "shape": [scores.len(), 1],
            "parameters": {"binary_data_size": values.len()},
        }]})
        .to_string();
        let length = head.len();
        let body = [head.as_bytes(), &values].concat();
        let response = response.header("inference-header-content-length", length);
        Ok(response.body(Full::from(body)).unwrap())
    } else {
        let entry =
            |score: &f64| json!({"data": [{"score": score}], "extra_info": {"source": "s"}});
        let entries: Vec<_> = scores.iter().map(entry).collect();
        let body = json!({"multi_data": entries}).to_string();
        Ok(response.body(Full::from(body)).unwrap())
    }
}

async fn wait(state: &State) {
    let mut now = Instant::now();
    if let Some((period, length)) = state.script.stall {
        // The stall is the end of each period.
        let into = (now - state.start).as_nanos() % period.as_nanos();
        let left = period - Duration::from_nanos(into as u64);
        if left < length {
            tokio::time::sleep(left).await;
            now = Instant::now();
        }
    }
    let free = {
        let mut slots = state.slots.lock().await;
        match slots.iter_mut().min() {
            Some(slot) => {
                *slot = (*slot).max(now) + state.script.delay;
                *slot
            }
            None => now + state.script.delay,
        }
    };
    if free > now {
        tokio::time::sleep_until(free.into()).await;
    }
}

/// The elements of a BYTES tensor.
fn elements(mut tensor: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = tensor.split_first_chunk::<4>()?;
        let (element, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        tensor = rest;
        Some(element)
    })
}

fn score(image: &[u8]) -> f64 {
    image.len() as f64 / 1000.0
}

/// A target that speaks ModelInfer and ModelStreamInfer.
pub(crate) struct GrpcTarget {
    pub(crate) url: String,
    last_headers: Arc<std::sync::Mutex<HeaderMap>>,
}

impl GrpcTarget {
    pub(crate) async fn start() -> Self {
        Self::start_with("grpc", tonic::transport::Server::builder()).await
    }

    /// One behind TLS, by the authority of `tests/world/tls/ca.pem`.
    pub(crate) async fn start_tls() -> Self {
        let chain = include_str!("../world/tls/server.pem");
        let key = include_str!("../world/tls/server-key.pem");
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(chain, key));
        let server = tonic::transport::Server::builder().tls_config(tls);
        Self::start_with("grpcs", server.unwrap()).await
    }

    async fn start_with(scheme: &str, server: tonic::transport::Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let model = Model::default();
        let last_headers = Arc::clone(&model.last_headers);
        let server = server
            // Fewer streams than calls on a connection: the rest must wait, not fail.
            .max_concurrent_streams(1)
            .add_service(GrpcInferenceServiceServer::new(model));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self {
            url: format!("{scheme}://{address}"),
            last_headers,
        }
    }

    /// The metadata of the last unary call.
    pub(crate) fn last_headers(&self) -> HeaderMap {
        self.last_headers.lock().unwrap().clone()
    }
}

#[derive(Default)]
struct Model {
    last_headers: Arc<std::sync::Mutex<HeaderMap>>,
}

fn infer(request: &ModelInferRequest) -> Result<ModelInferResponse, Status> {
    if request.model_name != "facequality" {
        return Err(Status::not_found("no such model"));
    }
    let input = &request.inputs[0];
    let raw = &request.raw_input_contents[0];
    let scores: Vec<f32> = match input.name.as_str() {
        "image" => elements(raw).map(|image| score(image) as f32).collect(),
        _ => raw
            .chunks(3 * 112 * 112 * 4)
            .map(|row| f32::from_le_bytes(row[..4].try_into().unwrap()))
            .collect(),
    };
    assert_eq!(input.shape[0], scores.len() as i64);
    Ok(ModelInferResponse {
        outputs: vec![InferOutputTensor {
            name: "score".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![scores.len() as i64, 1],
            ..Default::default()
        }],
        raw_output_contents: vec![
            scores
                .iter()
                .flat_map(|score| score.to_le_bytes())
                .collect(),
        ],
        ..Default::default()
    })
}

#[async_trait::async_trait]
impl GrpcInferenceService for Model {
    async fn model_infer(
        &self,
        request: tonic::Request<ModelInferRequest>,
    ) -> Result<tonic::Response<ModelInferResponse>, Status> {
        *self.last_headers.lock().unwrap() = request.metadata().clone().into_headers();
        infer(request.get_ref()).map(tonic::Response::new)
    }

    async fn model_stream_infer(
        &self,
        request: tonic::Request<Streaming<ModelInferRequest>>,
    ) -> Result<tonic::Response<tonic::codegen::BoxStream<ModelStreamInferResponse>>, Status> {
        let responses = request.into_inner().map(|request| {
            Ok(ModelStreamInferResponse {
                infer_response: Some(infer(&request?)?),
                ..Default::default()
            })
        });
        Ok(tonic::Response::new(Box::pin(responses)))
    }
}
