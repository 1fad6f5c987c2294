//! A scripted Triton in the test's process. It speaks the real protocols on one port (gRPC from
//! the generated server, Triton's HTTP in `fake_rest.rs`), scores each image with its mean, so that order can be
//! checked, does as its [`Script`] says and counts what it sees.
#![allow(dead_code)] // each test binary uses its part

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use facequality_transformer::wire::tensor::fp32;
use facequality_transformer::wire::triton::grpc_inference_service_server::{
    GrpcInferenceService, GrpcInferenceServiceServer,
};
use facequality_transformer::wire::triton::{
    InferTensorContents, ModelConfig, ModelConfigRequest, ModelConfigResponse, ModelInferRequest,
    ModelInferResponse, ModelInput, ModelMetadataRequest, ModelMetadataResponse, ModelOutput,
    ServerLiveRequest, ServerLiveResponse, ServerReadyRequest, ServerReadyResponse,
    model_infer_response, model_metadata_response::TensorMetadata,
};
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower_service::Service;

/// What the fake says and does. Changed with [`FakeTriton::set`] at any time.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// The name of its one model.
    pub(crate) model: String,
    /// The name of its input.
    pub(crate) input: String,
    /// The shape of its input; with `max_batch_size` 0 all of it, else without the batch axis.
    pub(crate) input_row: Vec<i64>,
    /// The name of its output.
    pub(crate) output: String,
    /// As in the model's configuration; larger batches are refused.
    pub(crate) max_batch_size: i32,
    /// ModelConfig answers UNIMPLEMENTED, as KServe's own servers do.
    pub(crate) no_config: bool,
    /// The model is not loaded: metadata and inference answer NOT_FOUND.
    pub(crate) unloaded: bool,
    /// Inference answers in `fp32_contents`.
    pub(crate) typed: bool,
    /// How long an inference takes.
    pub(crate) delay: Duration,
    /// Inferences wait until it is taken back.
    pub(crate) hold: bool,
    /// Nothing is answered at all, as by a stopped process.
    pub(crate) silent: bool,
    /// What the next inferences do instead of answering; one each.
    pub(crate) faults: VecDeque<Fault>,
    /// What every inference does when `faults` is empty.
    pub(crate) always: Option<Fault>,
    /// What it speaks on new connections.
    pub(crate) speaks: Speaks,
    /// HTTP/2 streams at once on new connections.
    pub(crate) max_streams: Option<u32>,
}

/// The protocols on the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Both,
    Grpc,
    Rest,
}

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// An error answer.
    Status(Code, &'static str),
    /// All connections are cut.
    Cut,
    /// A wrong answer.
    Twist(fn(&mut ModelInferResponse)),
}

impl Default for Script {
    fn default() -> Self {
        Self {
            model: "face_quality_trt_fp16".to_owned(),
            input: "input.1".to_owned(),
            input_row: vec![3, 112, 112],
            output: "1346".to_owned(),
            max_batch_size: 32,
            no_config: false,
            unloaded: false,
            typed: false,
            delay: Duration::ZERO,
            hold: false,
            silent: false,
            faults: VecDeque::new(),
            always: None,
            speaks: Speaks::Both,
            max_streams: None,
        }
    }
}

/// What the fake has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Connections accepted.
    pub(crate) connections: usize,
    /// ServerLive calls.
    pub(crate) lives: usize,
    /// ModelMetadata calls.
    pub(crate) metadata: usize,
    /// Inferences begun.
    pub(crate) calls: usize,
    /// Inferences running now.
    pub(crate) in_flight: usize,
    /// The most that ever ran at once.
    pub(crate) max_in_flight: usize,
    /// Inferences dropped before they answered: the stream was reset.
    pub(crate) canceled: usize,
    /// Rows of each inference.
    pub(crate) batches: Vec<i64>,
    /// The id of the last inference.
    pub(crate) id: String,
    /// The headers (metadata) of the last inference.
    pub(crate) headers: HeaderMap,
}

impl Seen {
    /// The last inference's `grpc-timeout` as it was sent.
    pub(crate) fn grpc_timeout(&self) -> Option<&str> {
        self.headers.get("grpc-timeout")?.to_str().ok()
    }
}

