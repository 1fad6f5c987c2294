//! Traces as a collector sees them: the spans of a request, which requests are recorded, and what the
//! predictor is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;
use http::HeaderMap;
use kserve_transformer::wire::triton::grpc_inference_service_client::GrpcInferenceServiceClient;
use kserve_transformer::wire::triton::model_infer_request::InferInputTensor;
use kserve_transformer::wire::triton::{InferTensorContents, ModelInferRequest};
use reqwest::Method;
use tonic::Code;
use tonic::metadata::MetadataValue;

use crate::world::collector::{Collector, Span};
use crate::world::triton::{Fault, Script};
use crate::world::{Answer, World, grey, multi, read};

const PHOTO: &[u8] = include_bytes!("../../data/images/astronaut.jpg");
const PREDICT: &str = "/v1/models/facequality:predict";
const SERVER: i32 = 2;
const CLIENT: i32 = 3;

/// A caller's trace and span, and what it decided.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn caller(sampled: bool) -> String {
    format!("00-{TRACE}-{CALLER}-0{}", u8::from(sampled))
}

struct Traced {
    world: World,
    collector: Collector,
}

impl Traced {
    async fn with(flags: &[&str], script: impl FnOnce(&mut Script)) -> Self {
        let collector = Collector::start().await;
        let endpoint = format!("--otlp_endpoint={}", collector.url());
        let flags = [&[endpoint.as_str(), "--otlp_protocol=grpc"], flags].concat();
        let world = World::with(&flags, script).await;
        Self { world, collector }
    }

    async fn post(&self, path: &str, body: Vec<u8>, headers: &[(&str, &str)]) -> Answer {
        let request = self
            .world
            .client
            .request(Method::POST, self.world.url(path));
        let request = headers
            .iter()
            .fold(request.body(body), |request, (name, value)| {
                request.header(*name, *value)
            });
        read(request.send().await.unwrap()).await
    }

    async fn grpc(&self) -> GrpcInferenceServiceClient<tonic::transport::Channel> {
        let address = format!("http://{}", self.world.service.http);
        GrpcInferenceServiceClient::connect(address).await.unwrap()
    }

