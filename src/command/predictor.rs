//! `predictor`: a stand-in for Triton, with the embedded model or none at all behind Triton's two
//! protocols and under the Triton model's name.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::admission::ByteBudget;
use crate::faces::{self, FaceQuality};
use crate::front::{self, Router};
use crate::observe::metrics::Metrics;
use crate::oip::{Failures, OpenInference, Passthrough};
#[cfg(feature = "embedded")]
use crate::predictor::EmbeddedModel;
use crate::predictor::{LocalSettings, Predictor, Signature};
#[cfg(feature = "embedded")]
use crate::settings::resolve_threads;
use crate::shutdown::{self, Phase, ShutdownHandle};
use crate::transport::{BodyLimits, ConnectionSettings, serve};
use crate::wire::tensor::DataType;
use crate::workers::CpuPool;

/// Calls that run concurrently; more wait, as they do in Triton.
const CONCURRENCY: usize = 4096;

/// Requests of one stream that run concurrently.
const STREAM_CONCURRENCY: usize = 256;

/// Triton accepts messages of any length; this is protobuf's own limit.
const MAX_BODY_BYTES: usize = i32::MAX as usize;

const BODY_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Triton gives a request that names no deadline all the time it needs; this only keeps a lost call
/// from staying for ever.
const TIMEOUT: Duration = Duration::from_secs(3600);

const MAX_CONNECTIONS: usize = 10_000;

const MAX_HEADER_BYTES: usize = 64 * 1024;

/// How long requests in flight may take after the signal to end.
const GRACE: Duration = Duration::from_secs(25);

/// Flags of `predictor`.
#[derive(clap::Args, Clone, Debug)]
// Help texts are shown as they are written: brackets and URLs are not links there.
#[allow(rustdoc::bare_urls, rustdoc::broken_intra_doc_links)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// Address to listen on
    #[arg(long, default_value = "0.0.0.0")]
    pub host: IpAddr,
    /// Port for REST, by default Triton's; gRPC works here too
    #[arg(long, default_value_t = 8000)]
    pub http_port: u16,
    /// Port for gRPC, by default Triton's
    #[arg(long, default_value_t = 8001)]
    pub grpc_port: u16,
    /// Return zeros at once instead of running the model
    #[arg(long)]
    pub null: bool,
    /// Delay added to each call
    #[arg(long, default_value_t = 0, value_name = "MS", value_parser = clap::value_parser!(u64).range(..=86_400_000))]
    pub delay_ms: u64,
    /// Share of the calls that fail, from 0 to 1, to try how a client handles errors
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = parse_share)]
    pub fail: f64,
    /// The max_batch_size that the model reports
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_batch: u32,
    /// Name of the model
    #[arg(long, default_value = faces::PREDICTOR_MODEL)]
    pub model_name: String,
    /// Name of the model's FP32 input [N,3,112,112]
    #[arg(long, default_value = faces::PREDICTOR_INPUT)]
    pub input: String,
    /// Datatype of the input, with --null: FP32, FP16 or UINT8
    #[arg(long, default_value = "FP32", requires = "null", value_parser = parse_datatype)]
    pub input_datatype: DataType,
    /// Name of the model's FP32 output [N,1]
    #[arg(long, default_value = faces::PREDICTOR_OUTPUT)]
    pub output: String,
    /// Name of the face detector, which is served too unless zeros are
    #[arg(long, default_value = faces::DETECTOR_MODEL)]
    pub detector_model: String,
    /// ONNX file to use instead of the embedded model
    #[arg(long, value_name = "FILE", conflicts_with = "null")]
    pub embedded_model: Option<PathBuf>,
    /// Threads that run the model; 0: one per core
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
}

