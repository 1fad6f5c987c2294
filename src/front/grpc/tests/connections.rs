//! Callers that leave, connections that age, and the drain.

use super::*;

#[tokio::test]
async fn a_caller_that_leaves_ends_the_work() {
    let scripted = Scripted {
        gate: Some(Semaphore::new(0)),
        ..Default::default()
    };
    let server = start(scripted).await;
    let mut client = server.client();
    let call = tokio::spawn(async move { client.model_infer(images(&[b"1"])).await });
    until(|| server.scripted.in_flight.load(Ordering::SeqCst) == 1).await;
    call.abort();
    until(|| server.scripted.in_flight.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way() {
    let scripted = Scripted {
        gate: Some(Semaphore::new(0)),
        ..Default::default()
    };
    let server = start(scripted).await;
    let mut client = server.client();
    let call = tokio::spawn(async move { client.model_infer(images(&[b"1"])).await });
    until(|| server.scripted.in_flight.load(Ordering::SeqCst) == 1).await;
    let mut health = HealthClient::new(server.channel.clone());
    let watch = health.watch(HealthCheckRequest::default()).await.unwrap();
    server.scripted.draining.store(true, Ordering::SeqCst);
    server.shutdown.enter(Phase::Closing);
    server.scripted.gate.as_ref().unwrap().add_permits(1);
    call.await.unwrap().unwrap();
    assert_eq!(watch.into_inner().collect::<Vec<_>>().await.len(), 1);
    server.done.await.unwrap();
}

#[tokio::test]
async fn an_open_stream_ends_with_the_drain_behind_what_is_due() {
    let scripted = Scripted {
        gate: Some(Semaphore::new(0)),
        ..Default::default()
    };
    let server = start(scripted).await;
    let requests = stream::iter([images(&[b"1"])]).chain(stream::pending());
    let mut client = server.client();
    let responses = client.model_stream_infer(requests).await.unwrap();
    until(|| server.scripted.in_flight.load(Ordering::SeqCst) == 1).await;
    server.scripted.draining.store(true, Ordering::SeqCst);
    server.shutdown.enter(Phase::Closing);
    server.scripted.gate.as_ref().unwrap().add_permits(1);
    let responses: Vec<_> = responses.into_inner().collect().await;
    assert_eq!(responses.len(), 2);
    assert_eq!(responses[0].as_ref().unwrap().error_message, "");
    let ended = responses[1].as_ref().unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    server.done.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_vanished_does_not_keep_its_place() {
    let server = start(Scripted::default()).await;
    let mut peer = RawHttp2::connect(server.address).await;
    peer.is_alive = false;
    watch(&mut peer).await;
    while peer.frame().await.is_some() {}
}

/// Watches the server's health, which could last for ever.
async fn watch(peer: &mut RawHttp2) {
    peer.headers(1, "/grpc.health.v1.Health/Watch", false).await;
    peer.data(1, &[0, 0, 0, 0, 0], true).await;
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_never_read_is_reset() {
    let server = start(Scripted::default()).await;
    let no_window = [(4, 0)];
    let mut peer = RawHttp2::connect_with(server.address, &no_window).await;
    watch(&mut peer).await;
    assert!(peer.read_until(raw_http2::RST_STREAM).await);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_read_lives_on() {
    let server = start(Scripted::default()).await;
    let mut peer = RawHttp2::connect(server.address).await;
    watch(&mut peer).await;
    assert!(peer.read_until(raw_http2::DATA).await);
    let served = tokio::time::timeout(
        Duration::from_secs(600),
        peer.read_until(raw_http2::RST_STREAM),
    );
    assert!(served.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_has_the_idle_time() {
    let server = start(Scripted::default()).await;
    let mut peer = RawHttp2::connect(server.address).await;
    let closed = tokio::time::timeout(Duration::from_secs(70), peer.read_until(raw_http2::GOAWAY));
    assert!(closed.await.is_err());
    watch(&mut peer).await;
    assert!(peer.read_until(raw_http2::DATA).await);
}

#[tokio::test]
async fn a_request_that_crosses_the_goaway_is_finished() {
    let scripted = Scripted {
        gate: Some(Semaphore::new(0)),
        ..Default::default()
    };
    let soon_idle = ConnectionSettings {
        idle_timeout: Duration::from_millis(100),
        ..connections()
    };
    let server = start_with_connections(scripted, settings(1000), soon_idle).await;
    let mut peer = RawHttp2::connect(server.address).await;
    peer.is_alive = false;
    assert!(peer.read_until(raw_http2::GOAWAY).await);
    peer.headers(1, "/inference.GRPCInferenceService/ModelInfer", false)
        .await;
    peer.data(1, &crate::wire::grpc::encode(&images(&[b"1"])), true)
        .await;
    until(|| server.scripted.in_flight.load(Ordering::SeqCst) == 1).await;
    // Longer than a connection that is told to close may take without a request.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    server.scripted.gate.as_ref().unwrap().add_permits(1);
    assert!(peer.read_until(raw_http2::HEADERS).await);
    assert!(peer.read_until(raw_http2::DATA).await);
}

#[tokio::test]
async fn an_old_connection_is_asked_to_go() {
    let age = Some(Duration::from_millis(50));
    let server = start_with(Scripted::default(), 1 << 20, age).await;
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
