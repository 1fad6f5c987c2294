//! Refusals for want of room, each by its reason; and the gauges meanwhile.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::Code;

use super::ledger::{GRPC, Ledger, V1};
use super::{MODEL, grpc, hurried, image_request};
use crate::world::{World, grey, item, page, single};

/// A prediction that the scripted Triton holds.
fn hold(ledger: &Ledger, body: Vec<u8>) -> JoinHandle<u16> {
    let url = ledger.world.url("/v1/models/facequality:predict");
    let request = ledger.world.client.post(url).body(body);
    tokio::spawn(async move { request.send().await.unwrap().status().as_u16() })
}

/// Lets those that are held be answered.
async fn release(ledger: &mut Ledger, held: Vec<JoinHandle<u16>>) {
    ledger.world.triton.set(|script| script.hold = false);
    for call in held {
        assert_eq!(call.await.unwrap(), 200);
        ledger.prediction(V1, MODEL, "ok");
        ledger.response(V1, "200");
        ledger.call("ok");
        ledger.images("score", 1);
    }
    ledger.balance("those that were held").await;
}

/// Has a prediction refused for want of room over either protocol. Over gRPC it is counted for this
/// model, which is none where a request is refused before its message is read.
async fn refused(ledger: &mut Ledger, image: &[u8], reason: &str, grpc_model: &str) {
    assert_eq!(ledger.world.predict(image.to_vec()).await.status, 429);
    ledger.error(V1, MODEL, "internal", reason);
    ledger.response(V1, "429");
    let mut client = grpc(&ledger.world).await;
    let refused = client.model_infer(image_request(MODEL, image)).await;
    assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
    ledger.error(GRPC, grpc_model, "internal", reason);
    ledger.response(GRPC, "RESOURCE_EXHAUSTED");
    ledger.balance(reason).await;
}

async fn ledger(flags: &[&str]) -> Ledger {
    Ledger::open(World::with(flags, |script| script.hold = true).await).await
}

#[tokio::test]
async fn a_full_queue() {
    let ledger = &mut ledger(&["--queue=1"]).await;
    let held = hold(ledger, grey(1));
    ledger
        .world
        .triton
        .wait(|observed| observed.in_flight == 1)
        .await;
    let gauges = page(&ledger.world.get("/metrics").await.text);
    assert_eq!(gauges["facequality_images_in_flight"], 1.0);
    assert_eq!(gauges["facequality_limit{flag=\"queue\"}"], 1.0);
    assert!(gauges["facequality_connections_open"] >= 1.0);
    refused(ledger, &grey(1), "queue_full", "").await;
    release(ledger, vec![held]).await;
}

#[tokio::test]
async fn a_request_that_cannot_begin_in_time() {
    // One call in flight and two that are prepared: the fourth waits.
    let flags = [
        "--concurrency=1",
        "--pixel_threads=1",
        "--queue_timeout_ms=300",
    ];
    let ledger = &mut ledger(&flags).await;
    let mut held = Vec::new();
    for calls in 1..=3 {
        held.push(hold(ledger, grey(1)));
        let images = format!("facequality_images_in_flight {calls}");
        while !ledger.world.get("/metrics").await.text.contains(&images) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    // Another model would take it: which one it is for, only its message tells.
    refused(ledger, &grey(1), "queue_wait", MODEL).await;
    release(ledger, held).await;
}

#[tokio::test]
async fn no_permit_until_the_deadline() {
    let ledger = &mut ledger(&["--concurrency=1"]).await;
    let held = hold(ledger, grey(1));
    ledger
        .world
        .triton
        .wait(|observed| observed.in_flight == 1)
        .await;
    let mut client = grpc(&ledger.world).await;
    client.model_infer(hurried(&grey(1))).await.unwrap_err();
    ledger.error(GRPC, MODEL, "internal", "no_permit");
    ledger.response(GRPC, "DEADLINE_EXCEEDED");
    ledger.call("no_permit");
    ledger.balance("no permit until the deadline").await;
    release(ledger, vec![held]).await;
}

#[tokio::test]
async fn no_bytes() {
    let flags = ["--max_bytes_in_flight=200000", "--queue_timeout_ms=300"];
    let ledger = &mut ledger(&flags).await;
    // What follows an image's end is not looked at.
    let mut large = grey(1);
    large.resize(150_000, 0);
    let held = hold(ledger, large.clone());
    ledger
        .world
        .triton
        .wait(|observed| observed.in_flight == 1)
        .await;
    refused(ledger, &large, "no_bytes", "").await;
    release(ledger, vec![held]).await;
}

/// A host whose responses do not come, and what a request names for an image of it.
async fn silent_host() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/image", listener.local_addr().unwrap());
    (listener, url)
}

const ALLOWED: &str = "--item_url_allow=127.0.0.1/32";

#[tokio::test]
async fn no_pixels() {
    let flags = [ALLOWED, "--max_pixels_in_flight=1"];
    let ledger = &mut Ledger::open(World::with(&flags, |_| ()).await).await;
    let (host, url) = silent_host().await;
    // The pixels of one image are in flight while the other one is fetched.
    let body = json!({"multi_data": [
        {"data": {"item": item(&grey(1))}},
        {"data": {"item": url}},
    ]});
    let held = hold(ledger, body.to_string().into_bytes());
    let (connection, _) = host.accept().await.unwrap();
    let pixels = "facequality_pixels_in_flight 256";
    while !ledger.world.get("/metrics").await.text.contains(pixels) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    refused(ledger, &grey(1), "no_pixels", MODEL).await;
    drop((connection, host));
    assert_eq!(held.await.unwrap(), 502);
    ledger.error(V1, MODEL, "item", "item_unreachable");
    ledger.response(V1, "502");
    ledger.fetches("url", "unreachable", 1);
    ledger.balance("the request that had them").await;
}

#[tokio::test]
async fn out_of_time_before_the_predictor_is_called() {
    let ledger = &mut Ledger::open(World::with(&[ALLOWED], |_| ()).await).await;
    let (_host, url) = silent_host().await;
    let request = ledger
        .world
        .client
        .post(ledger.world.url("/v1/models/facequality:predict"));
    let hurried_rest = request.header("x-request-timeout-ms", "200");
    let response = hurried_rest.body(single(&url)).send().await.unwrap();
    assert_eq!(response.status(), 504);
    ledger.error(V1, MODEL, "internal", "deadline");
    ledger.response(V1, "504");
    let mut client = grpc(&ledger.world).await;
    let late = client.model_infer(hurried(url.as_bytes())).await;
    assert_eq!(late.unwrap_err().code(), Code::DeadlineExceeded);
    ledger.error(GRPC, MODEL, "internal", "deadline");
    ledger.response(GRPC, "DEADLINE_EXCEEDED");
    ledger.fetches("url", "canceled", 2);
    ledger.balance("out of time").await;
}

#[tokio::test]
async fn a_body_that_does_not_arrive() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let flags = ["--body_read_timeout_seconds=1"];
    let ledger = &mut Ledger::open(World::with(&flags, |_| ()).await).await;
    let mut stream = tokio::net::TcpStream::connect(ledger.world.service.http)
        .await
        .unwrap();
    let head =
        "POST /v1/models/facequality:predict HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(status, *b"HTTP/1.1 408");
    ledger.error(V1, MODEL, "caller", "slow_body");
    ledger.response(V1, "408");
    ledger.balance("a body that does not arrive").await;
}
