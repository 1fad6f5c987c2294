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
