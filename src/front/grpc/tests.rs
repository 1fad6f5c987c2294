//! The gRPC front over real connections, driven by the generated client.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::error::Kind;
use crate::front;
use crate::front::http::Connections;
use crate::front::scripted::Scripted;
use crate::shutdown::{self, Control, Phase};
use crate::wire::triton::grpc_inference_service_client::GrpcInferenceServiceClient;
use crate::wire::triton::infer_parameter::ParameterChoice;
use crate::wire::triton::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::wire::triton::{
    InferParameter, InferTensorContents, ModelConfigRequest, ModelInferRequest,
    ModelMetadataRequest, ModelReadyRequest, ModelStatisticsRequest, RepositoryIndexRequest,
    RepositoryModelLoadRequest, ServerMetadataRequest, ServerReadyRequest,
};

type Client = GrpcInferenceServiceClient<Channel>;

/// A server on a port of its own.
struct Server {
    served: Arc<Scripted>,
    address: std::net::SocketAddr,
    routes: GrpcRoutes,
    channel: Channel,
    control: Control,
    done: JoinHandle<()>,
}

async fn serve(scripted: Scripted) -> Server {
    serve_with(scripted, 1 << 20, None).await
}

async fn serve_with(
    scripted: Scripted,
    max_body_bytes: usize,
    max_age: Option<Duration>,
) -> Server {
    let served = Arc::new(scripted);
    let settings = Settings {
        max_body_bytes,
        body_read_timeout: Duration::from_secs(30),
        concurrency: 8,
        forward_headers: [REQUEST_ID, "traceparent"]
            .map(|name| Forwarded::parse(name).unwrap())
            .to_vec(),
        metrics: Arc::new(Metrics::new("none", &[]).unwrap()),
    };
    let routes = routes(Arc::clone(&served) as Arc<dyn Served>, settings).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Connections {
        permits: Arc::new(Semaphore::new(100)),
        header_read_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
        max_age,
        tls: None,
    };
    let (control, shutdown) = shutdown::channel();
    let shared = Arc::new(routes.clone());
    let done = tokio::spawn(front::http::serve(listener, shared, connections, shutdown));
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        // So that few answers fit on the way to a reader who does not read.
        .initial_stream_window_size(4096)
        .connect()
        .await
        .unwrap();
    Server {
        served,
        address,
        routes,
        channel,
        control,
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

/// A request for pictures of these bytes.
fn pictures(elements: &[&[u8]]) -> ModelInferRequest {
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

#[tokio::test]
async fn raw_pictures_give_raw_scores() {
    let server = serve(Scripted::default()).await;
    let response = server
        .client()
        .model_infer(pictures(&[b"12345", b"data:,"]))
        .await
        .unwrap();
    assert!(response.metadata().contains_key("server-timing"));
    assert!(response.metadata().contains_key("x-request-id"));
    let answer = response.into_inner();
    assert_eq!(
        (answer.id.as_str(), answer.model_version.as_str()),
        ("mine", "1")
    );
    assert_eq!(answer.outputs.len(), 1);
    assert_eq!(answer.outputs[0].name, "score");
    assert_eq!(answer.outputs[0].shape, [2, 1]);
    assert!(answer.outputs[0].contents.is_none());
    assert_eq!(values(&answer.raw_output_contents[0]), [5.0, 6.0]);
    // A column is as good as a list.
    let mut column = pictures(&[b"12345", b"123456"]);
    column.inputs[0].shape = vec![2, 1];
    let answer = server.client().model_infer(column).await.unwrap();
    assert_eq!(values(&answer.get_ref().raw_output_contents[0]), [5.0, 6.0]);
}

#[tokio::test]
async fn typed_contents_give_typed_scores() {
    let server = serve(Scripted::default()).await;
    let mut request = tensor(&[]);
    request.raw_input_contents.clear();
    request.inputs[0].shape[0] = 1;
    request.inputs[0].contents = Some(InferTensorContents {
        fp32_contents: vec![2.5, 0.0, 0.0, 0.0],
        ..Default::default()
    });
    request.outputs = vec![output("1346"), output("score")];
    let answer = server
        .client()
        .model_infer(request)
        .await
        .unwrap()
        .into_inner();
    let names: Vec<_> = answer.outputs.iter().map(|output| &output.name).collect();
    assert_eq!(names, ["1346", "score"]);
    assert!(answer.raw_output_contents.is_empty());
    let contents = answer.outputs[1].contents.clone().unwrap();
    assert_eq!(contents.fp32_contents, [2.5]);

    let mut request = pictures(&[]);
    request.raw_input_contents.clear();
    request.inputs[0].shape = vec![1];
    request.inputs[0].contents = Some(InferTensorContents {
        bytes_contents: vec![Bytes::from_static(b"1234")],
        ..Default::default()
    });
    let answer = server
        .client()
        .model_infer(request)
        .await
        .unwrap()
        .into_inner();
    let contents = answer.outputs[0].contents.clone().unwrap();
    assert_eq!(contents.fp32_contents, [4.0]);
}

#[tokio::test]
async fn a_bare_predictor_answers_raw_and_keeps_to_its_batch() {
    let scripted = Scripted {
        max_batch: 2,
        ..Default::default()
    };
    let server = serve(scripted).await;
    let mut client = server.client();
    let metadata = client
        .model_metadata(ModelMetadataRequest {
            name: "faces".to_owned(),
            version: String::new(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(metadata.inputs.len(), 1);
    assert_eq!(metadata.inputs[0].shape, [-1, 1, 2, 2]);
    let config = client
        .model_config(ModelConfigRequest {
            name: "faces".to_owned(),
            version: String::new(),
        })
        .await
        .unwrap()
        .into_inner()
        .config
        .unwrap();
    assert_eq!(config.max_batch_size, 2);
    assert_eq!(config.input[0].dims, [1, 2, 2]);
    assert!(!config.input[0].optional);
    let answer = client.model_infer(tensor(&[1.0, 2.0])).await.unwrap();
    assert_eq!(values(&answer.get_ref().raw_output_contents[0]), [1.0, 2.0]);
    let refused = client.model_infer(tensor(&[1.0; 3])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("max_batch_size 2"), "{refused}");
    let refused = client.model_infer(pictures(&[b"1"])).await.unwrap_err();
    assert!(
        refused.message().contains("no input \"image\""),
        "{refused}"
    );
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let server = serve(Scripted::default()).await;
    let change = |change: &dyn Fn(&mut ModelInferRequest)| {
        let mut request = tensor(&[1.0]);
        change(&mut request);
        request
    };
    let contents = InferTensorContents::default();
    let region = || {
        let name = ParameterChoice::StringParam("region".to_owned());
        [("shared_memory_region".to_owned(), parameter(Some(name)))]
    };
    use Code::{InvalidArgument, NotFound, Unimplemented};
    let cases = [
        (
            change(&|r| r.model_name = "nobody".into()),
            NotFound,
            "there is faces",
        ),
        (
            change(&|r| r.model_version = "2".into()),
            NotFound,
            "it has version \"1\"",
        ),
        (
            change(&|r| r.model_version = "x".into()),
            InvalidArgument,
            "no positive number",
        ),
        (
            change(&|r| r.inputs.clear()),
            InvalidArgument,
            "1 raw_input_contents for 0 inputs",
        ),
        (
            change(&|r| {
                r.inputs.clear();
                r.raw_input_contents.clear();
            }),
            InvalidArgument,
            "no input is given",
        ),
        (
            change(&|r| {
                r.inputs.push(input("image", "BYTES", &[1]));
                r.raw_input_contents.push(raw(&[b"1"]));
            }),
            InvalidArgument,
            "both inputs are given",
        ),
        (
            change(&|r| {
                r.inputs.push(r.inputs[0].clone());
                r.raw_input_contents.push(r.raw_input_contents[0].clone());
            }),
            InvalidArgument,
            "is given twice",
        ),
        (
            change(&|r| r.inputs[0].name = "x".into()),
            InvalidArgument,
            "no input \"x\"",
        ),
        (
            change(&|r| r.inputs[0].datatype = "FP16".into()),
            InvalidArgument,
            "FP32 is expected",
        ),
        (
            change(&|r| r.inputs[0].shape[0] = 0),
            InvalidArgument,
            "at least one",
        ),
        (
            change(&|r| r.inputs[0].shape[0] = -1),
            InvalidArgument,
            "[-1, 1, 2, 2] is expected",
        ),
        (
            change(&|r| r.inputs[0].shape[3] = 3),
            InvalidArgument,
            "[-1, 1, 2, 2] is expected",
        ),
        (
            change(&|r| r.inputs[0].shape[0] = 2),
            InvalidArgument,
            "16 raw bytes where the shape needs 32",
        ),
        (
            change(&|r| r.inputs[0].shape[0] = i64::MAX),
            InvalidArgument,
            "larger than any memory",
        ),
        (
            change(&|r| r.inputs[0].contents = Some(contents.clone())),
            InvalidArgument,
            "contents beside raw_input_contents",
        ),
        (
            change(&|r| r.raw_input_contents.push(Bytes::new())),
            InvalidArgument,
            "2 raw_input_contents for 1 inputs",
        ),
        (
            change(&|r| r.raw_input_contents.clear()),
            InvalidArgument,
            "0 values in fp32_contents where the shape needs 4",
        ),
        (
            change(&|r| r.outputs.push(output("x"))),
            InvalidArgument,
            "no output \"x\"",
        ),
        (
            change(&|r| r.outputs.extend([output("score"), output("score")])),
            InvalidArgument,
            "asked for twice",
        ),
        (
            change(&|r| r.inputs[0].parameters.extend(region())),
            Unimplemented,
            "shared memory",
        ),
        (
            change(&|r| {
                r.outputs.push(output("score"));
                r.outputs[0].parameters.extend(region());
            }),
            Unimplemented,
            "shared memory",
        ),
        (
            change(&|r| r.parameters.extend([("x".to_owned(), parameter(None))])),
            InvalidArgument,
            "has no value",
        ),
        (
            change(&|r| {
                let text = ParameterChoice::StringParam("5".to_owned());
                r.parameters
                    .extend([("timeout".to_owned(), parameter(Some(text)))]);
            }),
            InvalidArgument,
            "must be an int64",
        ),
    ];
    let mut client = server.client();
    for (request, code, text) in cases {
        let refused = client.model_infer(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(text), "{refused}");
    }
    client.model_infer(tensor(&[1.0])).await.unwrap();
}

#[tokio::test]
async fn every_kind_of_failure_has_its_code_and_its_place() {
    for kind in Kind::ALL {
        let scripted = Scripted {
            fault: Some(("bad", Error::new(kind, "what happened"))),
            ..Default::default()
        };
        let server = serve(scripted).await;
        let refused = server
            .client()
            .model_infer(pictures(&[b"good", b"bad"]))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), kind.codes().1);
        assert_eq!(refused.message(), "image[1]: what happened");
    }
}

#[tokio::test]
async fn readiness_is_seen_by_all_who_ask() {
    let server = serve(Scripted::default()).await;
    let mut client = server.client();
    let mut health = HealthClient::new(server.channel.clone());
    let check = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    let mut watched = health
        .watch(check("inference.GRPCInferenceService"))
        .await
        .unwrap()
        .into_inner();
    let ready = |name: &str, version: &str| ModelReadyRequest {
        name: name.to_owned(),
        version: version.to_owned(),
    };
    for is_ready in [true, false, true] {
        let reason = (!is_ready).then(|| "no predictor".to_owned());
        server.served.not_ready.lock().unwrap().clone_from(&reason);
        let seen = client.server_ready(ServerReadyRequest {}).await.unwrap();
        assert_eq!(seen.get_ref().ready, is_ready);
        let seen = client.model_ready(ready("faces", "1")).await.unwrap();
        assert_eq!(seen.get_ref().ready, is_ready);
        let status = if is_ready { 1 } else { 2 };
        assert_eq!(
            health.check(check("")).await.unwrap().get_ref().status,
            status
        );
        assert_eq!(watched.next().await.unwrap().unwrap().status, status);
        let index = client
            .repository_index(RepositoryIndexRequest::default())
            .await
            .unwrap()
            .into_inner();
        let state = if is_ready { "READY" } else { "UNAVAILABLE" };
        assert_eq!(index.models[0].state, state);
        assert_eq!(index.models[0].reason, reason.unwrap_or_default());
    }
    assert!(
        !client
            .model_ready(ready("nobody", ""))
            .await
            .unwrap()
            .get_ref()
            .ready
    );
    assert!(
        !client
            .model_ready(ready("faces", "2"))
            .await
            .unwrap()
            .get_ref()
            .ready
    );
    let unknown = health.check(check("nobody")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test]
async fn metadata_config_and_statistics() {
    let server = serve(Scripted::default()).await;
    let mut client = server.client();
    let metadata = client
        .server_metadata(ServerMetadataRequest {})
        .await
        .unwrap();
    assert_eq!(metadata.get_ref().name, "facequality-transformer");
    assert!(metadata.get_ref().version.contains('+'));
    let metadata = client
        .model_metadata(ModelMetadataRequest {
            name: "faces".to_owned(),
            version: "1".to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(metadata.versions, ["1"]);
    let tensors: Vec<_> = metadata
        .inputs
        .iter()
        .chain(&metadata.outputs)
        .map(|tensor| {
            (
                tensor.name.as_str(),
                tensor.datatype.as_str(),
                tensor.shape.clone(),
            )
        })
        .collect();
    assert_eq!(
        tensors,
        [
            ("image", "BYTES", vec![-1]),
            ("input.1", "FP32", vec![-1, 1, 2, 2]),
            ("score", "FP32", vec![-1, 1]),
        ]
    );
    let config = client
        .model_config(ModelConfigRequest {
            name: "faces".to_owned(),
            version: String::new(),
        })
        .await
        .unwrap()
        .into_inner()
        .config
        .unwrap();
    assert_eq!(config.max_batch_size, 0);
    assert!(config.input.iter().all(|input| input.optional));
    assert_eq!(config.input[1].dims, [-1, 1, 2, 2]);
    let statistics = client
        .model_statistics(ModelStatisticsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .model_stats;
    assert_eq!(
        (statistics[0].inference_count, statistics[0].execution_count),
        (6, 2)
    );
    let unknown = client
        .model_statistics(ModelStatisticsRequest {
            name: "nobody".to_owned(),
            version: String::new(),
        })
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let unloaded = client
        .repository_model_load(RepositoryModelLoadRequest::default())
        .await
        .unwrap_err();
    assert_eq!(unloaded.code(), Code::Unimplemented);
    assert!(unloaded.message().contains("not built in"), "{unloaded}");
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused_by_the_flag() {
    let server = serve_with(Scripted::default(), 9_000_000, None).await;
    let mut client = server.client();
    let large = vec![7; 8_900_000];
    client.model_infer(pictures(&[&large])).await.unwrap();
    let larger = vec![7; 75_000_000];
    for _ in 0..3 {
        let refused = client.model_infer(pictures(&[&larger])).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(refused.message().contains("--max_body_bytes"), "{refused}");
    }
    // The connection lives on.
    client.model_infer(pictures(&[b"1"])).await.unwrap();
    let reserved = server.served.reserved.lock().unwrap();
    assert_eq!(
        reserved.len(),
        2,
        "the refused ones take no room: {reserved:?}"
    );
}

#[tokio::test]
async fn compressed_messages_are_inflated_within_the_limit() {
    let server = serve(Scripted::default()).await;
    for coding in [CompressionEncoding::Gzip, CompressionEncoding::Deflate] {
        let mut client = server
            .client()
            .send_compressed(coding)
            .accept_compressed(coding);
        let answer = client
            .model_infer(pictures(&[&[7; 100_000]]))
            .await
            .unwrap();
        assert_eq!(
            values(&answer.get_ref().raw_output_contents[0]),
            [100_000.0]
        );
        let refused = client
            .model_infer(pictures(&[&[7; 5_000_000]]))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(refused.message().contains("--max_body_bytes"), "{refused}");
    }
}

#[tokio::test]
async fn the_callers_deadline_and_listed_headers_go_on() {
    let scripted = Scripted {
        gate: Some(Semaphore::new(0)),
        ..Default::default()
    };
    let server = serve(scripted).await;
    let mut request = tonic::Request::new(pictures(&[b"1"]));
    let headers = request.metadata_mut();
    headers.insert("grpc-timeout", MetadataValue::from_static("50m"));
    headers.insert("traceparent", MetadataValue::from_static("00-trace"));
    headers.insert("cookie", MetadataValue::from_static("secret"));
    headers.insert("x-request-id", MetadataValue::from_static("42"));
    let begun = Instant::now();
    // Without a channel, which would end the call by itself.
    let mut client = GrpcInferenceServiceClient::new(server.routes.clone());
    let late = client.model_infer(request).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(late.metadata().get("x-request-id").unwrap(), "42");
    let contexts = server.served.contexts.lock().unwrap();
    let (id, context) = &contexts[0];
    assert_eq!(id, "mine");
    assert_eq!(context.timeout, Some(Duration::from_millis(50)));
    let names: Vec<_> = context.headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(context.headers["traceparent"], "00-trace");
    assert_eq!(context.headers["x-request-id"], "42");
}

#[tokio::test]
async fn a_caller_who_leaves_ends_the_work() {
    let scripted = Scripted {
        gate: Some(Semaphore::new(0)),
        ..Default::default()
    };
    let server = serve(scripted).await;
    let mut client = server.client();
    let call = tokio::spawn(async move { client.model_infer(pictures(&[b"1"])).await });
    until(|| server.served.inside.load(Ordering::SeqCst) == 1).await;
    call.abort();
    until(|| server.served.inside.load(Ordering::SeqCst) == 0).await;
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

#[tokio::test]
async fn a_stream_answers_in_order_and_goes_on_after_faults() {
    let scripted = Scripted {
        fault: Some(("bad", Error::new(Kind::Invalid, "not a picture"))),
        ..Default::default()
    };
    let server = serve(scripted).await;
    let requests = (0..50).map(|n| {
        let text = vec![b'x'; n];
        let bytes: &[u8] = if n % 7 == 3 { b"bad" } else { &text };
        ModelInferRequest {
            id: n.to_string(),
            ..pictures(&[bytes])
        }
    });
    let requests: Vec<_> = requests.collect();
    let mut answers = server
        .client()
        .model_stream_infer(stream::iter(requests))
        .await
        .unwrap()
        .into_inner();
    let mut seen = 0;
    while let Some(answer) = answers.next().await {
        let answer = answer.unwrap();
        let response = answer.infer_response.unwrap();
        assert_eq!(response.id, seen.to_string());
        let last = &response.parameters["triton_final_response"];
        assert_eq!(
            last.parameter_choice,
            Some(ParameterChoice::BoolParam(true))
        );
        if seen % 7 == 3 {
            assert_eq!(answer.error_message, "image[0]: not a picture");
            assert!(response.outputs.is_empty());
        } else {
            assert_eq!(values(&response.raw_output_contents[0]), [seen as f32]);
        }
        seen += 1;
    }
    assert_eq!(seen, 50);
}

#[tokio::test]
async fn a_stream_works_side_by_side_within_the_bound() {
    let scripted = Scripted {
        gate: Some(Semaphore::new(0)),
        ..Default::default()
    };
    let server = serve(scripted).await;
    let requests = (0..100).map(|_| pictures(&[b"1"]));
    let requests: Vec<_> = requests.collect();
    let answers = server
        .client()
        .model_stream_infer(stream::iter(requests))
        .await
        .unwrap()
        .into_inner();
    let inside = &server.served.inside;
    until(|| inside.load(Ordering::SeqCst) == 8).await;
    server.served.gate.as_ref().unwrap().add_permits(100);
    assert_eq!(answers.collect::<Vec<_>>().await.len(), 100);
    assert_eq!(server.served.most_inside.load(Ordering::SeqCst), 8);
    // A stream that is given up gives up its requests.
    server.served.begun.store(0, Ordering::SeqCst);
    let requests = stream::iter(vec![pictures(&[b"1"]); 20]);
    let answers = server.client().model_stream_infer(requests).await.unwrap();
    until(|| inside.load(Ordering::SeqCst) == 8).await;
    drop(answers);
    until(|| inside.load(Ordering::SeqCst) == 0).await;
    assert_eq!(server.served.begun.load(Ordering::SeqCst), 8);
}

#[tokio::test]
async fn a_slow_reader_stops_the_reading_of_requests() {
    let server = serve(Scripted::default()).await;
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let picture = vec![b'x'; 20_000];
    let requests = stream::iter((0..10_000).map(move |n| {
        counted.fetch_add(1, Ordering::SeqCst);
        ModelInferRequest {
            id: n.to_string(),
            ..pictures(&[&picture])
        }
    }));
    let mut answers = server
        .client()
        .model_stream_infer(requests)
        .await
        .unwrap()
        .into_inner();
    // Not reading, until all that moves has come to rest.
    let mut before = usize::MAX;
    while before != sent.load(Ordering::SeqCst) {
        before = sent.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(
        before < 9_000,
        "{before} of 10000 requests were taken from a reader who reads nothing"
    );
    for n in 0..10_000 {
        let answer = answers.next().await.unwrap().unwrap();
        assert_eq!(answer.infer_response.unwrap().id, n.to_string());
    }
    assert!(answers.next().await.is_none());
}

#[tokio::test]
async fn a_stream_ends_with_the_flags_name_when_a_message_is_too_large() {
    let server = serve(Scripted::default()).await;
    let large = vec![7; 5_000_000];
    let requests = stream::iter([pictures(&[b"1"]), pictures(&[&large])]);
    let mut answers = server
        .client()
        .model_stream_infer(requests)
        .await
        .unwrap()
        .into_inner();
    assert!(answers.next().await.unwrap().is_ok());
    let refused = answers.next().await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("--max_body_bytes"), "{refused}");
}

#[tokio::test]
async fn a_drain_answers_what_is_under_way() {
    let scripted = Scripted {
        gate: Some(Semaphore::new(0)),
        ..Default::default()
    };
    let server = serve(scripted).await;
    let mut client = server.client();
    let call = tokio::spawn(async move { client.model_infer(pictures(&[b"1"])).await });
    until(|| server.served.inside.load(Ordering::SeqCst) == 1).await;
    let mut health = HealthClient::new(server.channel.clone());
    let watch = health.watch(HealthCheckRequest::default()).await.unwrap();
    server.served.draining.store(true, Ordering::SeqCst);
    server.control.enter(Phase::Closing);
    server.served.gate.as_ref().unwrap().add_permits(1);
    call.await.unwrap().unwrap();
    assert_eq!(watch.into_inner().collect::<Vec<_>>().await.len(), 1);
    server.done.await.unwrap();
}

#[tokio::test]
async fn an_old_connection_is_asked_to_go() {
    let age = Some(Duration::from_millis(50));
    let server = serve_with(Scripted::default(), 1 << 20, age).await;
    let stream = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    let (_open, connection) = hyper::client::conn::http2::handshake::<_, _, tonic::body::Body>(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(stream),
    )
    .await
    .unwrap();
    tokio::time::timeout(Duration::from_secs(20), connection)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn reflection_lists_the_services() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let server = serve(Scripted::default()).await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(server.channel.clone())
        .server_reflection_info(stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else {
        panic!("{answer:?}")
    };
    let names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    assert!(
        names.contains(&"inference.GRPCInferenceService".to_owned()),
        "{names:?}"
    );
    assert!(
        names.contains(&"grpc.health.v1.Health".to_owned()),
        "{names:?}"
    );
}

#[tokio::test]
async fn a_gzip_bomb_is_stopped_at_the_limit() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..200 {
        encoder.write_all(&zeros).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 1 << 19);
    let mut message = vec![1];
    message.extend_from_slice(&(bomb.len() as u32).to_be_bytes());
    message.extend_from_slice(&bomb);
    let server = serve(Scripted::default()).await;
    let request = Request::builder()
        .method("POST")
        .uri("/inference.GRPCInferenceService/ModelInfer")
        .header("content-type", "application/grpc")
        .header("grpc-encoding", "gzip")
        .body(tonic::body::Body::new(http_body_util::Full::new(
            Bytes::from(message),
        )))
        .unwrap();
    let mut channel = server.channel.clone();
    std::future::poll_fn(|cx| channel.poll_ready(cx))
        .await
        .unwrap();
    let response = channel.call(request).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "8");
}

#[test]
fn timeouts_of_the_header() {
    let timeout = |text: &'static str| grpc_timeout(&HeaderValue::from_static(text));
    assert_eq!(timeout("50m"), Some(Duration::from_millis(50)));
    assert_eq!(
        timeout("99999999H"),
        Some(Duration::from_secs(99_999_999 * 3600))
    );
    assert_eq!(timeout("7n"), Some(Duration::from_nanos(7)));
    for wrong in ["", "m", "5", "5x", "-5m", "123456789S", "5 m"] {
        assert_eq!(timeout(wrong), None, "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_stops_on_its_way_is_given_up() {
    let settings = Settings {
        max_body_bytes: 1000,
        body_read_timeout: Duration::from_secs(30),
        concurrency: 8,
        forward_headers: Vec::new(),
        metrics: Arc::new(Metrics::new("none", &[]).unwrap()),
    };
    let mut routes = routes(Arc::new(Scripted::default()), settings).unwrap();
    // The header of 100 bytes, three of them, and no end.
    let first = Bytes::from_static(&[0, 0, 0, 0, 100, 1, 2, 3]);
    let frames = stream::iter([Ok::<_, Status>(http_body::Frame::data(first))]);
    let body = http_body_util::StreamBody::new(frames.chain(stream::pending()));
    let request = Request::builder()
        .method("POST")
        .uri("/inference.GRPCInferenceService/ModelInfer")
        .header("content-type", "application/grpc")
        .body(tonic::body::Body::new(body))
        .unwrap();
    let response = routes.call(request).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "3");
    let message = response.headers()["grpc-message"].to_str().unwrap();
    assert!(message.contains("--body_read_timeout_seconds"), "{message}");
}
