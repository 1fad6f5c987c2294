//! `predictor`: the embedded model, or none at all, behind Triton's two protocols and under the
//! Triton model's name. It stands in for a Triton when there is none.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

#[cfg(feature = "embedded")]
use crate::faces::quality::ONNX;
use crate::front;
use crate::front::grpc::{self, GrpcRoutes};
use crate::front::tensors::Tensors;
use crate::observe::metrics::Metrics;
use crate::oip::{InferenceService, Passthrough};
use crate::pixel::SIDE;
#[cfg(feature = "embedded")]
use crate::predictor::EmbeddedModel;
use crate::predictor::{LocalSettings, Predictor, Signature};
use crate::settings::threads;
use crate::shutdown::{self, Phase, ShutdownHandle};
use crate::transport::listener::{Connections, serve};

/// Calls that run side by side; more wait, as they do in Triton.
const CONCURRENCY: usize = 4096;

/// Requests of one stream that are worked on side by side.
const STREAM_CONCURRENCY: usize = 256;

/// Triton takes messages of any length; ours end where protobuf's do.
const MAX_BODY_BYTES: usize = i32::MAX as usize;

const BODY_READ_TIMEOUT: Duration = Duration::from_secs(30);

const MAX_CONNECTIONS: usize = 10_000;

/// How long what runs may take after the signal to end.
const GRACE: Duration = Duration::from_secs(25);

/// Flags of `predictor`.
#[derive(clap::Args, Clone, Debug)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// Address to listen on
    #[arg(long, default_value = "0.0.0.0")]
    pub host: IpAddr,
    /// Port of REST, as Triton's; gRPC is answered here too
    #[arg(long, default_value_t = 8000)]
    pub http_port: u16,
    /// Port of gRPC, as Triton's
    #[arg(long, default_value_t = 8001)]
    pub grpc_port: u16,
    /// Answer zeros at once instead of running the model
    #[arg(long)]
    pub null: bool,
    /// How much longer each call takes
    #[arg(long, default_value_t = 0, value_name = "MILLISECONDS")]
    pub delay_ms: u64,
    /// The model's max_batch_size
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_batch: u32,
    /// Name of the model
    #[arg(long, default_value = "face_quality_trt_fp16")]
    pub model_name: String,
    /// Name of the model's FP32 input [N,3,112,112]
    #[arg(long, default_value = "input.1")]
    pub input: String,
    /// Name of the model's FP32 output [N,1]
    #[arg(long, default_value = "1346")]
    pub output: String,
    /// ONNX file to answer with instead of the embedded model
    #[arg(long, value_name = "FILE", conflicts_with = "null")]
    pub embedded_model: Option<PathBuf>,
    /// Threads that run the model; 0: as many as there are cores
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
}

/// A predictor that serves.
pub struct Serving {
    /// Where REST and gRPC are served.
    pub http: SocketAddr,
    /// Where gRPC alone is served.
    pub grpc: SocketAddr,
    control: ShutdownHandle,
    servers: JoinSet<()>,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
///
/// When a port, the model or a thread cannot be had.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let model = match args.null {
        true => "zeros".to_owned(),
        false => args.model_name.clone(),
    };
    let serving = Serving::start(args).await?;
    eprintln!(
        "serving {model}: gRPC on {}, REST on {}",
        serving.grpc, serving.http
    );
    shutdown::signalled().await?;
    serving.stop().await;
    Ok(ExitCode::SUCCESS)
}

impl Serving {
    /// Opens the ports and serves.
    ///
    /// # Errors
    ///
    /// When a port, the model or a thread cannot be had.
    pub async fn start(args: Args) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::new("none", &[])?);
        let bare = Passthrough::new(predictor(&args, &metrics)?)?
            .with_max_batch(args.max_batch as usize)
            .with_delay(Duration::from_millis(args.delay_ms));
        let served: Arc<dyn InferenceService> = Arc::new(bare);
        let settings = grpc::Settings {
            max_body_bytes: MAX_BODY_BYTES,
            body_read_timeout: BODY_READ_TIMEOUT,
            concurrency: STREAM_CONCURRENCY,
            forward_headers: Vec::new(),
            metrics: Arc::clone(&metrics),
        };
        let routes = grpc::routes(Arc::clone(&served), settings)?;
        let tensors = tensors(served, metrics, routes.clone());
        let (http, http_address) = listen(args.host, args.http_port).await?;
        let (grpc, grpc_address) = listen(args.host, args.grpc_port).await?;
        let (control, shutdown) = shutdown::channel();
        let connections = Connections {
            permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            max_age: None,
            tls: None,
        };
        let mut servers = JoinSet::new();
        servers.spawn(serve(
            grpc,
            Arc::new(routes),
            connections.clone(),
            shutdown.clone(),
        ));
        servers.spawn(serve(http, Arc::new(tensors), connections, shutdown));
        Ok(Self {
            http: http_address,
            grpc: grpc_address,
            control,
            servers,
        })
    }

    /// Takes no more connections, answers what runs, and ends.
    pub async fn stop(mut self) {
        self.control.enter(Phase::Closing);
        let finish = async { while self.servers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE, finish).await;
        self.control.enter(Phase::Terminated);
        self.servers.join_all().await;
    }
}