/// A running stand-in.
pub struct PredictorServer {
    /// The address for REST and gRPC.
    pub http: SocketAddr,
    /// The address for gRPC only.
    pub grpc: SocketAddr,
    control: ShutdownHandle,
    servers: JoinSet<()>,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
///
/// When a port cannot be opened, the model cannot be loaded or a thread cannot be started.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let model = if args.null {
        "zeros".to_owned()
    } else {
        args.model_name.clone()
    };
    let stopped = shutdown::signals()?;
    let server = PredictorServer::start(args).await?;
    eprintln!(
        "serving {model}: gRPC on {}, REST on {}",
        server.grpc, server.http
    );
    stopped.await;
    server.stop().await;
    Ok(ExitCode::SUCCESS)
}

impl PredictorServer {
    /// Opens the ports and serves.
    ///
    /// # Errors
    ///
    /// When a port cannot be opened, the model cannot be loaded or a thread cannot be started.
    pub async fn start(args: Args) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::new(&[])?);
        let service = Passthrough::new(predictors(&args, &metrics)?)
            .with_max_batch(args.max_batch as usize)
            .with_delay(Duration::from_millis(args.delay_ms))
            .with_failures(Failures::new(args.fail));
        let pool = CpuPool::start(1)?;
        let oip = OpenInference::new(Arc::new(service), pool.clone());
        let settings = Arc::new(front::Settings {
            body: BodyLimits {
                max_bytes: MAX_BODY_BYTES,
                stream_idle_timeout: TIMEOUT,
                read_timeout: BODY_READ_TIMEOUT,
                budget: ByteBudget::unlimited(&metrics),
                pool,
            },
            timeout: TIMEOUT,
            stream_concurrency: STREAM_CONCURRENCY,
            forward_headers: Vec::new(),
            cors: front::Cors::default(),
            metrics,
        });
        let routes = front::grpc_routes(&oip, Arc::clone(&settings))?;
        let router = Router::new(None, oip, routes.clone(), settings);
        let (http, http_address) = listen(args.host, args.http_port).await?;
        let (grpc, grpc_address) = listen(args.host, args.grpc_port).await?;
        let (control, shutdown) = shutdown::channel();
        let connections = ConnectionSettings {
            permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            max_header_bytes: MAX_HEADER_BYTES,
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
        servers.spawn(serve(http, Arc::new(router), connections, shutdown));
        Ok(Self {
            http: http_address,
            grpc: grpc_address,
            control,
            servers,
        })
    }

    /// Accepts no more connections, completes the requests in flight, and ends.
    pub async fn stop(mut self) {
        self.control.enter(Phase::Closing);
        let finish = async { while self.servers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE, finish).await;
        self.control.enter(Phase::Terminated);
        self.servers.join_all().await;
    }
}

fn parse_datatype(text: &str) -> Result<DataType, String> {
    DataType::from_name(&text.to_ascii_uppercase())
        .filter(|datatype| [DataType::Fp32, DataType::Fp16, DataType::Uint8].contains(datatype))
        .ok_or_else(|| "expected FP32, FP16 or UINT8".to_owned())
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok();
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "expected a share from 0 to 1, as in 0.1".to_owned())
}

async fn listen(host: IpAddr, port: u16) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let address = SocketAddr::new(host, port);
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// The models that are served: the one for face quality and, where models run at all, the face detector.
fn predictors(args: &Args, metrics: &Metrics) -> anyhow::Result<Vec<Predictor>> {
    let mut signature = FaceQuality::signature(
        args.model_name.clone(),
        args.input.clone(),
        args.output.clone(),
    );
    for input in &mut signature.inputs {
        input.datatypes = vec![args.input_datatype];
    }
    let local = LocalSettings {
        concurrency: CONCURRENCY,
        max_batch: args.max_batch as usize,
    };
    if args.null {
        return Ok(vec![Predictor::null(local, signature, metrics)]);
    }
    embedded(args, local, signature, metrics)
}

