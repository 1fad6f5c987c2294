//! The same over Triton's HTTP.

use std::time::Instant;

use facequality_transformer::wire::triton::ModelInferResponse;
use futures_util::future::join_all;
use tonic::Code;

use super::*;
use crate::world::fake_triton::{Fault, Speaks};

fn rest(hosts: &str) -> RemoteSettings {
    let mut settings = settings(hosts);
    settings.protocol = Protocol::Rest;
    settings
}

async fn rest_triton() -> FakeTriton {
    FakeTriton::start_with(|script| {
        small(script);
        script.speaks = Speaks::Rest;
    })
    .await
}

#[tokio::test]
async fn scores_come_in_order() {
    let triton = rest_triton().await;
    let predictor = ready(&rest(&triton.host())).await;
    for count in [1, 2, 32] {
        let expected: Vec<_> = (5..5 + count).map(|row| row as f32).collect();
        assert_eq!(scores(&predictor, 5, count).await.unwrap(), expected);
    }
    triton.set(|script| script.typed = true);
    assert_eq!(scores(&predictor, 3, 2).await.unwrap(), [3.0, 4.0]);
    assert_eq!(triton.seen().batches, [1, 2, 32, 2]);
}

#[tokio::test]
async fn id_and_headers_go_along_and_nothing_is_expected() {
    let triton = rest_triton().await;
    let predictor = ready(&rest(&triton.host())).await;
    let mut context = context(LONG);
    context
        .headers
        .insert("traceparent", "00-1-2-01".parse().unwrap());
    // As many bytes as would make curl ask first.
    predictor.infer(rows(1, 32), &context).await.unwrap();
    let seen = triton.seen();
    assert_eq!(seen.id, "r-1");
    assert_eq!(seen.headers["traceparent"], "00-1-2-01");
    assert!(!seen.headers.contains_key("expect"));
    assert!(!seen.headers.contains_key("transfer-encoding"));
    let length: usize = seen.headers["content-length"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(length > 32 * 48);
}

#[tokio::test]
async fn never_more_calls_than_permits_and_connections_are_kept() {
    let triton = rest_triton().await;
    let mut settings = rest(&triton.host());
    settings.concurrency = 8;
    let predictor = ready(&settings).await;
    triton.set(|script| script.delay = Duration::from_millis(2));
    let calls = (0..200).map(|row| scores(&predictor, row, 1));
    for (row, score) in join_all(calls).await.into_iter().enumerate() {
        assert_eq!(score.unwrap(), [row as f32]);
    }
    let seen = triton.seen();
    assert_eq!(seen.max_in_flight, 8);
    assert!(seen.connections < 40, "{} connections", seen.connections);
}

#[tokio::test]
async fn errors_and_wrong_answers() {
    let triton = rest_triton().await;
    let predictor = ready(&rest(&triton.host())).await;
    type Twist = fn(&mut ModelInferResponse);
    let twists: [(Twist, &str); 3] = [
        (|r| r.outputs[0].name = "x".to_owned(), "no output"),
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
    let calls = triton.seen().calls;
    triton.set(|script| script.faults = [Fault::Status(Code::Internal, "it failed")].into());
    let error = scores(&predictor, 1, 1).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the predictor answered HTTP 500: it failed"
    );
    assert_eq!(triton.seen().calls, calls + 1);
    triton.set(|script| script.faults = [Fault::Status(Code::Unavailable, "full")].into());
    assert_eq!(scores(&predictor, 1, 1).await.unwrap(), [1.0]);
    assert_eq!(triton.seen().calls, calls + 3);
}

#[tokio::test]
async fn deadline_and_lost_connections() {
    let triton = rest_triton().await;
    let predictor = ready(&rest(&triton.host())).await;
    triton.set(|script| script.hold = true);
    let context = context(Duration::from_millis(50));
    let error = predictor.infer(rows(1, 1), &context).await;
    assert!(matches!(error, Err(Error::Deadline)), "{error:?}");
    assert!(context.timings.total() < Duration::from_millis(150));
    triton.wait(|seen| seen.canceled == 1).await;

    let calls = join_all((0..20).map(|row| scores(&predictor, row, 1)));
    let cut = async {
        triton.wait(|seen| seen.in_flight == 20).await;
        triton.cut();
        triton.set(|script| script.hold = false);
    };
    let (results, ()) = tokio::join!(calls, cut);
    for (row, score) in results.into_iter().enumerate() {
        assert_eq!(score.unwrap(), [row as f32]);
    }
}

#[tokio::test]
async fn readiness_follows_the_server_even_when_idle() {
    let triton = rest_triton().await;
    let address = triton.address;
    triton.set(|script| script.input = "images".to_owned());
    let predictor = connecting(&rest(&triton.host()));
    let reason = wait_not_ready(&predictor, "input.1").await;
    assert!(reason.contains(r#"it has ["images"]"#), "{reason}");
    triton.set(|script| {
        script.input = "input.1".to_owned();
        script.no_config = true;
    });
    assert_eq!(wait_ready(&predictor).await, 32);
    drop(triton);
    wait_not_ready(&predictor, "refused").await;
    let _second = FakeTriton::start_at(address, |script| {
        small(script);
        script.max_batch_size = 4;
    })
    .await;
    let begin = Instant::now();
    assert_eq!(wait_ready(&predictor).await, 4);
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn a_silent_one_is_found() {
    let (a, b) = (rest_triton().await, rest_triton().await);
    let predictor = ready(&rest(&format!("{},{}", a.host(), b.host()))).await;
    a.wait(|seen| seen.metadata == 1).await;
    b.wait(|seen| seen.metadata == 1).await;
    a.set(|script| script.silent = true);
    let begin = Instant::now();
    let results = join_all((0..10).map(|row| scores(&predictor, row, 1))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert!(
        begin.elapsed() < Duration::from_secs(6),
        "{:?}",
        begin.elapsed()
    );
}