    /// The headers of the last call to the predictor, and all spans: a drain exports what is left.
    async fn end(self) -> (HeaderMap, Vec<Span>) {
        let World {
            triton, service, ..
        } = self.world;
        service.drain().await;
        (triton.observed().headers, self.collector.spans())
    }
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn root(spans: &[Span]) -> &Span {
    let [root] = spans
        .iter()
        .filter(|span| span.kind == SERVER)
        .collect::<Vec<_>>()[..]
    else {
        panic!("not one request: {spans:#?}");
    };
    root
}

/// The milliseconds of each stage in a `server-timing` header, without the total.
fn server_timing(answer: &Answer) -> BTreeMap<String, f64> {
    let header = answer.headers["server-timing"].to_str().unwrap();
    let stages = header.split(", ").map(|stage| {
        let (name, duration) = stage.split_once(";dur=").unwrap();
        (name.to_owned(), duration.parse().unwrap())
    });
    stages.filter(|(name, _)| name != "total").collect()
}

fn infer_request() -> ModelInferRequest {
    ModelInferRequest {
        model_name: "facequality".to_owned(),
        inputs: vec![InferInputTensor {
            name: "image".to_owned(),
            datatype: "BYTES".to_owned(),
            shape: vec![1],
            contents: Some(InferTensorContents {
                bytes_contents: vec![grey(7).into()],
                ..Default::default()
            }),
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[tokio::test]
async fn a_photo_is_a_tree_of_its_stages_and_calls() {
    let flags = ["--model_host=centerface=embedded", "--detect_side=320"];
    let traced = Traced::with(&flags, |_| ()).await;
    let (b3, caller) = (
        "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1",
        caller(true),
    );
    let headers = [
        ("traceparent", caller.as_str()),
        ("tracestate", "vendor=value"),
        ("b3", b3),
        ("x-request-id", "photo-1"),
    ];
    let path = "/v1/models/facephoto:predict";
    let answer = traced.post(path, PHOTO.to_vec(), &headers).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let timing = server_timing(&answer);
    let (sent, spans) = traced.end().await;

    let root = root(&spans);
    assert_eq!(root.name, "POST /v1/models/{model}:predict");
    assert_eq!((root.trace.as_str(), root.parent.as_str()), (TRACE, CALLER));
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.response.status_code", "200"),
        ("http.route", "/v1/models/{model}:predict"),
        ("url.path", path),
        ("request_id", "photo-1"),
        ("inference.model", "facephoto"),
        ("inference.images", "1"),
    ] {
        assert_eq!(root.attributes[key], value, "{key}");
    }

    // Within their parents, in one trace.
    let by_id: BTreeMap<_, _> = spans.iter().map(|span| (span.id.as_str(), span)).collect();
    for span in spans.iter().filter(|span| span.kind != SERVER) {
        assert_eq!(span.trace, TRACE);
        let parent = by_id[span.parent.as_str()];
        assert!(
            parent.begin <= span.begin && span.end <= parent.end,
            "{span:?} in {parent:?}"
        );
        assert!(!span.failed, "{span:?}");
    }

    // Names and durations are those of the header.
    let mut stages: BTreeMap<String, f64> = BTreeMap::new();
    let calls = ["infer", "inference.GRPCInferenceService/ModelInfer"];
    for span in spans.iter().filter(|span| span.kind != SERVER) {
        if !calls.contains(&span.name.as_str()) {
            *stages.entry(span.name.clone()).or_default() += (span.end - span.begin) as f64 / 1e6;
        }
    }
    // Those that the pixel threads add up are attributes.
    for (key, value) in &root.attributes {
        if let Some(name) = key.strip_suffix("_ms") {
            stages.insert(name.to_owned(), value.parse().unwrap());
        }
    }
    let names = |stages: &BTreeMap<String, f64>| stages.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&stages), names(&timing));
    for (name, header) in timing {
        // The header has three decimals.
        assert!(
            (stages[&name] - header).abs() < 0.002,
            "{name}: {stages:?}, {header}"
        );
    }
    let below_root: Vec<_> = spans.iter().filter(|span| span.parent == root.id).collect();
    let below_root: Vec<_> = below_root.iter().map(|span| span.name.as_str()).collect();
    let model = ["preprocess", "predict", "postprocess"];
    assert_eq!(
        below_root,
        [&["read", "parse", "queue_wait"], &model[..], &model[..]].concat()
    );

    // Each call stands in the stage that waited for it, as does the wait for its permit.
    for name in ["permit_wait", calls[0], calls[1]] {
        for span in named(&spans, name) {
            assert_eq!(by_id[span.parent.as_str()].name, "predict", "{span:?}");
        }
    }
    let [detector] = named(&spans, calls[0])[..] else {
        panic!("{spans:#?}")
    };
    assert_eq!(detector.attributes["inference.model"], "centerface");
    let [quality] = named(&spans, calls[1])[..] else {
        panic!("{spans:#?}")
    };
    assert_eq!(quality.kind, CLIENT);
    for (key, value) in [
        ("rpc.system.name", "grpc"),
        ("inference.model", "face_quality_trt_fp16"),
        ("inference.rows", "1"),
        ("inference.attempt", "1"),
        ("inference.outcome", "ok"),
        ("server.address", "127.0.0.1"),
    ] {
        assert_eq!(quality.attributes[key], value, "{key}");
    }

    assert_eq!(sent["traceparent"], format!("00-{TRACE}-{}-01", quality.id));
    assert_eq!(sent["tracestate"], "vendor=value");
    assert_eq!(sent["b3"], b3);
}

/// The spans of one request, and what the predictor was told.
async fn one_request(flags: &[&str], headers: &[(&str, &str)]) -> (HeaderMap, Vec<Span>) {
    let traced = Traced::with(flags, |_| ()).await;
    let answer = traced.post(PREDICT, grey(1), headers).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    traced.end().await
}

#[tokio::test]
async fn a_caller_without_a_trace_gets_one() {
    let (sent, spans) = one_request(&[], &[]).await;
    let root = root(&spans);
    assert_eq!(root.parent, "");
    let told = sent["traceparent"].to_str().unwrap();
    assert!(
        told.starts_with(&format!("00-{}-", root.trace)) && told.ends_with("-01"),
        "{told}"
    );
    // What is no trace is not continued, and its state belongs to nothing.
    let broken = [("traceparent", "00-xyz-01"), ("tracestate", "vendor=value")];
    let (sent, spans) = one_request(&[], &broken).await;
    assert_eq!(
        spans.iter().filter(|span| span.parent.is_empty()).count(),
        1
    );
    assert!(!sent.contains_key("tracestate"));
}

#[tokio::test]
async fn the_sampler_and_the_caller_decide() {
    let (yes, no) = (caller(true), caller(false));
    for (share, header, recorded) in [
        ("1", None, true),
        ("0", None, false),
        ("0", Some(&yes), true),
        ("1", Some(&no), false),
    ] {
        let flag = format!("--trace_sample={share}");
        let headers: Vec<_> = header
            .iter()
            .map(|value| ("traceparent", value.as_str()))
            .collect();
        let (sent, spans) = one_request(&[&flag], &headers).await;
        assert_eq!(!spans.is_empty(), recorded, "{share} {header:?}");
        let told = sent["traceparent"].to_str().unwrap();
        // The predictor learns the decision, of the caller's trace where there is one.
        assert_eq!(told.ends_with("-01"), recorded, "{told}");
        assert_eq!(told.contains(TRACE), header.is_some(), "{told}");
        assert!(!told.contains(CALLER), "{told}");
    }
}

#[tokio::test]
async fn what_is_not_forwarded_is_not_told() {
    let (sent, spans) = one_request(&["--forward_headers=x-request-id"], &[]).await;
    assert!(!sent.contains_key("traceparent"));
    assert!(!spans.is_empty());
}

#[tokio::test]
async fn without_a_collector_the_callers_headers_go_on_as_they_came() {
    let world = World::new().await;
    let request = world.client.post(world.url(PREDICT)).body(grey(1));
    let request = request.header("traceparent", caller(true));
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(world.triton.observed().headers["traceparent"], caller(true));
}

#[tokio::test]
async fn grpc_calls_and_each_message_of_a_stream_are_requests() {
    let traced = Traced::with(&[], |_| ()).await;
    let mut client = traced.grpc().await;
    let traceparent = MetadataValue::try_from(caller(true)).unwrap();
    let mut request = tonic::Request::new(infer_request());
    request
        .metadata_mut()
        .insert("traceparent", traceparent.clone());
    client.model_infer(request).await.unwrap();
    let mut unknown = infer_request();
    unknown.model_name = "nobody".to_owned();
    let status = client.model_infer(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);

    let mut stream = tonic::Request::new(futures_util::stream::iter([
        infer_request(),
        infer_request(),
    ]));
    stream.metadata_mut().insert("traceparent", traceparent);
    let responses = client
        .model_stream_infer(stream)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(responses.count().await, 2);
    drop(client);
    let (_, spans) = traced.end().await;

    let calls = named(&spans, "inference.GRPCInferenceService/ModelInfer");
    let calls: Vec<_> = calls
        .into_iter()
        .filter(|span| span.kind == SERVER)
        .collect();
    let [found, missing] = calls[..] else {
        panic!("{calls:#?}")
    };
    assert_eq!(
        (found.trace.as_str(), found.parent.as_str()),
        (TRACE, CALLER)
    );
    assert_eq!(found.attributes["rpc.response.status_code"], "OK");
    assert_ne!(missing.trace, TRACE);
    assert_eq!(missing.attributes["rpc.response.status_code"], "NOT_FOUND");
    // It is the caller's mistake.
    assert!(!missing.failed);
    let messages = named(&spans, "inference.GRPCInferenceService/ModelStreamInfer");
    assert_eq!(messages.len(), 2);
    for message in messages {
        assert_eq!(message.parent, CALLER);
        assert_eq!(message.kind, SERVER);
        assert!(
            spans
                .iter()
                .any(|span| span.parent == message.id && span.name == "predict")
        );
    }
}

#[tokio::test]
async fn each_attempt_is_a_call_with_its_outcome() {
    for protocol in ["grpc-v2", "v2"] {
        let flag = format!("--predictor_protocol={protocol}");
        let leaving = [Fault::Status(Code::Unavailable, "leaving")];
        let traced = Traced::with(&[&flag], |script| script.faults = leaving.into()).await;
        let answer = traced.post(PREDICT, grey(1), &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let (sent, spans) = traced.end().await;
        let calls: Vec<_> = spans.iter().filter(|span| span.kind == CLIENT).collect();
        let told = |key: &str| {
            calls
                .iter()
                .map(|call| call.attributes[key].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(told("inference.attempt"), ["1", "2"]);
        assert_eq!(told("inference.outcome"), ["unavailable", "ok"]);
        assert_eq!([calls[0].failed, calls[1].failed], [true, false]);
        assert!(sent["traceparent"].to_str().unwrap().contains(&calls[1].id));
        assert!(!root(&spans).failed);
    }
}

#[tokio::test]
async fn a_failure_and_a_caller_that_leaves_are_told() {
    let refused = [Fault::Status(Code::InvalidArgument, "no")];
    let traced = Traced::with(&[], |script| script.faults = refused.into()).await;
    assert_eq!(traced.post(PREDICT, grey(1), &[]).await.status, 502);
    traced.world.triton.set(|script| script.hold = true);
    let post = traced.post(PREDICT, grey(1), &[]);
    let begun = traced.world.triton.wait(|observed| observed.in_flight == 1);
    tokio::select! {
        _ = post => panic!("answered"),
        _ = begun => (),
    }
    traced
        .world
        .triton
        .wait(|observed| observed.canceled == 1)
        .await;
    let (_, spans) = traced.end().await;
    let kinds = |kind: i32| {
        let of_kind = spans.iter().filter(move |span| span.kind == kind);
        of_kind.map(|span| (span.failed, span.attributes["error.type"].as_str()))
    };
    assert_eq!(
        kinds(SERVER).collect::<Vec<_>>(),
        [(true, "502"), (true, "canceled")]
    );
    let calls = [(true, "error_response"), (true, "canceled")];
    assert_eq!(kinds(CLIENT).collect::<Vec<_>>(), calls);
}

#[tokio::test]
async fn probes_and_metadata_are_not_traced() {
    let traced = Traced::with(&[], |_| ()).await;
    for path in [
        "/",
        "/metrics",
        "/v1/models",
        "/v2/health/ready",
        "/v2/models/facequality",
    ] {
        assert_eq!(traced.world.get(path).await.status, 200, "{path}");
    }
    let mut client = traced.grpc().await;
    client
        .server_ready(kserve_transformer::wire::triton::ServerReadyRequest {})
        .await
        .unwrap();
    drop(client);
    assert!(traced.end().await.1.is_empty());
}

/// A collector that takes connections and says nothing.
#[tokio::test]
async fn a_silent_collector_costs_spans_and_nothing_else() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("--otlp_endpoint=http://{}", silent.local_addr().unwrap());
    let flags = [
        endpoint.as_str(),
        "--otlp_protocol=grpc",
        "--grace_seconds=1",
    ];
    let world = World::with(&flags, |_| ()).await;
    let body = multi(&vec![grey(1); 4]);
    // Each has some eight spans; 2048 wait.
    for _ in 0..40 {
        let requests = (0..10).map(|_| world.predict(body.clone()));
        let answers = futures_util::future::join_all(requests).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
    }
    let metrics = world.get("/metrics").await.text;
    let dropped = metrics
        .lines()
        .find_map(|line| line.strip_prefix("facequality_spans_total{outcome=\"dropped\"} "));
    let dropped: f64 = dropped.unwrap().parse().unwrap();
    assert!(dropped > 0.0, "{metrics}");
    let drained = tokio::time::timeout(Duration::from_secs(60), world.service.drain());
    drained.await.unwrap();
}
