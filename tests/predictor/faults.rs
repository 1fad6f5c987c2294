//! Predictors that are gone, go, hang or have too much to do.

use futures_util::future::join_all;
use kserve_transformer::predictor::Error;
use tonic::Code;

use super::*;
use crate::world::triton::Fault;

over_both_protocols!(
    a_lost_connection_costs_no_caller_an_error,
    a_dead_address_costs_no_caller_an_error,
    an_absent_predictor_fails_calls_at_once,
    a_restarted_triton_is_found_again,
    unavailable_is_retried_once_and_within_the_budget,
    a_silent_triton_is_found_and_its_calls_go_elsewhere,
    a_slow_triton_that_shows_signs_of_life_is_waited_for,
);

async fn a_lost_connection_costs_no_caller_an_error(protocol: Protocol) {
    let (triton, predictor) = pair(protocol).await;
    triton.set(|script| script.hold = true);
    let calls = join_all((0..20).map(|row| scores(&predictor, row, 1)));
    let cut = async {
        triton.wait(|observed| observed.in_flight == 20).await;
        triton.cut();
        triton.set(|script| script.hold = false);
    };
    let (results, ()) = tokio::join!(calls, cut);
    for (row, score) in results.into_iter().enumerate() {
        assert_eq!(score.unwrap(), [row as f32]);
    }
}

async fn a_dead_address_costs_no_caller_an_error(protocol: Protocol) {
    let twins = twins(protocol).await;
    twins.prefer_a().await;
    let Twins {
        a, b, predictor, ..
    } = twins;
    a.set(|script| script.hold = true);
    b.set(|script| script.hold = true);
    let calls = join_all((0..40).map(|row| scores(&predictor, row, 1)));
    let kill = async {
        a.wait(|observed| observed.in_flight >= 1).await;
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

async fn an_absent_predictor_fails_calls_at_once(protocol: Protocol) {
    let address = nobody().await;
    let predictor = connecting(&settings_over(protocol, &address.to_string()));
    wait_not_ready(&predictor, "refused").await;
    let error = scores(&predictor, 1, 1).await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { .. }), "{error:?}");
}

async fn a_restarted_triton_is_found_again(protocol: Protocol) {
    let (first, predictor) = pair(protocol).await;
    let address = first.address;
    drop(first);
    // Without a call that finds out.
    wait_not_ready(&predictor, "refused").await;
    let _second = FakeTriton::start_at(address, |script| {
        small(script);
        script.max_batch_size = 16;
    })
    .await;
    assert_eq!(wait_ready(&predictor).await, 16);
    assert_eq!(scores(&predictor, 1, 1).await.unwrap(), [1.0]);
}

async fn unavailable_is_retried_once_and_within_the_budget(protocol: Protocol) {
    let (triton, predictor) = pair(protocol).await;
    let full = || Fault::Status(Code::Unavailable, "Exceeds maximum queue size");
    triton.set(|script| script.faults = [full()].into());
    assert_eq!(scores(&predictor, 1, 1).await.unwrap(), [1.0]);
    assert_eq!(triton.observed().calls, 2);

    triton.set(|script| script.always = Some(full()));
    let results = join_all((0..40).map(|row| scores(&predictor, row, 1))).await;
    for result in results {
        let error = result.unwrap_err();
        assert!(
            matches!(&error, Error::Unavailable(message) if message.contains("queue size")),
            "{error:?}"
        );
    }
    let retries = triton.observed().calls - 42;
    assert!((2..=8).contains(&retries), "{retries} retries of 40 calls");
}

async fn a_silent_triton_is_found_and_its_calls_go_elsewhere(protocol: Protocol) {
    let twins = twins(protocol).await;
    twins.prefer_a().await;
    let predictor = &twins.predictor;
    twins.a.set(|script| script.silent = true);
    let results = join_all((0..20).map(|row| scores(predictor, row, 1))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    // It is known now: no call tries it and has to be sent again.
    let unreachable = outcomes(&twins.metrics, "unreachable");
    assert!(unreachable > 0);
    for row in 0..20 {
        scores(predictor, row, 1).await.unwrap();
    }
    assert_eq!(outcomes(&twins.metrics, "unreachable"), unreachable);
}

async fn a_slow_triton_that_shows_signs_of_life_is_waited_for(protocol: Protocol) {
    let (triton, predictor) = pair(protocol).await;
    triton.set(|script| script.hold = true);
    let asked = async {
        let lives = triton.observed().lives;
        triton.wait(|observed| observed.lives >= lives + 2).await;
        triton.set(|script| script.hold = false);
    };
    let (score, ()) = tokio::join!(scores(&predictor, 1, 1), asked);
    assert_eq!(score.unwrap(), [1.0]);
    assert_eq!(triton.observed().calls, 1);
}
