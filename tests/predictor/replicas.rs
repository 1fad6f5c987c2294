//! Several replicas of which one does badly: it costs no caller an error, and hardly any time.

use futures_util::future::join_all;
use tonic::Code;

use super::*;
use crate::world::triton::Fault;

over_both_protocols!(
    a_replica_that_fails_is_ejected_and_comes_back,
    a_draining_replica_costs_no_caller_an_error,
    the_last_replica_is_never_ejected,
    a_slow_replica_is_spared,
    the_metrics_show_which_replicas_get_calls,
);

/// Eight callers, one call after the other each; how many calls failed.
async fn failed(predictor: &Predictor, calls: usize) -> usize {
    let callers = (0..8).map(|caller| async move {
        let mut failed = 0;
        for row in (caller..calls).step_by(8) {
            failed += usize::from(scores(predictor, row, 1).await.is_err());
        }
        failed
    });
    join_all(callers).await.into_iter().sum()
}

async fn a_replica_that_fails_is_ejected_and_comes_back(protocol: Protocol) {
    let faults: [Fault; 4] = [
        Fault::Status(Code::Internal, "CUDA error: an illegal memory access"),
        Fault::Status(Code::Unavailable, "Server not ready"),
        Fault::Status(Code::NotFound, "has no available versions"),
        Fault::Twist(|response| response.raw_output_contents[0].clear()),
    ];
    for fault in faults {
        let twins = twins(protocol).await;
        twins.prefer_a().await;
        let what = format!("{fault:?}");
        twins.a.set(|script| script.always = Some(fault));
        let before = twins.a.observed().calls;
        assert_eq!(failed(&twins.predictor, 400).await, 0, "{what}");
        let tried = twins.a.observed().calls - before;
        assert!((5..40).contains(&tried), "{tried} calls to it: {what}");

        // Probed from time to time, it is in use again by itself.
        twins.a.set(|script| script.always = None);
        let before = twins.a.observed().calls;
        while twins.a.observed().calls < before + 20 {
            assert_eq!(failed(&twins.predictor, 8).await, 0);
        }
    }
}

async fn a_draining_replica_costs_no_caller_an_error(protocol: Protocol) {
    for (code, text) in [
        (
            Code::Unavailable,
            "the scheduler has stopped accepting new inference requests",
        ),
        (Code::NotFound, "has no available versions"),
    ] {
        let twins = twins(protocol).await;
        twins.prefer_a().await;
        twins
            .a
            .set(|script| script.always = Some(Fault::Status(code, text)));
        let results = join_all((0..60).map(|row| scores(&twins.predictor, row, 1))).await;
        for (row, score) in results.into_iter().enumerate() {
            assert_eq!(score.unwrap(), [row as f32]);
        }
    }
}

async fn the_last_replica_is_never_ejected(protocol: Protocol) {
    let (triton, predictor) = pair(protocol).await;
    triton.set(|script| script.always = Some(Fault::Status(Code::Internal, "it failed")));
    for row in 0..20 {
        let error = scores(&predictor, row, 1).await.unwrap_err();
        assert!(matches!(error, Error::ErrorResponse { .. }), "{error:?}");
    }
    assert_eq!(triton.observed().calls, 20);
    triton.set(|script| script.always = None);
    assert_eq!(scores(&predictor, 1, 1).await.unwrap(), [1.0]);
}

async fn a_slow_replica_is_spared(protocol: Protocol) {
    let twins = twins(protocol).await;
    twins
        .a
        .set(|script| script.delay = Duration::from_millis(400));
    twins
        .b
        .set(|script| script.delay = Duration::from_millis(40));
    // Until both are known.
    assert_eq!(failed(&twins.predictor, 16).await, 0);
    let before = (twins.a.observed().calls, twins.b.observed().calls);
    assert_eq!(failed(&twins.predictor, 400).await, 0);
    let slow = twins.a.observed().calls - before.0;
    let quick = twins.b.observed().calls - before.1;
    // By calls in flight alone it would get one of eleven, which is 36. A busy machine makes the quick
    // one look slower than it is.
    assert!(slow <= 18, "{slow} of {}", slow + quick);
}

#[tokio::test]
async fn a_forgotten_connection_is_opened_again() {
    let (triton, predictor) = pair(Protocol::Grpc).await;
    assert_eq!(scores(&predictor, 1, 1).await.unwrap(), [1.0]);
    triton.forget_connections();
    let results = join_all((0..10).map(|row| scores(&predictor, row, 1))).await;
    for (row, score) in results.into_iter().enumerate() {
        assert_eq!(score.unwrap(), [row as f32]);
    }
    assert_eq!(scores(&predictor, 1, 1).await.unwrap(), [1.0]);
}

#[tokio::test]
async fn calls_that_wait_for_a_stream_get_it_in_their_order() {
    let triton = triton().await;
    triton.set(|script| {
        script.max_streams = Some(5);
        script.delay = Duration::from_millis(1);
    });
    let predictor = ready(&settings(&triton.host())).await;
    let done = std::sync::Mutex::new(Vec::new());
    let calls = (0..200).map(|row| {
        let (predictor, done) = (&predictor, &done);
        async move {
            assert_eq!(scores(predictor, row, 1).await.unwrap(), [row as f32]);
            done.lock().unwrap().push(row);
        }
    });
    join_all(calls).await;
    assert_eq!(triton.observed().max_in_flight, 4);
    // Those that run side by side may end in any order.
    for (place, row) in done.into_inner().unwrap().into_iter().enumerate() {
        assert!(
            row.abs_diff(place) < 8,
            "call {row} was number {place} to end"
        );
    }
}

async fn the_metrics_show_which_replicas_get_calls(protocol: Protocol) {
    let twins = twins(protocol).await;
    let is_up = |triton: &FakeTriton| {
        let labels = format!("{{model=\"{MODEL}\",address=\"{}\"}}", triton.host());
        let shown = |name| {
            value(
                &twins.metrics,
                &format!("facequality_predictor_{name}{labels}"),
            )
        };
        assert_ne!(shown("up"), shown("ejected"));
        assert!(shown("latency_seconds").is_some_and(|seconds| seconds >= 0.0));
        shown("up").unwrap()
    };
    let wait = async |triton: &FakeTriton, expected| {
        for _ in 0..1000 {
            if is_up(triton) == expected {
                return;
            }
            // A call also finds out whether an ejected replica is well again.
            let _ = scores(&twins.predictor, 1, 1).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never {expected}");
    };
    wait(&twins.a, 1.0).await;
    wait(&twins.b, 1.0).await;
    twins.prefer_a().await;
    let fault = Fault::Status(Code::Internal, "CUDA error");
    twins.a.set(|script| script.always = Some(fault));
    assert_eq!(failed(&twins.predictor, 100).await, 0);
    wait(&twins.a, 0.0).await;
    assert_eq!(is_up(&twins.b), 1.0);
    twins.a.set(|script| script.always = None);
    wait(&twins.a, 1.0).await;
}
