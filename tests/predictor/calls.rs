//! Calls that go well, and responses that are errors.

use std::time::Duration;

use futures_util::future::join_all;
use kserve_transformer::Stage;
use kserve_transformer::predictor::{Error, Predictor};
use kserve_transformer::wire::triton::ModelInferResponse;
use tonic::Code;

use super::*;
use crate::world::triton::Fault;

over_both_protocols!(
    scores_come_in_order,
    typed_contents_are_read_as_well,
    id_and_headers_go_along,
    never_more_calls_than_permits,
    a_dropped_call_is_taken_back,
    the_deadline_ends_a_call,
    the_wait_for_a_permit_counts_against_the_deadline,
    a_permit_that_came_late_is_told_with_the_deadline,
    invalid_responses_are_named,
);

async fn scores_come_in_order(protocol: Protocol) {
    let (triton, predictor) = pair(protocol).await;
    for count in [1, 2, 32] {
        let expected: Vec<_> = (5..5 + count).map(|row| row as f32).collect();
        assert_eq!(scores(&predictor, 5, count).await.unwrap(), expected);
    }
    assert_eq!(triton.observed().batches, [1, 2, 32]);
}

async fn typed_contents_are_read_as_well(protocol: Protocol) {
    let (triton, predictor) = pair(protocol).await;
    triton.set(|script| script.typed = true);
    assert_eq!(scores(&predictor, 3, 2).await.unwrap(), [3.0, 4.0]);
}

async fn id_and_headers_go_along(protocol: Protocol) {
    let (triton, predictor) = pair(protocol).await;
    let mut context = context(Duration::from_secs(9));
    let headers = &mut context.headers;
    headers.insert("x-request-id", "r-1".parse().unwrap());
    headers.insert("traceparent", "00-1-2-01".parse().unwrap());
    headers.append("baggage", "a=1".parse().unwrap());
    headers.append("baggage", "b=2".parse().unwrap());
    predictor.infer(rows(1, 1), &context).await.unwrap();
    assert!(context.timings.get(Stage::PermitWait).is_some());
    let observed = triton.observed();
    assert_eq!(observed.id, "r-1");
    assert_eq!(observed.headers["x-request-id"], "r-1");
    assert_eq!(observed.headers["traceparent"], "00-1-2-01");
    let baggage: Vec<_> = observed.headers.get_all("baggage").iter().collect();
    assert_eq!(baggage, ["a=1", "b=2"]);
}

async fn never_more_calls_than_permits(protocol: Protocol) {
    let triton = triton().await;
    let mut settings = settings_over(protocol, &triton.host());
    settings.concurrency = 8;
    let metrics = metrics();
    let predictor = Predictor::remote(&settings, signature(), &metrics).unwrap();
    wait_ready(&predictor).await;
    triton.set(|script| script.delay = Duration::from_millis(2));
    let calls = (0..200).map(|row| scores(&predictor, row, 1));
    for (row, score) in join_all(calls).await.into_iter().enumerate() {
        assert_eq!(score.unwrap(), [row as f32]);
    }
    let observed = triton.observed();
    assert_eq!(observed.max_in_flight, 8);
    // Kept, and not one for each call.
    assert!(observed.connections < 40, "{}", observed.connections);
    let in_flight = format!("facequality_predictor_calls_in_flight{{model=\"{MODEL}\"}}");
    assert_eq!(value(&metrics, &in_flight), Some(0.0));
    assert_eq!(outcomes(&metrics, "ok"), 200);
}

async fn a_dropped_call_is_taken_back(protocol: Protocol) {
    let triton = triton().await;
    let mut settings = settings_over(protocol, &triton.host());
    settings.concurrency = 1;
    let predictor = ready(&settings).await;
    triton.set(|script| script.hold = true);
    tokio::select! {
        result = scores(&predictor, 1, 1) => panic!("{result:?}"),
        _ = triton.wait(|observed| observed.in_flight == 1) => (),
    }
    triton.wait(|observed| observed.canceled == 1).await;
    triton.set(|script| script.hold = false);
    // The permit came back with it.
    assert_eq!(scores(&predictor, 2, 1).await.unwrap(), [2.0]);
}

async fn the_deadline_ends_a_call(protocol: Protocol) {
    let (triton, predictor) = pair(protocol).await;
    triton.set(|script| script.hold = true);
    let context = context(Duration::from_millis(50));
    let error = predictor.infer(rows(1, 1), &context).await;
    assert!(matches!(error, Err(Error::Deadline)), "{error:?}");
    triton.wait(|observed| observed.canceled == 1).await;
}

/// A predictor that may make one call at once, and that call, which is held.
async fn with_its_one_permit_taken(
    protocol: Protocol,
) -> (
    FakeTriton,
    Arc<Predictor>,
    tokio::task::JoinHandle<Result<Vec<f32>, Error>>,
) {
    let triton = triton().await;
    let mut settings = settings_over(protocol, &triton.host());
    settings.concurrency = 1;
    let predictor = ready(&settings).await;
    triton.set(|script| script.hold = true);
    let first = tokio::spawn({
        let predictor = predictor.clone();
        async move { scores(&predictor, 1, 1).await }
    });
    triton.wait(|observed| observed.in_flight == 1).await;
    (triton, predictor, first)
}

