//! Splitting, the permits, the queue, the deadline.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{World, grey, grey_of, item, multi, score_of_grey, single};

#[tokio::test]
async fn a_batch_beyond_the_predictors_is_split_and_stays_in_order() {
    let world = World::new().await;
    let images: Vec<_> = (0..33).map(grey).collect();
    let expected: Vec<_> = (0..33).map(score_of_grey).collect();
    assert_eq!(world.scores(&images).await, expected);
    let mut batches = world.triton.observed().batches;
    batches.sort();
    assert_eq!(batches, [1, 32]);
}

#[tokio::test]
async fn never_more_calls_than_permits() {
    let flags = ["--concurrency=8", "--queue_timeout_ms=60000"];
    let world = World::with(&flags, |script| {
        script.delay = Duration::from_millis(5);
    })
    .await;
    let bodies: Vec<_> = (0..250).map(|value| single(&item(&grey(value)))).collect();
    let responses = join_all((0..500).map(|n| world.predict(bodies[n % 250].clone()))).await;
    for (n, response) in responses.iter().enumerate() {
        assert_eq!(response.status, 200, "{}", response.text);
        assert_eq!(response.scores(), [score_of_grey((n % 250) as u8)]);
    }
    let observed = world.triton.observed();
    assert_eq!((observed.calls, observed.max_in_flight), (500, 8));
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_an_empty_one_takes_any_batch() {
    let world = World::with(&["--queue=4"], |script| script.hold = true).await;
    let images = vec![grey(1); 6];
    let held = tokio::spawn({
        let request = world
            .client
            .post(world.url("/v1/models/facequality:predict"));
        async move { request.body(multi(&images)).send().await.unwrap().status() }
    });
    world.triton.wait(|observed| observed.in_flight == 1).await;
    let response = world.predict(single(&item(&grey(1)))).await;
    assert_eq!(response.status, 429);
    assert!(response.error().contains("--queue 4"), "{}", response.text);
    assert_eq!(response.headers["retry-after"], "1");
    world.triton.set(|script| script.hold = false);
    assert_eq!(held.await.unwrap(), 200);
    assert_eq!(world.scores(&[grey(1)]).await, [score_of_grey(1)]);
}

#[tokio::test]
async fn the_deadline_is_kept_and_the_call_cancelled() {
    let flags = ["--predictor_request_timeout_seconds=0.3"];
    let world = World::with(&flags, |script| script.hold = true).await;
    let response = world.predict(single(&item(&grey(1)))).await;
    assert_eq!(response.status, 504, "{}", response.text);
    world.triton.wait(|observed| observed.canceled == 1).await;
    assert!(world.triton.observed().grpc_timeout().is_some());
}

#[tokio::test]
async fn a_caller_who_leaves_cancels_the_call() {
    let world = World::with(&[], |script| script.hold = true).await;
    let request = world
        .client
        .post(world.url("/v1/models/facequality:predict"));
    let call = tokio::spawn(request.body(single(&item(&grey(1)))).send());
    world.triton.wait(|observed| observed.in_flight == 1).await;
    call.abort();
    world.triton.wait(|observed| observed.canceled == 1).await;
}

#[tokio::test]
async fn a_full_queue_refuses_before_the_body() {
    let world = World::with(&["--queue=1"], |script| script.hold = true).await;
    let request = world
        .client
        .post(world.url("/v1/models/facequality:predict"));
    let held = tokio::spawn(request.body(single(&item(&grey(1)))).send());
    world.triton.wait(|observed| observed.in_flight == 1).await;
    let mut stream = TcpStream::connect(world.service.http).await.unwrap();
    // Of the body nothing is sent.
    let head = "POST /v1/models/facequality:predict HTTP/1.1\r\nhost: x\r\n\
                content-length: 26000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(status, *b"HTTP/1.1 429");
    // No more than the tensor of the one that is held.
    let metrics = world.get("/metrics").await.text;
    let tensor = "facequality_bytes_in_flight 150528";
    assert!(metrics.contains(tensor), "{metrics}");
    let mut client = super::errors::grpc(&world).await;
    let image = super::errors::image_request("facequality", &grey(1));
    let refused = client.model_infer(image).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    assert_eq!(
        refused.metadata().get("grpc-retry-pushback-ms").unwrap(),
        "1000"
    );
    world.triton.set(|script| script.hold = false);
    assert_eq!(held.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn under_overload_what_is_admitted_is_served() {
    let flags = [
        "--concurrency=2",
        "--pixel_threads=1",
        "--queue_timeout_ms=500",
    ];
    let world = World::with(&flags, |script| {
        script.delay = Duration::from_millis(50);
    })
    .await;
    let body = single(&item(&grey(1)));
    // Forty in a second is what two calls of 50 ms give; this is ten times as much.
    let mut calls = Vec::new();
    for _ in 0..800 {
        let request = world
            .client
            .post(world.url("/v1/models/facequality:predict"))
            .body(body.clone());
        calls.push(tokio::spawn(async move {
            request.send().await.unwrap().status().as_u16()
        }));
        tokio::time::sleep(Duration::from_micros(2500)).await;
    }
    let mut served = 0;
    for call in calls {
        match call.await.unwrap() {
            200 => served += 1,
            status => assert_eq!(status, 429),
        }
    }
    // Two seconds of load and the queue of half a second: a hundred at best.
    assert!(served >= 50, "{served} were served");
    let calls = world.triton.observed().calls;
    assert_eq!(
        calls, served,
        "what is refused is not sent to the predictor"
    );
}

#[tokio::test]
async fn the_pixels_of_a_request_are_bounded_together() {
    let flags = ["--max_request_pixels=1000", "--pixel_threads=1"];
    let world = World::with(&flags, |_| ()).await;
    // Images of 256 pixels. Known from their headers, or as they are decoded: with a space inside,
    // base64 is not looked into before.
    let response = world.predict(multi(&vec![grey(1); 10])).await;
    assert_eq!(response.status, 400, "{}", response.text);
    let error = response.error();
    assert!(error.contains("have 2560 pixels"), "{error}");
    let spaced = multi(&vec![grey(1); 10]).replace("base64,iVBOR", "base64,iVB OR");
    let error = world.predict(spaced).await.error();
    assert!(error.contains("multi_data[3]"), "{error}");
    assert!(error.contains("--max_request_pixels"), "{error}");
    assert_eq!(world.scores(&vec![grey(1); 3]).await.len(), 3);
}

/// A WebP of one colour whose header says so many pixels on each side; its 38 bytes are not decoded
/// where this is used.
fn webp(side: u32) -> Vec<u8> {
    let mut file = b"RIFF\x1E\0\0\0WEBPVP8L\x11\0\0\0\x2F".to_vec();
    file.extend_from_slice(&((side - 1) | (side - 1) << 14).to_le_bytes());
    file.resize(38, 0);
    file
}

#[tokio::test]
async fn small_files_of_large_images_are_refused_by_their_headers() {
    let world = World::new().await;
    let response = world.predict(multi(&vec![webp(6320); 128])).await;
    assert_eq!(response.status, 400, "{}", response.text);
    let pixels = 128 * 6320 * 6320_u64;
    let error = response.error();
    assert!(error.contains(&format!("have {pixels} pixels")), "{error}");
    // One that is refused for itself does not count.
    let error = world.predict(multi(&[webp(16_000)])).await.error();
    assert!(error.contains("--max_pixels"), "{error}");
}

#[tokio::test]
async fn pixels_in_flight_are_bounded_over_all_requests() {
    let flags = ["--max_pixels_in_flight=1", "--pixel_threads=1"];
    let world = std::sync::Arc::new(World::with(&flags, |_| ()).await);
    // Alone, any request is taken.
    assert_eq!(world.scores(&[grey(1)]).await, [score_of_grey(1)]);
    let long = {
        let world = std::sync::Arc::clone(&world);
        let images = vec![grey_of(2000, 3); 100];
        tokio::spawn(async move { world.predict(multi(&images)).await })
    };
    let gauge = || async {
        let metrics = world.get("/metrics").await.text;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("facequality_pixels_in_flight "));
        line.unwrap().parse::<u64>().unwrap()
    };
    while gauge().await == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let response = world.predict(multi(&[grey(1)])).await;
    assert_eq!(response.status, 429, "{}", response.text);
    assert_eq!(response.headers["retry-after"], "1");
    let error = response.error();
    assert!(error.contains("--max_pixels_in_flight 1"), "{error}");
    assert!(error.contains("400000000 pixels are in flight"), "{error}");
    assert_eq!(long.await.unwrap().status, 200);
    assert_eq!(gauge().await, 0);
}
