//! The end: requests in flight are finished, new ones see that it is over.

use std::time::Duration;

use crate::world::{World, grey, item, score_of_grey, single};

#[tokio::test]
async fn requests_in_flight_survive_the_drain() {
    let world = World::with(&[], |script| script.hold = true).await;
    let request = world
        .client
        .post(world.url("/v1/models/facequality:predict"));
    let call = tokio::spawn(async move {
        let response = request.body(single(&item(&grey(7)))).send().await.unwrap();
        crate::world::read(response).await
    });
    world.triton.wait(|observed| observed.in_flight == 1).await;
    let address = world.service.http;
    let drain = tokio::spawn(world.service.drain());
    // The listener closes though a request still runs.
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!drain.is_finished());
    world.triton.set(|script| script.hold = false);
    assert_eq!(call.await.unwrap().scores(), [score_of_grey(7)]);
    drain.await.unwrap();
}

#[tokio::test]
async fn out_of_time_what_runs_is_cut_off() {
    let flags = ["--grace_seconds=0", "--drain_notice_seconds=0"];
    let world = World::with(&flags, |script| script.hold = true).await;
    let request = world
        .client
        .post(world.url("/v1/models/facequality:predict"));
    let call = tokio::spawn(request.body(single(&item(&grey(7)))).send());
    world.triton.wait(|observed| observed.in_flight == 1).await;
    world.service.drain().await;
    assert!(call.await.unwrap().is_err());
    world.triton.wait(|observed| observed.canceled == 1).await;
}

#[tokio::test]
async fn during_the_notice_it_is_not_ready_but_serves() {
    let world = World::with(&["--drain_notice_seconds=2"], |_| ()).await;
    let World {
        service,
        client,
        triton,
    } = world;
    let base = format!("http://{}", service.http);
    let drain = tokio::spawn(service.drain());
    let ready = loop {
        let response = client
            .get(format!("{base}/v2/health/ready"))
            .send()
            .await
            .unwrap();
        if response.status() != 200 {
            break response;
        }
    };
    assert_eq!(ready.status(), 503);
    assert_eq!(
        ready.text().await.unwrap(),
        r#"{"ready":false,"reason":"shutting down"}"#
    );
    let request = client.post(format!("{base}/v1/models/facequality:predict"));
    let response = request.body(single(&item(&grey(7)))).send().await.unwrap();
    assert_eq!(response.status(), 200);
    drop(client);
    drain.await.unwrap();
    drop(triton);
}
