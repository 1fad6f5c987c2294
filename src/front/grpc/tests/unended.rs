//! Callers that do not end what they begin, and small messages beside large ones.

use super::raw_http2::{GOAWAY, HEADERS, RST_STREAM};
use super::*;
use crate::wire::grpc::encode;
use crate::wire::triton::ServerLiveRequest;

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const STREAM_INFER: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

/// A call whose body sends these bytes and then neither more nor an end.
fn unended(path: &str, timeout: Option<&str>, bytes: Bytes) -> Request<tonic::body::Body> {
    let first = stream::iter([Ok::<_, Status>(http_body::Frame::data(bytes))]);
    let body = http_body_util::StreamBody::new(first.chain(stream::pending()));
    let mut request = Request::new(tonic::body::Body::new(body));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = path.parse().unwrap();
    let headers = request.headers_mut();
    headers.insert("content-type", "application/grpc".parse().unwrap());
    if let Some(timeout) = timeout {
        headers.insert("grpc-timeout", timeout.parse().unwrap());
    }
    request
}

/// The status of a response of headers alone.
fn failure(response: &Response<tonic::body::Body>) -> Status {
    Status::from_header_map(response.headers()).unwrap()
}

#[tokio::test]
async fn a_whole_message_runs_though_its_stream_is_not_ended() {
    let settings = settings(1 << 20);
    let metrics = Arc::clone(&settings.observer.metrics);
    let mut routes = routes_of(&Arc::default(), settings);
    let message = encode(&images(&[&[7; 100_000]]));
    let response = routes.call(unended(INFER, None, message)).await.unwrap();
    assert!(!response.headers().contains_key("grpc-status"));
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(metrics.bytes_in_flight.get(), 0);
}

#[tokio::test]
async fn a_stream_that_is_ended_behind_its_response_counts_against_nobody() {
    let server = start(Scripted::default()).await;
    let mut peer = RawHttp2::connect(server.address).await;
    let message = encode(&images(&[b"1"]));
    // h2 closes a connection after 1024 streams that it had to reset.
    for call in 0..1100 {
        let stream = 2 * call + 1;
        peer.headers(stream, INFER, false).await;
        peer.data(stream, &message, false).await;
        // The response's head and its trailers.
        let mut heads = 0;
        while heads < 2 {
            let frame = peer.frame().await;
            assert!(
                !matches!(frame, None | Some(RST_STREAM | GOAWAY)),
                "{frame:?} in call {call}"
            );
            heads += usize::from(frame == Some(HEADERS));
        }
        peer.data(stream, &[], true).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_never_ended_is_reset_behind_its_response() {
    let server = start(Scripted::default()).await;
    let mut peer = RawHttp2::connect(server.address).await;
    peer.headers(1, INFER, false).await;
    peer.data(1, &encode(&images(&[b"1"])), false).await;
    let before = tokio::time::Instant::now();
    assert!(peer.read_until(RST_STREAM).await);
    assert!(before.elapsed() >= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_stops_on_its_way_is_given_up() {
    let mut routes = routes_of(&Arc::default(), settings(1000));
    // The header of 100 bytes and three of them.
    let first = Bytes::from_static(&[0, 0, 0, 0, 100, 1, 2, 3]);
    let response = routes.call(unended(INFER, None, first)).await.unwrap();
    let status = failure(&response);
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(
        status.message().contains("--body_read_timeout_seconds"),
        "{status}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_message_ends_by_its_deadline() {
    let mut routes = routes_of(&Arc::default(), settings(1000));
    for (path, timeout) in [
        (INFER, None),
        (INFER, Some("1S")),
        (STREAM_INFER, Some("1S")),
    ] {
        let request = unended(path, timeout, Bytes::new());
        let response = routes.call(request).await.unwrap();
        let status = match Status::from_header_map(response.headers()) {
            Some(status) => status,
            None => {
                let body = response.into_body().collect().await.unwrap();
                Status::from_header_map(body.trailers().unwrap()).unwrap()
            }
        };
        assert_eq!(status.code(), Code::DeadlineExceeded, "{path} {timeout:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_for_its_bytes_ends_by_its_deadline() {
    let mut settings = settings(1 << 20);
    settings.body.budget = ByteBudget::new(1, Duration::MAX, &settings.observer.metrics);
    let _held = settings.body.budget.reserve(1).await.unwrap();
    let mut routes = routes_of(&Arc::default(), settings);
    let message = encode(&images(&[&[7; 100_000]]));
    let request = unended(INFER, Some("1S"), message);
    let response = routes.call(request).await.unwrap();
    assert_eq!(failure(&response).code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn small_messages_do_not_wait_behind_large_ones() {
    let mut settings = settings(1 << 20);
    settings.body.budget = ByteBudget::new(1, Duration::MAX, &settings.observer.metrics);
    let budget = settings.body.budget.clone();
    let _held = budget.reserve(1).await.unwrap();
    let _waiting = tokio::spawn(async move { budget.reserve(100_000).await });
    let server = start_with_settings(Scripted::default(), settings, None).await;
    let mut client = server.client();
    client.server_live(ServerLiveRequest {}).await.unwrap();
    HealthClient::new(server.channel.clone())
        .check(HealthCheckRequest::default())
        .await
        .unwrap();
    client.model_infer(images(&[&[7; 1000]])).await.unwrap();
}

#[tokio::test]
async fn what_is_inflated_never_waits_for_its_bytes() {
    let mut settings = settings(1 << 20);
    settings.body.budget = ByteBudget::new(1, Duration::MAX, &settings.observer.metrics);
    let _held = settings.body.budget.reserve(1).await.unwrap();
    let server = start_with_settings(Scripted::default(), settings, None).await;
    let mut client = server.client().send_compressed(CompressionEncoding::Gzip);
    let refused = client.model_infer(images(&[&[7; 100_000]])).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(
        refused.message().contains("--max_bytes_in_flight"),
        "{refused}"
    );
    client.model_infer(images(&[&[7; 1000]])).await.unwrap();
}

#[tokio::test]
async fn what_is_refused_before_its_handler_is_counted() {
    let settings = settings(1000);
    let metrics = Arc::clone(&settings.observer.metrics);
    let server = start_with_settings(Scripted::default(), settings, None).await;
    let mut client = server.client();
    client.model_infer(images(&[b"1"])).await.unwrap();
    client.model_infer(images(&[&[7; 2000]])).await.unwrap_err();
    let mut crowded = images(&[b"1"]);
    crowded.outputs = vec![output("score"); 65];
    let refused = client.model_infer(crowded).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("64 outputs"), "{refused}");
    let infer = endpoint::grpc("/inference.GRPCInferenceService/ModelInfer");
    let count = |code| metrics.responses(infer, code).get();
    let codes = ["OK", "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT"];
    assert_eq!(codes.map(count), [1; 3]);
}
