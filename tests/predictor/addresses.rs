//! Which protocol at which address, and addresses that come and go.

use std::sync::Mutex;

use kserve_transformer::predictor::Resolver;

use super::*;
use crate::world::triton::Speaks;

async fn asked(speaks: Speaks) -> (FakeTriton, Arc<Predictor>) {
    let triton = FakeTriton::start_with(|script| {
        small(script);
        script.speaks = speaks;
    })
    .await;
    let mut settings = settings(&triton.host());
    settings.protocol = Protocol::Auto;
    let predictor = ready(&settings).await;
    assert_eq!(scores(&predictor, 7, 2).await.unwrap(), [7.0, 8.0]);
    (triton, predictor)
}

#[tokio::test]
async fn auto_asks_on_a_port_that_tells_nothing() {
    let (grpc, _predictor) = asked(Speaks::Grpc).await;
    assert!(grpc.observed().grpc_timeout().is_some());
    let (rest, _predictor) = asked(Speaks::Rest).await;
    assert!(rest.observed().grpc_timeout().is_none());
}

#[tokio::test]
async fn a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("triton.sock");
    for speaks in [Speaks::Grpc, Speaks::Rest] {
        let _triton = FakeTriton::start_unix(&path, |script| {
            small(script);
            script.speaks = speaks;
        });
        let mut settings = settings(&format!("unix:{}", path.display()));
        settings.protocol = Protocol::Auto;
        let predictor = ready(&settings).await;
        assert_eq!(scores(&predictor, 1, 1).await.unwrap(), [1.0]);
        std::fs::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn new_replicas_are_used_and_gone_ones_are_left() {
    let (a, b) = (triton().await, triton().await);
    let replicas = Arc::new(Mutex::new(vec![a.address]));
    let mut settings = settings("dns:///triton.test:8001");
    settings.dns_refresh = Duration::from_millis(20);
    let script = Arc::clone(&replicas);
    settings.resolver = Resolver::from_fn(move |name, port| {
        assert_eq!((name.as_str(), port), ("triton.test", 8001));
        let found = script.lock().unwrap().clone();
        async move { Ok(found) }
    });
    let predictor = ready(&settings).await;

    let answered = |first: usize| {
        let predictor = Arc::clone(&predictor);
        async move {
            for row in first..first + 10 {
                assert_eq!(scores(&predictor, row, 1).await.unwrap(), [row as f32]);
            }
        }
    };
    answered(0).await;
    assert_eq!(b.observed().connections, 0);

    replicas.lock().unwrap().push(b.address);
    while b.observed().calls == 0 {
        answered(10).await;
    }
    // A call that is under way when its replica goes is answered.
    a.set(|script| script.hold = true);
    let mut under_way = Vec::new();
    while a.observed().in_flight == 0 {
        let predictor = Arc::clone(&predictor);
        under_way.push(tokio::spawn(async move { scores(&predictor, 1, 1).await }));
        tokio::task::yield_now().await;
    }
    *replicas.lock().unwrap() = vec![b.address];
    // Left, it gets no calls any more: twenty in a row go elsewhere.
    let mut in_a_row = 0;
    while in_a_row < 20 {
        let before = a.observed().calls;
        let context = context(Duration::from_millis(200));
        let answer = predictor.infer(rows(1, 1), &context).await;
        in_a_row = match a.observed().calls == before && answer.is_ok() {
            true => in_a_row + 1,
            false => 0,
        };
    }
    a.set(|script| script.hold = false);
    for call in under_way {
        assert_eq!(call.await.unwrap().unwrap(), [1.0]);
    }
    assert_eq!(a.observed().in_flight, 0);
}

#[tokio::test]
async fn a_name_without_addresses_is_the_reason() {
    let mut settings = settings("dns:///triton.test:8001");
    settings.resolver = Resolver::from_fn(|_, _| async { Ok(Vec::new()) });
    let predictor = connecting(&settings);
    wait_not_ready(&predictor, "dns:///triton.test:8001 has no address").await;
}

#[tokio::test]
async fn a_name_whose_first_address_is_dead() {
    let (dead, triton) = (nobody().await, triton().await);
    let live = triton.address;
    let mut settings = settings("triton.test:8001");
    settings.resolver = Resolver::from_fn(move |_, _| async move { Ok(vec![dead, live]) });
    let predictor = ready(&settings).await;
    assert_eq!(scores(&predictor, 1, 1).await.unwrap(), [1.0]);
}