async fn the_wait_for_a_permit_counts_against_the_deadline(protocol: Protocol) {
    let (triton, predictor, first) = with_its_one_permit_taken(protocol).await;
    let context = context(Duration::from_millis(20));
    let error = predictor.infer(rows(2, 1), &context).await;
    assert!(matches!(error, Err(Error::NoPermit)), "{error:?}");
    triton.set(|script| script.hold = false);
    assert_eq!(first.await.unwrap().unwrap(), [1.0]);
    assert_eq!(triton.observed().calls, 1);
}

async fn a_permit_that_came_late_is_told_with_the_deadline(protocol: Protocol) {
    let (_triton, predictor, first) = with_its_one_permit_taken(protocol).await;
    let second = tokio::spawn({
        let predictor = predictor.clone();
        let context = context(Duration::from_secs(1));
        async move { predictor.infer(rows(2, 1), &context).await }
    });
    // Gone, the first one gives its permit to the second, which then gets no response either.
    tokio::time::sleep(Duration::from_millis(100)).await;
    first.abort();
    let error = second.await.unwrap().unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::DeadlineAfterWait(_)), "{text}");
    assert!(text.contains("(--concurrency)"), "{text}");
}

async fn invalid_responses_are_named(protocol: Protocol) {
    let (triton, predictor) = pair(protocol).await;
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

#[tokio::test]
async fn error_responses_keep_their_words_and_are_not_repeated() {
    let deadline = "the predictor did not answer in time (--predictor_request_timeout_seconds, or \
                    the caller's own deadline)";
    let cases = [
        (
            Protocol::Grpc,
            Code::Internal,
            "the predictor answered INTERNAL: it failed",
        ),
        (
            Protocol::Grpc,
            Code::InvalidArgument,
            "the predictor answered INVALID_ARGUMENT: it failed",
        ),
        (
            Protocol::Grpc,
            Code::ResourceExhausted,
            "the predictor is overloaded: it failed",
        ),
        (Protocol::Grpc, Code::DeadlineExceeded, deadline),
        (
            Protocol::Rest,
            Code::Internal,
            "the predictor answered HTTP 500: it failed",
        ),
        (
            Protocol::Rest,
            Code::InvalidArgument,
            "the predictor answered HTTP 400: it failed",
        ),
    ];
    for (protocol, code, expected) in cases {
        let (triton, predictor) = pair(protocol).await;
        triton.set(|script| script.faults = [Fault::Status(code, "it failed")].into());
        let error = scores(&predictor, 1, 1).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(triton.observed().calls, 1);
        assert_eq!(scores(&predictor, 1, 1).await.unwrap(), [1.0]);
    }
}

#[tokio::test]
async fn what_is_left_of_the_deadline_goes_along_as_grpc_timeout() {
    let (triton, predictor) = pair(Protocol::Grpc).await;
    let context = context(Duration::from_secs(9));
    predictor.infer(rows(1, 1), &context).await.unwrap();
    let observed = triton.observed();
    let timeout = observed.grpc_timeout().unwrap().strip_suffix('u').unwrap();
    let timeout = Duration::from_micros(timeout.parse().unwrap());
    assert!(timeout <= Duration::from_secs(9) && timeout > Duration::from_secs(5));
}

#[tokio::test]
async fn nothing_is_expected_of_a_triton_over_rest() {
    let (triton, predictor) = pair(Protocol::Rest).await;
    // As many bytes as would make curl ask first.
    predictor.infer(rows(1, 32), &context(LONG)).await.unwrap();
    let headers = triton.observed().headers;
    assert!(!headers.contains_key("expect"));
    assert!(!headers.contains_key("transfer-encoding"));
    let length = headers["content-length"].to_str().unwrap();
    assert!(length.parse::<usize>().unwrap() > 32 * 48);
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
    assert_eq!(triton.observed().max_in_flight, 3);
}

#[tokio::test]
async fn several_connections_and_addresses_share_the_load() {
    let (a, b) = (triton().await, triton().await);
    let mut settings = settings(&format!("{},{}", a.host(), b.host()));
    settings.connections = 2;
    let predictor = ready(&settings).await;
    a.wait(|observed| observed.metadata == 2).await;
    b.wait(|observed| observed.metadata == 2).await;
    // Their responses may be on the way still; then one of them gets a call less.
    a.set(|script| script.hold = true);
    b.set(|script| script.hold = true);
    let calls = (0..20).map(|row| scores(&predictor, row, 1));
    let release = async {
        a.wait(|observed| observed.calls >= 9).await;
        b.wait(|observed| observed.calls >= 9).await;
        a.set(|script| script.hold = false);
        b.set(|script| script.hold = false);
    };
    let (results, ()) = tokio::join!(join_all(calls), release);
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(a.observed().connections, 2);
    assert_eq!(b.observed().connections, 2);
}