/// A running fake. Dropped, its port is closed and its connections are cut.
pub(crate) struct FakeTriton {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    state: State,
    listener: JoinHandle<()>,
}

#[derive(Clone)]
pub(crate) struct State {
    script: Arc<watch::Sender<Script>>,
    seen: Arc<watch::Sender<Seen>>,
    cut: Arc<watch::Sender<()>>,
}

impl FakeTriton {
    /// One that answers as Triton does, on a free port.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// One whose script is changed first.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Script)) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), change).await
    }

    /// One on this address, such as that of another one that was dropped.
    pub(crate) async fn start_at(address: SocketAddr, change: impl FnOnce(&mut Script)) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State::new(change);
        let listener = tokio::spawn(accept(listener, state.clone()));
        Self {
            address,
            state,
            listener,
        }
    }

    /// One on a Unix socket at this path.
    pub(crate) fn start_unix(path: &std::path::Path, change: impl FnOnce(&mut Script)) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let state = State::new(change);
        let accepting = state.clone();
        let listener = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepting.clone().spawn(async move { Some(stream) });
            }
        });
        Self {
            address: ([0, 0, 0, 0], 0).into(),
            state,
            listener,
        }
    }

    /// One behind TLS, whose certificate is for `localhost`.
    pub(crate) async fn start_tls(
        config: rustls::ServerConfig,
        change: impl FnOnce(&mut Script),
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State::new(change);
        let accepting = state.clone();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                accepting
                    .clone()
                    .spawn(async move { acceptor.accept(stream).await.ok() });
            }
        });
        Self {
            address,
            state,
            listener,
        }
    }

    /// `host:port`, as `--predictor_host` takes it.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Changes the script from now on.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Script)) {
        self.state.script.send_modify(change);
    }

    /// Cuts all connections; new ones are accepted.
    pub(crate) fn cut(&self) {
        self.state.cut.send_replace(());
    }

    /// What it has seen so far.
    pub(crate) fn seen(&self) -> Seen {
        self.state.seen.borrow().clone()
    }

    /// Waits until it has seen what is expected; fails after ten seconds.
    pub(crate) async fn wait(&self, expected: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.state.seen.subscribe();
        let wait = seen.wait_for(expected);
        let found = tokio::time::timeout(Duration::from_secs(10), wait).await;
        match found {
            Ok(seen) => seen.unwrap().clone(),
            Err(_) => panic!("the fake never saw it: {:?}", self.seen()),
        }
    }
}

impl Drop for FakeTriton {
    fn drop(&mut self) {
        self.listener.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, state: State) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        state.clone().spawn(async move { Some(stream) });
    }
}

/// Serves one connection to its end.
async fn serve(
    stream: impl hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    state: State,
) {
    let script = state.script.borrow().clone();
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(script.max_streams);
    let server = match script.speaks {
        Speaks::Both => server,
        Speaks::Grpc => server.http2_only(),
        Speaks::Rest => server.http1_only(),
    };
    let grpc = Routes::new(
        GrpcInferenceServiceServer::new(state.clone()).max_decoding_message_size(usize::MAX),
    );
    let service = service_fn(move |request: Request<Incoming>| {
        let (mut grpc, state) = (grpc.clone(), state.clone());
        async move {
            state.answering().await;
            if request.uri().path().starts_with("/v2") {
                return Ok::<_, Infallible>(super::fake_rest::answer(&state, request).await);
            }
            match grpc.call(request.map(tonic::body::Body::new)).await {
                Ok(response) => Ok(response),
                Err(never) => match never {},
            }
        }
    });
    let _ = server.serve_connection(stream, service).await;
}

/// Counts an inference out, however it ends.
struct Running<'a> {
    state: &'a State,
    answered: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let answered = self.answered;
        self.state.seen.send_modify(|seen| {
            seen.in_flight -= 1;
            seen.canceled += usize::from(!answered);
        });
    }
}

impl State {
    fn new(change: impl FnOnce(&mut Script)) -> Self {
        let mut script = Script::default();
        change(&mut script);
        Self {
            script: Arc::new(watch::Sender::new(script)),
            seen: Arc::new(watch::Sender::new(Seen::default())),
            cut: Arc::new(watch::Sender::new(())),
        }
    }

