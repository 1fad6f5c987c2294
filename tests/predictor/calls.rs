//! Calls that go well, and answers that are errors.

use std::time::Duration;

use facequality_transformer::observe::timing::Stage;
use facequality_transformer::predictor::{Error, Predictor};
use facequality_transformer::wire::triton::ModelInferResponse;
use futures_util::future::join_all;
use http::HeaderMap;
use tonic::Code;

use super::*;
use crate::world::fake_triton::Fault;

#[tokio::test]
async fn scores_come_in_order() {
    let triton = triton().await;
    let predictor = ready(&settings(&triton.host())).await;
    for count in [1, 2, 32] {
        let expected: Vec<_> = (5..5 + count).map(|row| row as f32).collect();
        assert_eq!(scores(&predictor, 5, count).await.unwrap(), expected);
    }
    assert_eq!(triton.seen().batches, [1, 2, 32]);
}

#[tokio::test]
async fn typed_contents_are_read_as_well() {
    let triton = triton().await;
    triton.set(|script| script.typed = true);
    let predictor = ready(&settings(&triton.host())).await;
    assert_eq!(scores(&predictor, 3, 2).await.unwrap(), [3.0, 4.0]);
}

#[tokio::test]
async fn id_headers_and_deadline_go_along() {
    let triton = triton().await;
    let predictor = ready(&settings(&triton.host())).await;
    let mut headers = HeaderMap::new();
    headers.insert("x-request-id", "r-1".parse().unwrap());
    headers.insert("traceparent", "00-1-2-01".parse().unwrap());
    headers.append("baggage", "a=1".parse().unwrap());
    headers.append("baggage", "b=2".parse().unwrap());
    let mut context = context(Duration::from_secs(9));
    context.headers = headers;
    predictor.infer(rows(1, 1), &context).await.unwrap();
    assert!(context.timings.get(Stage::Permit).is_some());
    let seen = triton.seen();
    assert_eq!(seen.id, "r-1");
    assert_eq!(seen.headers["x-request-id"], "r-1");
    assert_eq!(seen.headers["traceparent"], "00-1-2-01");
    let baggage: Vec<_> = seen.headers.get_all("baggage").iter().collect();
    assert_eq!(baggage, ["a=1", "b=2"]);
    let timeout = seen.grpc_timeout().unwrap().strip_suffix('u').unwrap();
    let timeout = Duration::from_micros(timeout.parse().unwrap());
    assert!(timeout <= Duration::from_secs(9) && timeout > Duration::from_secs(5));
}

#[tokio::test]
async fn never_more_calls_than_permits() {
    let triton = triton().await;
    let mut settings = settings(&triton.host());
    settings.concurrency = 8;
    let metrics = metrics();
    let predictor = Predictor::remote(&settings, signature(), metrics.clone()).unwrap();
    wait_ready(&predictor).await;
    triton.set(|script| script.delay = Duration::from_millis(2));
    let calls = (0..500).map(|row| scores(&predictor, row, 1));
    for (row, score) in join_all(calls).await.into_iter().enumerate() {
        assert_eq!(score.unwrap(), [row as f32]);
    }
    assert_eq!(triton.seen().max_in_flight, 8);
    assert_eq!(metrics.calls_in_flight.get(), 0);
    assert_eq!(metrics.calls.with_label_values(&["ok"]).get(), 500);
}

#[tokio::test]
async fn a_stream_limit_below_the_permits_fails_no_call() {
    let triton = triton().await;
    triton.set(|script| {
        script.max_streams = Some(4);
        script.delay = Duration::from_millis(2);
    });
    let predictor = ready(&settings(&triton.host())).await;
    let calls = (0..64).map(|row| scores(&predictor, row, 1));
    for (row, score) in join_all(calls).await.into_iter().enumerate() {
        assert_eq!(score.unwrap(), [row as f32]);
    }
    // One stream is kept for the sign of life.
    assert_eq!(triton.seen().max_in_flight, 3);
}

#[tokio::test]
async fn several_connections_and_addresses_share_the_load() {
    let (a, b) = (triton().await, triton().await);
    let mut settings = settings(&format!("{},{}", a.host(), b.host()));
    settings.connections = 2;
    let predictor = ready(&settings).await;
    a.wait(|seen| seen.metadata == 2).await;
    b.wait(|seen| seen.metadata == 2).await;
    // Their answers may be on the way still; then one of them gets a call less.
    a.set(|script| script.hold = true);
    b.set(|script| script.hold = true);
    let calls = (0..20).map(|row| scores(&predictor, row, 1));
    let release = async {
        a.wait(|seen| seen.calls >= 9).await;
        b.wait(|seen| seen.calls >= 9).await;
        a.set(|script| script.hold = false);
        b.set(|script| script.hold = false);
    };
    let (results, ()) = tokio::join!(join_all(calls), release);
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(a.seen().connections, 2);
    assert_eq!(b.seen().connections, 2);
}