fn tensors(served: Arc<dyn InferenceService>, metrics: Arc<Metrics>, grpc: GrpcRoutes) -> Tensors {
    Tensors {
        served,
        metrics,
        settings: front::Settings {
            max_body_bytes: MAX_BODY_BYTES,
            body_read_timeout: BODY_READ_TIMEOUT,
            forward_headers: Vec::new(),
        },
        grpc,
    }
}

async fn listen(host: IpAddr, port: u16) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let address = SocketAddr::new(host, port);
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("{address} cannot be listened on"))?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

fn predictor(args: &Args, metrics: &Arc<Metrics>) -> anyhow::Result<Arc<Predictor>> {
    let side = SIDE as i64;
    let signature = Signature {
        model: args.model_name.clone(),
        input: args.input.clone(),
        input_row: vec![3, side, side],
        output: args.output.clone(),
        output_row: vec![1],
    };
    let metrics = Arc::clone(metrics);
    let local = LocalSettings {
        concurrency: CONCURRENCY,
        max_batch: args.max_batch as usize,
    };
    if args.null {
        let predictor = Predictor::null(local, signature, metrics);
        return Ok(Arc::new(predictor));
    }
    embedded(args, local, signature, metrics).map(Arc::new)
}

#[cfg(feature = "embedded")]
fn embedded(
    args: &Args,
    local: LocalSettings,
    signature: Signature,
    metrics: Arc<Metrics>,
) -> anyhow::Result<Predictor> {
    let file = args.embedded_model.clone();
    let model = file.map_or(EmbeddedModel::Bytes(ONNX), EmbeddedModel::File);
    Predictor::embedded(&model, threads(args.threads), local, signature, metrics)
        .map_err(anyhow::Error::msg)
}

#[cfg(not(feature = "embedded"))]
fn embedded(
    _: &Args,
    _: LocalSettings,
    _: Signature,
    _: Arc<Metrics>,
) -> anyhow::Result<Predictor> {
    anyhow::bail!("this build has no embedded model; --null answers zeros")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use clap::Parser;

    use super::*;
    use crate::wire::tensor::fp32;
    use crate::wire::triton::grpc_inference_service_client::GrpcInferenceServiceClient;
    use crate::wire::triton::model_infer_request::InferInputTensor;
    use crate::wire::triton::{ModelConfigRequest, ModelInferRequest};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    async fn start(flags: &[&str]) -> Serving {
        let ports = ["x", "--host=127.0.0.1", "--http_port=0", "--grpc_port=0"];
        let line = Line::parse_from(ports.iter().chain(flags));
        Serving::start(line.args).await.unwrap()
    }

    fn request(rows: i64) -> ModelInferRequest {
        let values = (0..rows * 3 * 112 * 112).map(|n| (n % 255) as f32 / 255.0 - 0.5);
        ModelInferRequest {
            model_name: "face_quality_trt_fp16".to_owned(),
            inputs: vec![InferInputTensor {
                name: "input.1".to_owned(),
                datatype: "FP32".to_owned(),
                shape: vec![rows, 3, 112, 112],
                ..Default::default()
            }],
            raw_input_contents: vec![values.flat_map(f32::to_le_bytes).collect::<Bytes>()],
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn zeros_at_once_under_tritons_names_on_both_ports() {
        let serving = start(&["--null", "--max_batch", "4"]).await;
        for address in [serving.grpc, serving.http] {
            let address = format!("http://{address}");
            let mut client = GrpcInferenceServiceClient::connect(address).await.unwrap();
            let config = client
                .model_config(ModelConfigRequest {
                    name: "face_quality_trt_fp16".to_owned(),
                    version: String::new(),
                })
                .await
                .unwrap()
                .into_inner()
                .config
                .unwrap();
            assert_eq!(config.max_batch_size, 4);
            assert_eq!(config.input[0].dims, [3, 112, 112]);
            let answer = client.model_infer(request(4)).await.unwrap().into_inner();
            assert_eq!(answer.outputs[0].name, "1346");
            assert_eq!(answer.outputs[0].shape, [4, 1]);
            assert_eq!(answer.raw_output_contents[0], [0; 16].as_slice());
            let refused = client.model_infer(request(5)).await.unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        }
        serving.stop().await;
    }

    #[cfg(feature = "embedded")]
    #[tokio::test]
    async fn the_embedded_model_scores_each_row() {
        let serving = start(&[]).await;
        let address = format!("http://{}", serving.grpc);
        let mut client = GrpcInferenceServiceClient::connect(address).await.unwrap();
        let answer = client.model_infer(request(3)).await.unwrap().into_inner();
        let scores: Vec<f32> = fp32(&answer.raw_output_contents[0]).collect();
        assert_eq!(scores.len(), 3);
        assert!(
            scores.iter().all(|score| (0.0..=1.0).contains(score)),
            "{scores:?}"
        );
    }
}
