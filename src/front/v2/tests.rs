//! V2 REST over real connections, in front of a scripted server of tensors.

mod http;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::*;
use crate::admission::ByteBudget;
use crate::front::scripted::Scripted;
use crate::front::{Cors, Router, grpc};
use crate::observe::metrics::Metrics;
use crate::observe::observer::Observer;
use crate::oip::InferenceService;
use crate::shutdown::{self, Phase, ShutdownHandle};
use crate::transport::{BodyLimits, ConnectionSettings, HeaderPattern, serve};
use crate::wire::tensor::fp32;
use crate::workers::CpuPool;

struct Server {
    scripted: Arc<Scripted>,
    base: String,
    client: Client,
    shutdown: ShutdownHandle,
}

/// A response, read to its end.
struct TestResponse {
    status: u16,
    headers: HeaderMap,
    body: bytes::Bytes,
}

impl TestResponse {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

async fn server(scripted: Scripted) -> Server {
    // The process does it in main; a second time is an error that means nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let scripted = Arc::new(scripted);
    let metrics = Arc::new(Metrics::default());
    let pool = CpuPool::start(1).unwrap();
    let settings = Arc::new(Settings {
        body: BodyLimits {
            max_bytes: 100_000,
            stream_idle_timeout: Duration::from_secs(60),
            read_timeout: Duration::from_secs(30),
            budget: ByteBudget::unlimited(&metrics),
            pool: pool.clone(),
        },
        timeout: Duration::from_secs(600),
        stream_concurrency: 8,
        forward_headers: vec![HeaderPattern::parse("x-request-id").unwrap()],
        cors: Cors(vec!["https://page.test".parse().unwrap()]),
        ui: None,
        observer: Arc::new(Observer::new(metrics, false)),
        tracing: Default::default(),
    });
    let service = Arc::clone(&scripted) as Arc<dyn InferenceService>;
    let oip = OpenInference::new(service, pool);
    let grpc = grpc::routes(&oip, Arc::clone(&settings)).unwrap();
    let router = Router::new(None, oip, grpc, settings).unwrap();
    let connections = ConnectionSettings {
        permits: Arc::new(Semaphore::new(100)),
        header_read_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
        max_header_bytes: 64 * 1024,
        max_age: None,
        tls: None,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (handle, shutdown) = shutdown::channel();
    tokio::spawn(serve(listener, Arc::new(router), connections, shutdown));
    Server {
        scripted,
        base,
        client: Client::builder().no_proxy().build().unwrap(),
        shutdown: handle,
    }
}

impl Server {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    fn infer(&self) -> RequestBuilder {
        self.request(Method::POST, "/v2/models/faces/infer")
    }

    async fn get(&self, path: &str) -> TestResponse {
        send(self.request(Method::GET, path)).await
    }
}

async fn send(request: RequestBuilder) -> TestResponse {
    let response = request.send().await.unwrap();
    TestResponse {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.bytes().await.unwrap(),
    }
}

fn tensor() -> Value {
    json!({"id": "7", "inputs": [
        {"name": "input.1", "shape": [2, 1, 2, 2], "datatype": "FP32",
         "data": [[[[0.5, 0], [0, 0]]], [[[1.5, 0], [0, 0]]]]}
    ]})
}

/// The JSON, its length, and the body with two images of 5 and 3 bytes behind it.
fn binary(more: &str) -> (usize, Vec<u8>) {
    let json = format!(
        r#"{{"inputs":[{{"name":"image","shape":[2],"datatype":"BYTES","parameters":{{"binary_data_size":16}}}}]{more}}}"#
    );
    let mut body = json.clone().into_bytes();
    body.extend_from_slice(b"\x05\0\0\0\xff\xd8\xff12\x03\0\0\0\x89PN");
    (json.len(), body)
}

#[tokio::test]
async fn what_the_server_says_of_itself() {
    let server = server(Scripted::default()).await;
    assert_eq!(
        server.get("/v2").await.json()["name"],
        "facequality-transformer"
    );
    assert_eq!(
        server.get("/v2/health/live").await.json(),
        json!({"live": true})
    );
    assert_eq!(
        server.get("/v2/health/ready/").await.json(),
        json!({"ready": true})
    );
    assert_eq!(
        server.get("/v2/models").await.json(),
        json!({"models": ["faces"]})
    );
    for path in ["/v2/models/faces", "/v2/models/faces/versions/1/"] {
        assert_eq!(
            server.get(path).await.json(),
            json!({
                "name": "faces", "versions": ["1"], "platform": "scripted",
                "inputs": [
                    {"name": "image", "datatype": "BYTES", "shape": [-1]},
                    {"name": "input.1", "datatype": "FP32", "shape": [-1, 1, 2, 2]},
                ],
                "outputs": [{"name": "score", "datatype": "FP32", "shape": [-1, 1]}],
            })
        );
    }
    let config = server.get("/v2/models/faces/config").await.json();
    assert_eq!(config["input"][0]["data_type"], "TYPE_STRING");
    assert_eq!(config["input"][1]["optional"], true);
    assert_eq!(send(server.infer().json(&tensor())).await.status, 200);
    for path in ["/v2/models/faces/stats", "/v2/models/stats"] {
        let statistics = server.get(path).await.json();
        let model = &statistics["model_stats"][0];
        assert_eq!(model["inference_stats"]["success"]["count"], 1);
        assert!(model["inference_stats"]["success"]["ns"].as_u64().unwrap() > 0);
        assert_eq!(model["response_stats"]["0"]["success"]["count"], 1);
    }
    let index = send(server.request(Method::POST, "/v2/repository/index")).await;
    assert_eq!(
        index.json(),
        json!([{"name": "faces", "version": "1", "state": "READY"}])
    );
}

#[tokio::test]
async fn readiness_is_503_with_the_reason() {
    let server = server(Scripted::default()).await;
    let ready = server.get("/v2/models/faces/ready").await;
    assert_eq!(ready.json(), json!({"name": "faces", "ready": true}));
    *server.scripted.not_ready.lock().unwrap() = Some("no predictor".to_owned());
    let unready = server.get("/v2/health/ready").await;
    assert_eq!(unready.status, 503);
    assert_eq!(
        unready.json(),
        json!({"ready": false, "reason": "no predictor"})
    );
    let unready = server.get("/v2/models/faces/versions/1/ready").await;
    assert_eq!(unready.status, 503);
    assert_eq!(unready.json(), json!({"name": "faces", "ready": false}));
    let index = server.request(Method::POST, "/v2/repository/index");
    let index = send(index.body(r#"{"ready":true}"#)).await;
    assert_eq!(index.json(), json!([]));
}

#[tokio::test]
async fn routes_that_are_not_there_and_methods_that_are_wrong() {
    let server = server(Scripted::default()).await;
    let cases = [
        (Method::GET, "/v2/models/nobody", 404, ""),
        (Method::GET, "/v2/models/nobody/ready", 404, ""),
        (Method::GET, "/v2/models/nobody/stats", 404, ""),
        (Method::POST, "/v2/models/nobody/infer", 404, ""),
        (Method::GET, "/v2/models/faces/versions/2", 404, ""),
        (Method::GET, "/v2/models/faces/versions/x/ready", 404, ""),
        (Method::POST, "/v2/models/faces/versions/2/infer", 404, ""),
        (Method::GET, "/v2/nothing", 404, ""),
        (Method::GET, "/v2/models/faces/nothing", 404, ""),
        (Method::GET, "/v3", 404, ""),
        (Method::GET, "/v2/models/faces/infer", 405, "POST"),
        (Method::POST, "/v2/models/faces", 405, "GET, HEAD"),
        (Method::DELETE, "/v2", 405, "GET, HEAD"),
        (Method::GET, "/v2/repository/index", 405, "POST"),
        (Method::POST, "/v2/repository/models/faces/load", 501, ""),
        (Method::GET, "/v2/systemsharedmemory/status", 501, ""),
        (
            Method::POST,
            "/v2/cudasharedmemory/region/a/register",
            501,
            "",
        ),
        (Method::PUT, "/v2/logging", 405, "GET, HEAD, POST"),
    ];
    for (method, path, status, allow) in cases {
        let response = send(server.request(method.clone(), path)).await;
        assert_eq!(response.status, status, "{method} {path}");
        assert!(!response.error().is_empty());
        let allowed = response
            .headers
            .get(ALLOW)
            .map_or("", |value| value.to_str().unwrap());
        assert_eq!(allowed, allow, "{method} {path}");
    }
}

#[tokio::test]
async fn the_log_is_shown_and_not_changed_unless_that_is_allowed() {
    let server = server(Scripted::default()).await;
    let shown = server.get("/v2/logging").await;
    assert_eq!(shown.status, 200);
    assert_eq!(shown.json()["log_format"], "default");
    let change = server.request(Method::POST, "/v2/logging");
    let refused = send(change.json(&json!({"log_verbose_level": 1}))).await;
    assert_eq!(refused.status, 403);
    assert!(refused.error().contains("--enable_log_settings"));
    for body in [
        "[]",
        r#"{"log_info": null}"#,
        r#"{"log_verbose_level": -1}"#,
    ] {
        let request = server.request(Method::POST, "/v2/logging").body(body);
        assert_eq!(send(request).await.status, 400, "{body}");
    }
}

#[tokio::test]
async fn json_in_and_out() {
    let server = server(Scripted::default()).await;
    // tritonclient sends no content type, others send what they like.
    for content_type in [
        None,
        Some("application/json; charset=utf-8"),
        Some("text/plain"),
    ] {
        let mut request = server.infer().body(tensor().to_string());
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let response = send(request.header("x-request-id", "r1")).await;
        assert_eq!(
            response.json(),
            json!({"id": "7", "model_name": "faces", "model_version": "1", "outputs": [
                {"name": "score", "datatype": "FP32", "shape": [2, 1], "data": [0.5, 1.5]}
            ]})
        );
        assert_eq!(response.headers[CONTENT_TYPE], "application/json");
        assert_eq!(response.headers["x-request-id"], "r1");
        assert!(response.headers.contains_key("server-timing"));
    }
    let runs = server.scripted.runs.lock().unwrap();
    let (_, context) = &runs[0];
    assert_eq!(context.id, "7");
    assert_eq!(context.headers["x-request-id"], "r1");
}

#[tokio::test]
async fn images_as_strings_are_items_or_base64() {
    let server = server(Scripted::default()).await;
    let body = json!({"inputs": [
        {"name": "image", "shape": [2, 1], "datatype": "BYTES", "data": [["/9j/AAAA"], ["path:a"]]}
    ], "outputs": [{"name": "1346"}]});
    let response = send(server.infer().json(&body)).await.json();
    assert_eq!(response["outputs"][0]["name"], "1346");
    assert_eq!(response["outputs"][0]["data"], json!([8.0, 6.0]));
    assert_eq!(response.get("id"), None);
    let runs = server.scripted.runs.lock().unwrap();
    let (input, context) = &runs[0];
    assert!(
        input.contains("Base64(") && input.contains("Item("),
        "{input}"
    );
    assert_eq!(context.id.len(), 36, "the call's own id goes on");
}

#[tokio::test]
async fn binary_in_and_out() {
    let server = server(Scripted::default()).await;
    let (length, body) = binary(r#","parameters":{"binary_data_output":true}"#);
    let request = server.infer().header(v2::JSON_LENGTH, length).body(body);
    let response = send(request).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.headers[CONTENT_TYPE], "application/octet-stream");
    let length: usize = response.headers[v2::JSON_LENGTH]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let json: Value = serde_json::from_slice(&response.body[..length]).unwrap();
    assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], 8);
    let scores: Vec<f32> = fp32(&response.body[length..]).collect();
    assert_eq!(scores, [5.0, 3.0]);

    let (length, body) = binary("");
    let response = send(server.infer().header(v2::JSON_LENGTH, length).body(body)).await;
    assert_eq!(response.json()["outputs"][0]["data"], json!([5.0, 3.0]));

    // tritonclient asks for binary outputs with JSON inputs too.
    let mut body = tensor();
    body["parameters"] = json!({"binary_data_output": true});
    let response = send(server.infer().json(&body)).await;
    assert!(response.headers.contains_key(v2::JSON_LENGTH));

    for wrong in ["-1", "x", "100000"] {
        let (_, body) = binary("");
        let response = send(server.infer().header(v2::JSON_LENGTH, wrong).body(body)).await;
        assert_eq!(response.status, 400, "{wrong}");
        assert!(response.error().contains("Inference-Header-Content-Length"));
    }
}

#[tokio::test]
async fn compressed_both_ways() {
    let server = server(Scripted::default()).await;
    let rows = 500;
    let values: Vec<f64> = (0..rows * 4).map(f64::from).collect();
    let body = json!({"inputs": [
        {"name": "input.1", "shape": [rows, 1, 2, 2], "datatype": "FP32", "data": values}
    ]});
    for (name, encoding) in [("gzip", Encoding::Gzip), ("deflate", Encoding::Deflate)] {
        let (compressed, _) = encoding.compress(body.to_string().into());
        let request = server.infer().body(compressed);
        let request = request.header(CONTENT_ENCODING, name);
        let response = send(request.header(ACCEPT_ENCODING, name)).await;
        assert_eq!(response.status, 200);
        assert_eq!(response.headers[CONTENT_ENCODING], name);
        let mut plain = Vec::new();
        encoding
            .inflate_into(&response.body, 1 << 20, &mut plain)
            .unwrap();
        let plain: Value = serde_json::from_slice(&plain).unwrap();
        assert_eq!(plain["outputs"][0]["data"][499], 1996.0);
    }
    let (bomb, _) = Encoding::Gzip.compress(vec![b' '; 1 << 20].into());
    let response = send(server.infer().header(CONTENT_ENCODING, "gzip").body(bomb)).await;
    assert_eq!(response.status, 413);
    assert!(response.error().contains("--max_body_bytes"));
    let damaged = server.infer().header(CONTENT_ENCODING, "gzip").body("{}");
    assert_eq!(send(damaged).await.status, 400);
    let unknown = server.infer().header(CONTENT_ENCODING, "br").body("{}");
    let response = send(unknown).await;
    assert_eq!(response.status, 415);
    assert_eq!(response.headers[ACCEPT_ENCODING], "gzip, deflate");
}

#[tokio::test]
async fn every_kind_of_failure_has_its_status_and_its_place() {
    for kind in Kind::ALL {
        let scripted = Scripted {
            failure: Some(("bad", Error::new(kind, "what happened"))),
            ..Default::default()
        };
        let server = server(scripted).await;
        let body = json!({"inputs": [
            {"name": "image", "shape": [2], "datatype": "BYTES", "data": ["good", "bad"]}
        ]});
        let response = send(server.infer().json(&body)).await;
        assert_eq!(response.status, kind.http_status().as_u16());
        assert_eq!(response.error(), "image[1]: what happened");
    }
}

#[tokio::test]
async fn what_is_wrong_is_400_and_said() {
    let server = server(Scripted::default()).await;
    let cases = [
        ("", "is empty"),
        ("{", "not JSON"),
        ("[]", "must be a JSON object"),
        ("{}", "inputs is missing"),
        (r#"{"inputs":[]}"#, "no input is given"),
        (
            r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}"#,
            "no input \"x\"",
        ),
        (
            r#"{"inputs":[{"name":"input.1","shape":[1],"datatype":"FP32","data":[1]}]}"#,
            "[-1, 1, 2, 2] is expected",
        ),
        (
            r#"{"inputs":[{"name":"input.1","shape":[1,1,2,2],"datatype":"FP32","data":[1]}]}"#,
            "4 raw bytes where the shape needs 16",
        ),
        (
            r#"{"inputs":[{"name":"input.1","shape":[1],"datatype":"INT8","data":[1]}]}"#,
            "FP32 is expected",
        ),
        (
            r#"{"inputs":[{"name":"image","shape":[2],"datatype":"BYTES","data":["a"]}]}"#,
            "1 elements where the shape says 2",
        ),
    ];
    for (body, text) in cases {
        let response = send(server.infer().body(body)).await;
        assert_eq!(response.status, 400, "{body}");
        assert!(
            response.error().contains(text),
            "{body}: {}",
            response.error()
        );
    }
    let region = r#"{"inputs":[{"name":"input.1","shape":[1,1,2,2],"datatype":"FP32",
        "parameters":{"shared_memory_region":"a","shared_memory_byte_size":16}}]}"#;
    let response = send(server.infer().body(region)).await;
    assert_eq!(response.status, 501);
    assert_eq!(
        send(server.infer().body(tensor().to_string())).await.status,
        200
    );
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413_by_the_flag() {
    let server = server(Scripted::default()).await;
    let response = send(server.infer().body(vec![b' '; 200_000])).await;
    assert_eq!(response.status, 413);
    assert!(response.error().contains("--max_body_bytes"));
}