#[cfg(feature = "embedded")]
fn embedded(
    args: &Args,
    local: LocalSettings,
    quality: Signature,
    metrics: &Metrics,
) -> anyhow::Result<Vec<Predictor>> {
    let file = args.embedded_model.clone();
    let models = [
        (
            file.map_or(EmbeddedModel::Bytes(faces::ONNX), EmbeddedModel::File),
            quality,
        ),
        (
            EmbeddedModel::Bytes(faces::DETECTOR_ONNX),
            faces::Detector::signature(args.detector_model.clone()),
        ),
    ];
    let threads = resolve_threads(args.threads);
    let load = |(model, signature)| {
        Predictor::embedded(&model, threads, local, signature, metrics)
            .map_err(|error| anyhow::anyhow!("cannot load the model: {error}"))
    };
    models.into_iter().map(load).collect()
}

#[cfg(not(feature = "embedded"))]
fn embedded(
    _: &Args,
    _: LocalSettings,
    _: Signature,
    _: &Metrics,
) -> anyhow::Result<Vec<Predictor>> {
    anyhow::bail!("this build has no embedded model; use --null, which returns zeros")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use clap::Parser;

    use super::*;
    use crate::wire::triton::grpc_inference_service_client::GrpcInferenceServiceClient;
    use crate::wire::triton::model_infer_request::InferInputTensor;
    use crate::wire::triton::{ModelConfigRequest, ModelInferRequest};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    async fn start(flags: &[&str]) -> PredictorServer {
        let ports = ["x", "--host=127.0.0.1", "--http_port=0", "--grpc_port=0"];
        let line = Line::parse_from(ports.iter().chain(flags));
        PredictorServer::start(line.args).await.unwrap()
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
        let server = start(&["--null", "--max_batch", "4"]).await;
        for address in [server.grpc, server.http] {
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
            let response = client.model_infer(request(4)).await.unwrap().into_inner();
            assert_eq!(response.outputs[0].name, "1346");
            assert_eq!(response.outputs[0].shape, [4, 1]);
            assert_eq!(response.raw_output_contents[0], [0; 16].as_slice());
            let refused = client.model_infer(request(5)).await.unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        }
        server.stop().await;
    }

    #[test]
    fn the_datatype_of_zeros_can_be_chosen() {
        let parse = |flags: &[&str]| Line::try_parse_from(["x"].iter().chain(flags));
        let args = parse(&["--null", "--input_datatype", "uint8"])
            .unwrap()
            .args;
        assert_eq!(args.input_datatype, DataType::Uint8);
        assert!(parse(&["--null", "--input_datatype", "INT64"]).is_err());
        assert!(parse(&["--input_datatype", "FP16"]).is_err());
        assert!(parse(&[]).is_ok());
    }

    #[tokio::test]
    async fn a_share_of_the_calls_fails_on_purpose() {
        let serving = start(&["--null", "--fail", "0.25"]).await;
        let address = format!("http://{}", serving.grpc);
        let mut client = GrpcInferenceServiceClient::connect(address).await.unwrap();
        let mut failed = 0;
        for _ in 0..20 {
            if let Err(status) = client.model_infer(request(1)).await {
                assert_eq!(status.code(), tonic::Code::Internal);
                assert!(status.message().contains("--fail"), "{status}");
                failed += 1;
            }
        }
        assert_eq!(failed, 5);
        serving.stop().await;
    }

    #[cfg(feature = "embedded")]
    #[tokio::test]
    async fn the_embedded_model_scores_each_row() {
        let server = start(&[]).await;
        let address = format!("http://{}", server.grpc);
        let mut client = GrpcInferenceServiceClient::connect(address).await.unwrap();
        let response = client.model_infer(request(3)).await.unwrap().into_inner();
        let scores: Vec<f32> =
            crate::wire::tensor::fp32(&response.raw_output_contents[0]).collect();
        assert_eq!(scores.len(), 3);
        assert!(
            scores.iter().all(|score| (0.0..=1.0).contains(score)),
            "{scores:?}"
        );
    }
}
