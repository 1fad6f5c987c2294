//! The gRPC front over real connections, driven by the generated client.

mod connections;
mod describe;
mod infer;
mod limits;
mod raw_http2;
mod streams;
mod unended;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_util::stream;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use self::raw_http2::RawHttp2;
use super::*;
use crate::admission::ByteBudget;
use crate::error::Kind;
use crate::front::Cors;
use crate::front::scripted::Scripted;
use crate::observe::metrics::Metrics;
use crate::observe::observer::Observer;
use crate::oip::InferenceService;
use crate::shutdown::{self, Phase, ShutdownHandle};
use crate::transport::{BodyLimits, ConnectionSettings, HeaderPattern, serve};
use crate::wire::triton::grpc_inference_service_client::GrpcInferenceServiceClient;
use crate::wire::triton::infer_parameter::ParameterChoice;
use crate::wire::triton::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::wire::triton::{
    InferParameter, InferTensorContents, ModelConfigRequest, ModelInferRequest,
    ModelMetadataRequest, ModelReadyRequest, ModelStatisticsRequest, RepositoryIndexRequest,
    RepositoryModelLoadRequest, ServerMetadataRequest, ServerReadyRequest,
};
use crate::workers::CpuPool;

type Client = GrpcInferenceServiceClient<Channel>;

/// A server on a port of its own.
struct Server {
    scripted: Arc<Scripted>,
    address: std::net::SocketAddr,
    routes: GrpcRoutes,
    channel: Channel,
    shutdown: ShutdownHandle,
    done: JoinHandle<()>,
}

async fn start(scripted: Scripted) -> Server {
    start_with(scripted, 1 << 20, None).await
}

/// The settings of tests, with this limit of bytes per message.
fn settings(max_bytes: usize) -> Settings {
    let metrics = Arc::new(Metrics::default());
    Settings {
        body: BodyLimits {
            max_bytes,
            stream_idle_timeout: Duration::from_secs(60),
            read_timeout: Duration::from_secs(30),
            budget: ByteBudget::unlimited(&metrics),
            pool: CpuPool::start(1).unwrap(),
        },
        timeout: Duration::from_secs(600),
        stream_concurrency: 8,
        forward_headers: [REQUEST_ID, "traceparent"]
            .map(|name| HeaderPattern::parse(name).unwrap())
            .to_vec(),
        cors: Cors::default(),
        ui: None,
        observer: Arc::new(Observer::new(metrics, false)),
        tracing: Default::default(),
    }
}

fn routes_of(scripted: &Arc<Scripted>, settings: Settings) -> GrpcRoutes {
    let service = Arc::clone(scripted) as Arc<dyn InferenceService>;
    let pool = settings.body.pool.clone();
    let oip = OpenInference::new(service, pool);
    routes(&oip, Arc::new(settings)).unwrap()
}

async fn start_with(
    scripted: Scripted,
    max_body_bytes: usize,
    max_age: Option<Duration>,
) -> Server {
    start_with_settings(scripted, settings(max_body_bytes), max_age).await
}

async fn start_with_settings(
    scripted: Scripted,
    settings: Settings,
    max_age: Option<Duration>,
) -> Server {
    let connections = ConnectionSettings {
        max_age,
        ..connections()
    };
    start_with_connections(scripted, settings, connections).await
}

fn connections() -> ConnectionSettings {
    ConnectionSettings {
        permits: Arc::new(Semaphore::new(100)),
        header_read_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
        max_header_bytes: 64 * 1024,
        max_age: None,
        tls: None,
    }
}

async fn start_with_connections(
    scripted: Scripted,
    settings: Settings,
    connections: ConnectionSettings,
) -> Server {
    let scripted = Arc::new(scripted);
    let routes = routes_of(&scripted, settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (handle, shutdown) = shutdown::channel();
    let shared = Arc::new(routes.clone());
    let done = tokio::spawn(serve(listener, shared, connections, shutdown));
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        // So that few responses fit on the way to a reader that does not read.
        .initial_stream_window_size(4096)
        .connect()
        .await
        .unwrap();
    Server {
        scripted,
        address,
        routes,
        channel,
        shutdown: handle,
        done,
    }
}

impl Server {
    fn client(&self) -> Client {
        Client::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }
}

fn raw(elements: &[&[u8]]) -> Bytes {
    let mut bytes = BytesMut::new();
    for element in elements {
        bytes.extend_from_slice(&(element.len() as u32).to_le_bytes());
        bytes.extend_from_slice(element);
    }
    bytes.freeze()
}

fn input(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        ..Default::default()
    }
}

/// A request for images of these bytes.
fn images(elements: &[&[u8]]) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "faces".to_owned(),
        id: "mine".to_owned(),
        inputs: vec![input("image", "BYTES", &[elements.len() as i64])],
        raw_input_contents: vec![raw(elements)],
        ..Default::default()
    }
}

/// A request for a tensor whose rows begin with these values.
fn tensor(firsts: &[f32]) -> ModelInferRequest {
    let values = firsts.iter().flat_map(|&first| [first, 0.0, 0.0, 0.0]);
    ModelInferRequest {
        model_name: "faces".to_owned(),
        inputs: vec![input("input.1", "FP32", &[firsts.len() as i64, 1, 2, 2])],
        raw_input_contents: vec![values.flat_map(f32::to_le_bytes).collect()],
        ..Default::default()
    }
}

fn output(name: &str) -> InferRequestedOutputTensor {
    InferRequestedOutputTensor {
        name: name.to_owned(),
        ..Default::default()
    }
}

fn parameter(choice: Option<ParameterChoice>) -> InferParameter {
    InferParameter {
        parameter_choice: choice,
    }
}

fn values(bytes: &[u8]) -> Vec<f32> {
    crate::wire::tensor::fp32(bytes).collect()
}

/// Waits for what another task is about to do.
async fn until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "it did not come to pass");
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
