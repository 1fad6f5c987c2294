//! Predictors that are gone, go, hang or have too much to do.

use std::time::Instant;

use facequality_transformer::predictor::Error;
use futures_util::future::join_all;
use tonic::Code;

use super::*;
use crate::world::fake_triton::Fault;

#[tokio::test]
async fn a_lost_connection_costs_no_caller_an_error() {
    let triton = triton().await;
    let predictor = ready(&settings(&triton.host())).await;
    triton.set(|script| script.hold = true);
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
    assert_eq!(triton.seen().connections, 2);
}

#[tokio::test]
async fn a_dead_address_costs_no_caller_an_error() {
    let (a, b) = (triton().await, triton().await);
    let predictor = ready(&settings(&format!("{},{}", a.host(), b.host()))).await;
    a.wait(|seen| seen.metadata == 1).await;
    b.wait(|seen| seen.metadata == 1).await;
    a.set(|script| script.hold = true);
    b.set(|script| script.hold = true);
    let calls = join_all((0..40).map(|row| scores(&predictor, row, 1)));
    let kill = async {
        a.wait(|seen| seen.in_flight >= 19).await;
        drop(a);
        b.set(|script| script.hold = false);
    };
    let (results, ()) = tokio::join!(calls, kill);
    for (row, score) in results.into_iter().enumerate() {
        assert_eq!(score.unwrap(), [row as f32]);
    }
    for row in 0..100 {
        assert_eq!(scores(&predictor, row, 1).await.unwrap(), [row as f32]);
    }
}

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    let address = nobody().await;
    let predictor = connecting(&settings(&address.to_string()));
    let reason = wait_not_ready(&predictor, &address.to_string()).await;
    assert!(reason.contains("refused"), "{reason}");
    let error = scores(&predictor, 1, 1).await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_restarted_triton_is_found_again() {
    let first = triton().await;
    let address = first.address;
    let predictor = ready(&settings(&first.host())).await;
    drop(first);
    wait_not_ready(&predictor, "refused").await;
    let _second = FakeTriton::start_at(address, |script| {
        small(script);
        script.max_batch_size = 16;
    })
    .await;
    assert_eq!(wait_ready(&predictor).await, 16);
    assert_eq!(scores(&predictor, 1, 1).await.unwrap(), [1.0]);
}

#[tokio::test]
async fn unavailable_is_retried_once_and_within_the_budget() {
    let triton = triton().await;
    let predictor = ready(&settings(&triton.host())).await;
    let full = || Fault::Status(Code::Unavailable, "Exceeds maximum queue size");
    triton.set(|script| script.faults = [full()].into());
    assert_eq!(scores(&predictor, 1, 1).await.unwrap(), [1.0]);
    assert_eq!(triton.seen().calls, 2);

    triton.set(|script| script.always = Some(full()));
    let results = join_all((0..40).map(|row| scores(&predictor, row, 1))).await;
    for result in results {
        let error = result.unwrap_err();
        assert!(
            matches!(&error, Error::Unavailable { message, .. } if message.contains("queue size")),
            "{error:?}"
        );
    }
    let retries = triton.seen().calls - 42;
    assert!((2..=8).contains(&retries), "{retries} retries of 40 calls");
}

#[tokio::test]
async fn a_silent_triton_is_found_and_its_calls_go_elsewhere() {
    let (a, b) = (triton().await, triton().await);
    let predictor = ready(&settings(&format!("{},{}", a.host(), b.host()))).await;
    a.wait(|seen| seen.metadata == 1).await;
    b.wait(|seen| seen.metadata == 1).await;
    a.set(|script| script.silent = true);
    let begin = Instant::now();
    let results = join_all((0..20).map(|row| scores(&predictor, row, 1))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert!(
        begin.elapsed() < Duration::from_secs(6),
        "{:?}",
        begin.elapsed()
    );
    let begin = Instant::now();
    for row in 0..20 {
        scores(&predictor, row, 1).await.unwrap();
    }
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn a_slow_triton_that_shows_signs_of_life_is_waited_for() {
    let triton = triton().await;
    let predictor = ready(&settings(&triton.host())).await;
    triton.set(|script| script.hold = true);
    let asked = async {
        triton.wait(|seen| seen.lives >= 2).await;
        triton.set(|script| script.hold = false);
    };
    let (score, ()) = tokio::join!(scores(&predictor, 1, 1), asked);
    assert_eq!(score.unwrap(), [1.0]);
    assert_eq!(triton.seen().calls, 1);
}
