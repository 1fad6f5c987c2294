//! `predictor`: a stand-in for Triton, with the embedded model or none at all behind Triton's two
//! protocols and under the Triton model's name.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::product::{compiled_in, model};
use crate::faces::{self, FaceQuality};
use crate::predictor::EmbeddedModel;
use crate::service::Service;
use crate::settings::{ConfigErrors, ServeArgs, Settings};
use crate::shutdown;
use crate::transformer::Hindrance;
use crate::transformers::Transformers;
use crate::wire::tensor::DataType;

/// What Triton does not bound is not bound here either: requests wait until a model takes them, and for
/// as long as their callers do. A message is at most what protobuf allows.
const UNBOUNDED: [&str; 10] = [
    "--concurrency=4096",
    "--queue=1000000000",
    "--queue_timeout_ms=86400000",
    "--max_images=1000000000",
    "--max_body_bytes=2147483647",
    "--max_bytes_in_flight=1000000000000",
    "--predictor_request_timeout_seconds=3600",
    "--max_connections=10000",
    "--grace_seconds=25",
    "--drain_notice_seconds=0",
];

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
    /// Calls that run at once, as with as many instances in Triton; 0: any number
    #[arg(long, default_value_t = 0)]
    pub instances: usize,
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

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
///
/// As [`start`].
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let model = if args.null {
        "zeros".to_owned()
    } else {
        args.model_name.clone()
    };
    let stopped = shutdown::signals()?;
    let service = start(args).await?;
    let grpc = service.grpc.unwrap_or(service.http);
    eprintln!("serving {model}: gRPC on {grpc}, REST on {}", service.http);
    stopped.await;
    service.drain().await;
    Ok(ExitCode::SUCCESS)
}

/// Opens the ports and serves.
///
/// # Errors
///
/// When a port cannot be opened, the model cannot be loaded or a thread cannot be started.
pub async fn start(args: Args) -> anyhow::Result<Service> {
    anyhow::ensure!(
        args.null || cfg!(feature = "embedded"),
        "this build has no embedded model; use --null, which returns zeros"
    );
    let own = [
        format!("--host={}", args.host),
        format!("--http_port={}", args.http_port),
        format!("--grpc_port={}", args.grpc_port),
        format!("--predictor_max_batch={}", args.max_batch),
        format!("--pixel_threads={}", args.threads),
        // It stands in for a Triton, which has none.
        "--enable_ui=false".to_owned(),
    ];
    // Zeros need no model, and nobody is called.
    let nobody = args.null.then(|| "--predictor_host=127.0.0.1:9".to_owned());
    let own = own.into_iter().chain(nobody);
    let flags: Vec<_> = UNBOUNDED
        .map(str::to_owned)
        .into_iter()
        .chain(own)
        .collect();
    let settings = Settings::new(&ServeArgs::from_flags(&flags)?)?;
    Service::start(settings, |models| serve_models(&args, models)).await
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

/// The models that are served: the one for face quality and, where models run at all, the face detector.
fn serve_models(args: &Args, models: &mut Transformers<'_>) -> Result<(), ConfigErrors> {
    let mut signature = FaceQuality::signature(
        args.model_name.clone(),
        args.input.clone(),
        args.output.clone(),
    );
    for input in &mut signature.inputs {
        input.datatypes = vec![args.input_datatype];
    }
    let hindrance = Hindrance {
        instances: args.instances,
        delay: Duration::from_millis(args.delay_ms),
        failing: args.fail,
    };
    if args.null {
        let model = models.null(signature);
        return models.pass_through(model, hindrance);
    }
    let (quality, detector) = (compiled_in::QUALITY, compiled_in::DETECTOR);
    let file = args.embedded_model.clone().map(EmbeddedModel::File);
    for (signature, embedded) in [
        (signature, file.or(quality)),
        (
            faces::Detector::signature(args.detector_model.clone()),
            detector,
        ),
    ] {
        let model = model(models, signature, embedded)?;
        models.pass_through(model, hindrance)?;
    }
    Ok(())
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

    async fn started(flags: &[&str]) -> Service {
        let ports = ["x", "--host=127.0.0.1", "--http_port=0", "--grpc_port=0"];
        let line = Line::parse_from(ports.iter().chain(flags));
        start(line.args).await.unwrap()
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
        let server = started(&["--null", "--max_batch", "4"]).await;
        for address in [server.grpc.unwrap(), server.http] {
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
        server.drain().await;
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
        let serving = started(&["--null", "--fail", "0.25"]).await;
        let address = format!("http://{}", serving.grpc.unwrap());
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
        serving.drain().await;
    }

    #[tokio::test]
    async fn instances_bound_the_calls_that_run_at_once() {
        let server = started(&["--null", "--delay_ms=20", "--instances=2"]).await;
        let address = format!("http://{}", server.grpc.unwrap());
        let client = GrpcInferenceServiceClient::connect(address).await.unwrap();
        let begin = std::time::Instant::now();
        let calls = (0..10).map(|_| {
            let mut client = client.clone();
            async move { client.model_infer(request(1)).await }
        });
        let responses = futures_util::future::join_all(calls).await;
        assert!(responses.iter().all(Result::is_ok));
        assert!(begin.elapsed() >= Duration::from_millis(100), "five by two");
        server.drain().await;
    }

    #[cfg(feature = "embedded")]
    #[tokio::test]
    async fn the_embedded_model_scores_each_row() {
        let server = started(&[]).await;
        let address = format!("http://{}", server.grpc.unwrap());
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