    /// Serves a connection once it stands, until it ends or is cut.
    fn spawn<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        self,
        stream: impl Future<Output = Option<S>> + Send + 'static,
    ) {
        self.seen.send_modify(|seen| seen.connections += 1);
        tokio::spawn(async move {
            let mut cut = self.cut.subscribe();
            let serve = async {
                if let Some(stream) = stream.await {
                    serve(TokioIo::new(stream), self.clone()).await;
                }
            };
            tokio::select! {
                () = serve => (),
                _ = cut.changed() => (),
            }
        });
    }

    /// Comes back when the fake is not silent.
    async fn answering(&self) {
        let mut script = self.script.subscribe();
        let _ = script.wait_for(|script| !script.silent).await;
    }

    pub(crate) fn live(&self) {
        self.seen.send_modify(|seen| seen.lives += 1);
    }

    pub(crate) fn metadata(&self, model: &str) -> Result<ModelMetadataResponse, Status> {
        self.seen.send_modify(|seen| seen.metadata += 1);
        let script = self.loaded(model)?;
        let tensor = |name: &str, row: &[i64]| TensorMetadata {
            name: name.to_owned(),
            datatype: "FP32".to_owned(),
            shape: match script.max_batch_size {
                0 => row.to_vec(),
                _ => [&[-1], row].concat(),
            },
        };
        Ok(ModelMetadataResponse {
            name: script.model.clone(),
            versions: vec!["1".to_owned()],
            platform: "tensorrt_plan".to_owned(),
            inputs: vec![tensor(&script.input, &script.input_row)],
            outputs: vec![tensor(&script.output, &output_row(&script))],
        })
    }

    pub(crate) fn config(&self, model: &str) -> Result<ModelConfig, Status> {
        let script = self.loaded(model)?;
        if script.no_config {
            return Err(Status::unimplemented("no such method"));
        }
        Ok(ModelConfig {
            name: script.model.clone(),
            platform: "tensorrt_plan".to_owned(),
            max_batch_size: script.max_batch_size,
            input: vec![ModelInput {
                name: script.input.clone(),
                data_type: 11,
                dims: script.input_row.clone(),
                ..ModelInput::default()
            }],
            output: vec![ModelOutput {
                name: script.output.clone(),
                data_type: 11,
                dims: output_row(&script),
                ..ModelOutput::default()
            }],
            ..ModelConfig::default()
        })
    }

    fn loaded(&self, model: &str) -> Result<Script, Status> {
        let script = self.script.borrow().clone();
        if script.unloaded || script.model != model {
            return Err(Status::not_found(format!(
                "Request for unknown model: '{model}' is not found"
            )));
        }
        Ok(script)
    }

    /// One inference; its tensor lies in `raw_input_contents`.
    pub(crate) async fn infer(
        &self,
        request: ModelInferRequest,
        headers: HeaderMap,
    ) -> Result<ModelInferResponse, Status> {
        let input = request.inputs.first().cloned().unwrap_or_default();
        self.seen.send_modify(|seen| {
            seen.calls += 1;
            seen.in_flight += 1;
            seen.max_in_flight = seen.max_in_flight.max(seen.in_flight);
            seen.batches
                .push(input.shape.first().copied().unwrap_or_default());
            seen.id.clone_from(&request.id);
            seen.headers = headers;
        });
        let mut running = Running {
            state: self,
            answered: false,
        };
        let mut fault = None;
        self.script.send_if_modified(|script| {
            fault = script.faults.pop_front().or_else(|| script.always.clone());
            false
        });
        let script = self.loaded(&request.model_name)?;
        let mut held = self.script.subscribe();
        let _ = held.wait_for(|script| !script.hold).await;
        tokio::time::sleep(script.delay).await;
        if let Some(Fault::Cut) = fault {
            self.cut.send_replace(());
            std::future::pending::<()>().await;
        }
        running.answered = true;
        if let Some(Fault::Status(code, text)) = fault {
            return Err(Status::new(code, text));
        }
        let mut response = score(&script, &request, &input.name, &input.shape)?;
        if let Some(Fault::Twist(twist)) = fault {
            twist(&mut response);
        }
        Ok(response)
    }
}