#[tokio::test]
async fn a_dropped_call_is_taken_back() {
    let triton = triton().await;
    let mut settings = settings(&triton.host());
    settings.concurrency = 1;
    let predictor = ready(&settings).await;
    triton.set(|script| script.hold = true);
    tokio::select! {
        result = scores(&predictor, 1, 1) => panic!("{result:?}"),
        _ = triton.wait(|seen| seen.in_flight == 1) => (),
    }
    triton.wait(|seen| seen.canceled == 1).await;
    triton.set(|script| script.hold = false);
    // The permit came back with it.
    assert_eq!(scores(&predictor, 2, 1).await.unwrap(), [2.0]);
}

#[tokio::test]
async fn the_deadline_ends_a_call_and_resets_its_stream() {
    let triton = triton().await;
    let predictor = ready(&settings(&triton.host())).await;
    triton.set(|script| script.hold = true);
    let context = context(Duration::from_millis(50));
    let error = predictor.infer(rows(1, 1), &context).await;
    assert!(matches!(error, Err(Error::Deadline)), "{error:?}");
    assert!(context.timings.total() < Duration::from_millis(150));
    triton.wait(|seen| seen.canceled == 1).await;
}

#[tokio::test]
async fn the_wait_for_a_permit_counts_against_the_deadline() {
    let triton = triton().await;
    let mut settings = settings(&triton.host());
    settings.concurrency = 1;
    let predictor = ready(&settings).await;
    triton.set(|script| script.hold = true);
    let first = tokio::spawn({
        let predictor = predictor.clone();
        async move { scores(&predictor, 1, 1).await }
    });
    triton.wait(|seen| seen.in_flight == 1).await;
    let context = context(Duration::from_millis(20));
    let error = predictor.infer(rows(2, 1), &context).await;
    assert!(matches!(error, Err(Error::Deadline)), "{error:?}");
    triton.set(|script| script.hold = false);
    assert_eq!(first.await.unwrap().unwrap(), [1.0]);
    assert_eq!(triton.seen().calls, 1);
}

#[tokio::test]
async fn error_answers_keep_their_words_and_are_not_repeated() {
    let triton = triton().await;
    let predictor = ready(&settings(&triton.host())).await;
    let cases = [
        (Code::Internal, "the predictor answered INTERNAL: it failed"),
        (
            Code::InvalidArgument,
            "the predictor answered INVALID_ARGUMENT: it failed",
        ),
        (
            Code::ResourceExhausted,
            "the predictor answered RESOURCE_EXHAUSTED: it failed",
        ),
        (
            Code::DeadlineExceeded,
            "the predictor did not answer in time (--predictor_request_timeout_seconds, or the \
             caller's own deadline)",
        ),
    ];
    for (i, (code, expected)) in cases.into_iter().enumerate() {
        triton.set(|script| script.faults = [Fault::Status(code, "it failed")].into());
        let error = scores(&predictor, 1, 1).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(triton.seen().calls, i + 1);
    }
    assert_eq!(scores(&predictor, 1, 1).await.unwrap(), [1.0]);
}

#[tokio::test]
async fn wrong_answers_are_nonsense() {
    let triton = triton().await;
    let predictor = ready(&settings(&triton.host())).await;
    type Twist = fn(&mut ModelInferResponse);
    let twists: [(Twist, &str); 4] = [
        (|r| r.outputs[0].name = "x".to_owned(), "no output"),
        (|r| r.outputs[0].datatype = "FP64".to_owned(), "FP64"),
        (
            |r| r.outputs[0].shape = vec![1, 1],
            "shape [1, 1], expected [2, 1]",
        ),
        (
            |r| r.raw_output_contents[0].truncate(4),
            "4 bytes, expected 8",
        ),
    ];
    for (twist, part) in twists {
        triton.set(|script| script.faults = [Fault::Twist(twist)].into());
        let error = scores(&predictor, 1, 2).await.unwrap_err();
        assert!(matches!(error, Error::InvalidResponse(_)), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    }
}
