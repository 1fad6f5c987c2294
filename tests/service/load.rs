//! Splitting, the permits, the queue, the deadline.

use std::time::Duration;

use futures_util::future::join_all;

use crate::world::{World, grey, item, multi, score_of_grey, single};

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
    let world = World::with(&["--concurrency=8"], |script| {
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