/// The output's shape as the configuration has it: the batch axis as at the input.
fn output_row(script: &Script) -> Vec<i64> {
    let axes = match script.max_batch_size {
        0 => script.input_row.len() - 3,
        _ => 0,
    };
    [&script.input_row[..axes], &[1]].concat()
}

/// The mean of each row.
fn score(
    script: &Script,
    request: &ModelInferRequest,
    input: &str,
    shape: &[i64],
) -> Result<ModelInferResponse, Status> {
    let config = &script.input_row;
    let (axes, row): (&[i64], &[i64]) = match script.max_batch_size {
        0 => config.split_at(config.len() - 3),
        _ => (&[-1], config),
    };
    let fits = shape.len() == config.len().max(axes.len() + row.len())
        && shape.ends_with(row)
        && (axes.is_empty() || axes[0] == -1 || axes[0] == shape[0]);
    let rows = if axes.is_empty() { 1 } else { shape[0] };
    let values = row.iter().product::<i64>();
    let data = request.raw_input_contents.first().cloned();
    let data = data.unwrap_or_default();
    if !fits || input != script.input || data.len() as i64 != rows * values * 4 {
        return Err(Status::invalid_argument(format!(
            "unexpected shape for input '{input}': {shape:?}"
        )));
    }
    if rows < 1 || script.max_batch_size > 0 && rows > i64::from(script.max_batch_size) {
        return Err(Status::invalid_argument(format!(
            "inference request batch-size must be <= {}",
            script.max_batch_size
        )));
    }
    let means: Vec<f32> = data
        .chunks(values as usize * 4)
        .map(|row| fp32(row).sum::<f32>() / values as f32)
        .collect();
    let mut raw = BytesMut::new();
    means.iter().for_each(|&mean| raw.put_f32_le(mean));
    Ok(ModelInferResponse {
        model_name: script.model.clone(),
        model_version: "1".to_owned(),
        id: request.id.clone(),
        outputs: vec![model_infer_response::InferOutputTensor {
            name: script.output.clone(),
            datatype: "FP32".to_owned(),
            shape: if axes.is_empty() {
                vec![1]
            } else {
                vec![rows, 1]
            },
            contents: script.typed.then(|| InferTensorContents {
                fp32_contents: means,
                ..InferTensorContents::default()
            }),
            ..model_infer_response::InferOutputTensor::default()
        }],
        raw_output_contents: match script.typed {
            true => Vec::new(),
            false => vec![raw.freeze()],
        },
        ..ModelInferResponse::default()
    })
}

#[tonic::async_trait]
impl GrpcInferenceService for State {
    async fn server_live(
        &self,
        _: tonic::Request<ServerLiveRequest>,
    ) -> Result<tonic::Response<ServerLiveResponse>, Status> {
        self.live();
        Ok(tonic::Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: tonic::Request<ServerReadyRequest>,
    ) -> Result<tonic::Response<ServerReadyResponse>, Status> {
        Ok(tonic::Response::new(ServerReadyResponse { ready: true }))
    }

    async fn model_metadata(
        &self,
        request: tonic::Request<ModelMetadataRequest>,
    ) -> Result<tonic::Response<ModelMetadataResponse>, Status> {
        self.metadata(&request.get_ref().name)
            .map(tonic::Response::new)
    }

    async fn model_config(
        &self,
        request: tonic::Request<ModelConfigRequest>,
    ) -> Result<tonic::Response<ModelConfigResponse>, Status> {
        let config = self.config(&request.get_ref().name)?;
        Ok(tonic::Response::new(ModelConfigResponse {
            config: Some(config),
        }))
    }

    async fn model_infer(
        &self,
        request: tonic::Request<ModelInferRequest>,
    ) -> Result<tonic::Response<ModelInferResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.infer(request, metadata.into_headers())
            .await
            .map(tonic::Response::new)
    }
}

/// The response type of both protocols.
pub(crate) type FakeResponse = Response<tonic::body::Body>;

/// A body from bytes.
pub(crate) fn body(bytes: impl Into<Bytes>) -> tonic::body::Body {
    tonic::body::Body::new(http_body_util::Full::new(bytes.into()))
}
