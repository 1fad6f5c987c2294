//! Sizes, compression and deadlines.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused_by_the_flag() {
    let mut settings = settings(9_000_000);
    settings.body.budget = ByteBudget::new(9_000_000, Duration::MAX, &settings.observer.metrics);
    // Beside it a refused message that reserved its bytes would wait for ever.
    let _held = settings.body.budget.reserve(1).await.unwrap();
    let server = start_with_settings(Scripted::default(), settings, None).await;
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
}

#[tokio::test]
async fn compressed_messages_are_inflated_within_the_limit() {
    let server = start(Scripted::default()).await;
    for coding in [CompressionEncoding::Gzip, CompressionEncoding::Deflate] {
        let mut client = server
            .client()
            .send_compressed(coding)
            .accept_compressed(coding);
        let response = client.model_infer(images(&[&[7; 100_000]])).await.unwrap();
        assert_eq!(
            values(&response.get_ref().raw_output_contents[0]),
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
    let server = start(Scripted::default()).await;
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
    let server = start(scripted).await;
    let mut request = tonic::Request::new(images(&[b"1"]));
    let headers = request.metadata_mut();
    headers.insert("grpc-timeout", MetadataValue::from_static("50m"));
    headers.insert("traceparent", MetadataValue::from_static("00-trace"));
    headers.insert("cookie", MetadataValue::from_static("secret"));
    headers.insert("x-request-id", MetadataValue::from_static("42"));
    // Without a channel, which would end the call by itself.
    let mut client = GrpcInferenceServiceClient::new(server.routes.clone());
    let late = client.model_infer(request).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    assert_eq!(late.metadata().get("x-request-id").unwrap(), "42");
    let runs = server.scripted.runs.lock().unwrap();
    let (_, context) = &runs[0];
    assert_eq!(context.id, "mine");
    assert!(context.deadline.remaining().is_zero());
    assert_eq!(context.headers.len(), 2, "{:?}", context.headers);
    assert_eq!(context.headers["traceparent"], "00-trace");
    assert_eq!(context.headers["x-request-id"], "42");
}
