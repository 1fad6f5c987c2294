//! What is HTTP's and not the protocol's: connections, heads, methods, paths, deadlines.

use super::*;

#[tokio::test]
async fn a_caller_that_closes_its_side_gets_its_response() {
    let scripted = Scripted {
        gate: Some(Semaphore::new(0)),
        ..Default::default()
    };
    let server = server(scripted).await;
    let mut stream = TcpStream::connect(server.base.trim_start_matches("http://"))
        .await
        .unwrap();
    let body = tensor().to_string();
    let head = format!(
        "POST /v2/models/faces/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    while server.scripted.in_flight.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    server.scripted.gate.as_ref().unwrap().add_permits(1);
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
}

#[tokio::test]
async fn while_draining_each_response_says_close() {
    let server = server(Scripted::default()).await;
    let live = server.get("/v2/health/live").await;
    assert!(!live.headers.contains_key("connection"));
    server.shutdown.enter(Phase::Draining);
    for _ in 0..3 {
        let live = server.get("/v2/health/live").await;
        assert_eq!(live.status, 200);
        assert_eq!(live.headers["connection"], "close");
    }
}

#[tokio::test]
async fn a_head_beyond_its_limit_is_refused() {
    let server = server(Scripted::default()).await;
    for (bytes, status) in [(60_000, 200), (70_000, 431)] {
        let request = server.request(Method::GET, "/v2/health/live");
        let response = send(request.header("x-long", "x".repeat(bytes))).await;
        assert_eq!(response.status, status);
    }
}

#[tokio::test]
async fn the_callers_deadline_is_kept_however_it_is_told() {
    let scripted = Scripted {
        gate: Some(Semaphore::new(0)),
        ..Default::default()
    };
    let server = server(scripted).await;
    let mut timed = tensor();
    timed["parameters"] = json!({"timeout": 50_000, "priority": 3});
    let by_header = server.infer().json(&tensor());
    for request in [
        server.infer().json(&timed),
        by_header.header("x-request-timeout-ms", "50"),
    ] {
        let response = send(request).await;
        assert_eq!(response.status, 504, "{}", response.error());
    }
    let runs = server.scripted.runs.lock().unwrap();
    let priorities: Vec<_> = runs.iter().map(|(_, context)| context.priority).collect();
    assert_eq!(priorities, [Some(3), None]);
}

#[tokio::test]
async fn head_is_taken_wherever_get_is() {
    let server = server(Scripted::default()).await;
    for path in [
        "/v2",
        "/v2/health/ready",
        "/v2/models/faces/config",
        "/metrics",
    ] {
        let get = server.get(path).await;
        let head = send(server.request(Method::HEAD, path)).await;
        assert_eq!(head.status, 200, "{path}");
        assert!(head.body.is_empty());
        assert_eq!(head.headers[CONTENT_TYPE], get.headers[CONTENT_TYPE]);
        if path != "/metrics" {
            let length = get.body.len().to_string();
            assert_eq!(head.headers["content-length"], length, "{path}");
        }
    }
    let infer = send(server.request(Method::HEAD, "/v2/models/faces/infer")).await;
    assert_eq!(infer.status, 405);
}

#[tokio::test]
async fn paths_are_decoded_once() {
    let server = server(Scripted::default()).await;
    for (path, status) in [
        ("/v2/models/f%61ces", 200),
        ("/v2/models/f%2561ces", 404),
        ("/v2/models/gr%C3%B6%C3%9Fe", 404),
        ("/v2/models/%ff", 404),
    ] {
        assert_eq!(server.get(path).await.status, status, "{path}");
    }
    let text = server.get("/v2/models/gr%C3%B6%C3%9Fe").await.error();
    assert!(text.contains("größe"), "{text}");
}

#[tokio::test]
async fn grpc_is_taken_over_http2_and_in_protobuf_alone() {
    let server = server(Scripted::default()).await;
    let path = "/inference.GRPCInferenceService/ServerLive";
    for (content_type, status) in [
        ("application/grpc", 505),
        ("application/grpc+json", 415),
        ("application/grpc-web+proto", 415),
    ] {
        let request = server.request(Method::POST, path);
        let response = send(request.header(CONTENT_TYPE, content_type)).await;
        assert_eq!(response.status, status, "{content_type}");
        assert!(response.error().contains("gRPC"));
    }
}

#[tokio::test]
async fn a_byte_order_mark_is_skipped() {
    let server = server(Scripted::default()).await;
    let body = format!("\u{feff}{}", tensor());
    assert_eq!(send(server.infer().body(body)).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_408() {
    let server = server(Scripted::default()).await;
    let address = server.base.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /v2/models/faces/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(status, *b"HTTP/1.1 408");
}

#[tokio::test]
async fn a_body_may_be_the_contents_of_the_input() {
    let images = server(Scripted::default()).await;
    let tensors = Scripted {
        max_batch: 2,
        ..Default::default()
    };
    let tensors = server(tensors).await;
    let values = [0.5f32, 0.0, 0.0, 0.0].map(f32::to_le_bytes).concat();
    let cases = [
        (&images, b"\xff\xd8\xff12".to_vec(), 200, 5.0),
        (&tensors, values, 200, 0.5),
        (&tensors, vec![0; 15], 400, 0.0),
    ];
    for (server, body, status, score) in cases {
        let request = server.infer().header(v2::JSON_LENGTH, 0).body(body);
        let response = send(request).await;
        assert_eq!(response.status, status);
        if status == 200 {
            assert_eq!(response.json()["outputs"][0]["data"], json!([score]));
        }
    }
}

#[tokio::test]
async fn pages_of_allowed_origins_may_read_responses() {
    let server = server(Scripted::default()).await;
    for (origin, allowed) in [
        ("https://page.test", Some("https://page.test")),
        ("https://other.test", None),
    ] {
        let asked = server.request(Method::OPTIONS, "/v2/models/faces/infer");
        let asked = asked
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type");
        let asked = send(asked).await;
        let got = send(server.infer().json(&tensor()).header("origin", origin)).await;
        assert_eq!(got.status, 200);
        for response in [&asked, &got] {
            let found = response.headers.get("access-control-allow-origin");
            assert_eq!(found.map(|value| value.to_str().unwrap()), allowed);
            assert_eq!(response.headers["vary"], "origin");
        }
        assert_eq!(asked.status == 204, allowed.is_some(), "{}", asked.status);
    }
}
