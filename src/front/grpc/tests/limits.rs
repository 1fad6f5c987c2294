//! Sizes, compression and deadlines.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused_by_the_flag() {
    let server = serve_with(Scripted::default(), 9_000_000, None).await;
    let mut client = server.client();
    let large = vec![7; 8_900_000];
    client.model_infer(images(&[&large])).await.unwrap();
    let larger = vec![7; 75_000_000];
    for _ in 0..3 {
        let refused = client.model_infer(images(&[&larger])).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(refused.message().contains("--max_body_bytes"), "{refused}");
    }
    // The connection lives on.
    client.model_infer(images(&[b"1"])).await.unwrap();
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
        let answer = client.model_infer(images(&[&[7; 100_000]])).await.unwrap();
        assert_eq!(
            values(&answer.get_ref().raw_output_contents[0]),
            [100_000.0]
        );
        let refused = client
            .model_infer(images(&[&[7; 5_000_000]]))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(refused.message().contains("--max_body_bytes"), "{refused}");
    }
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

#[tokio::test]
async fn the_callers_deadline_and_listed_headers_go_on() {
    let scripted = Scripted {
        gate: Some(Semaphore::new(0)),
        ..Default::default()
    };
    let server = serve(scripted).await;
    let mut request = tonic::Request::new(images(&[b"1"]));
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
        metrics: Arc::new(Metrics::new(&[]).unwrap()),
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
