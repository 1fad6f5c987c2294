//! ModelStreamInfer: order, bounds, slow readers.

use super::*;

#[tokio::test]
async fn a_stream_responds_to_each_message_and_goes_on_after_failures() {
    let scripted = Scripted {
        failure: Some(("bad", Error::new(Kind::Invalid, "not an image"))),
        ..Default::default()
    };
    let server = start(scripted).await;
    let requests = (0..50).map(|n| {
        let text = vec![b'x'; n];
        let bytes: &[u8] = if n % 7 == 3 { b"bad" } else { &text };
        ModelInferRequest {
            id: n.to_string(),
            ..images(&[bytes])
        }
    });
    let requests: Vec<_> = requests.collect();
    let mut messages = server
        .client()
        .model_stream_infer(stream::iter(requests))
        .await
        .unwrap()
        .into_inner();
    let mut received = std::collections::BTreeSet::new();
    while let Some(message) = messages.next().await {
        let message = message.unwrap();
        let response = message.infer_response.unwrap();
        let number: usize = response.id.parse().unwrap();
        assert!(received.insert(number), "two responses to {number}");
        let last = &response.parameters["triton_final_response"];
        assert_eq!(
            last.parameter_choice,
            Some(ParameterChoice::BoolParam(true))
        );
        if number % 7 == 3 {
            assert_eq!(message.error_message, "image[0]: not an image");
            assert!(response.outputs.is_empty());
        } else {
            assert_eq!(values(&response.raw_output_contents[0]), [number as f32]);
        }
    }
    assert_eq!(received.len(), 50);
}

#[tokio::test]
async fn a_request_that_is_done_does_not_wait_for_a_slow_one() {
    let scripted = Scripted {
        gate: Some(Semaphore::new(0)),
        ..Default::default()
    };
    let server = start(scripted).await;
    let unready = ModelInferRequest {
        model_name: "other".to_owned(),
        ..images(&[b"1"])
    };
    let requests = [images(&[b"1"]), unready];
    let mut messages = server
        .client()
        .model_stream_infer(stream::iter(requests))
        .await
        .unwrap()
        .into_inner();
    let first = messages.next().await.unwrap().unwrap();
    assert!(
        first.error_message.contains("other"),
        "{}",
        first.error_message
    );
    server.scripted.gate.as_ref().unwrap().add_permits(1);
    let second = messages.next().await.unwrap().unwrap();
    assert_eq!(second.error_message, "");
}

#[tokio::test]
async fn a_stream_works_side_by_side_within_the_bound() {
    let scripted = Scripted {
        gate: Some(Semaphore::new(0)),
        ..Default::default()
    };
    let server = start(scripted).await;
    let requests = (0..100).map(|_| images(&[b"1"]));
    let requests: Vec<_> = requests.collect();
    let messages = server
        .client()
        .model_stream_infer(stream::iter(requests))
        .await
        .unwrap()
        .into_inner();
    let in_flight = &server.scripted.in_flight;
    until(|| in_flight.load(Ordering::SeqCst) == 8).await;
    server.scripted.gate.as_ref().unwrap().add_permits(100);
    assert_eq!(messages.collect::<Vec<_>>().await.len(), 100);
    assert_eq!(server.scripted.most_in_flight.load(Ordering::SeqCst), 8);
    // A stream that is given up gives up its requests.
    server.scripted.begun.store(0, Ordering::SeqCst);
    let requests = stream::iter(vec![images(&[b"1"]); 20]);
    let messages = server.client().model_stream_infer(requests).await.unwrap();
    until(|| in_flight.load(Ordering::SeqCst) == 8).await;
    drop(messages);
    until(|| in_flight.load(Ordering::SeqCst) == 0).await;
    assert_eq!(server.scripted.begun.load(Ordering::SeqCst), 8);
}

#[tokio::test]
async fn a_slow_reader_stops_the_reading_of_requests() {
    let server = start(Scripted::default()).await;
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let image = vec![b'x'; 20_000];
    let requests = stream::iter((0..10_000).map(move |n| {
        counted.fetch_add(1, Ordering::SeqCst);
        ModelInferRequest {
            id: n.to_string(),
            ..images(&[&image])
        }
    }));
    let mut messages = server
        .client()
        .model_stream_infer(requests)
        .await
        .unwrap()
        .into_inner();
    // Not reading, until all that moves has come to rest.
    let mut before = usize::MAX;
    while before != sent.load(Ordering::SeqCst) {
        before = sent.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(
        before < 9_000,
        "{before} of 10000 requests were taken for a reader that reads nothing"
    );
    let mut received = std::collections::BTreeSet::new();
    while let Some(message) = messages.next().await {
        received.insert(message.unwrap().infer_response.unwrap().id);
    }
    assert_eq!(received.len(), 10_000);
}

#[tokio::test]
async fn a_stream_ends_with_the_flags_name_when_a_message_is_too_large() {
    let server = start(Scripted::default()).await;
    let large = vec![7; 5_000_000];
    let requests = stream::iter([images(&[b"1"]), images(&[&large])]);
    let mut messages = server
        .client()
        .model_stream_infer(requests)
        .await
        .unwrap()
        .into_inner();
    assert!(messages.next().await.unwrap().is_ok());
    let refused = messages.next().await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("--max_body_bytes"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_a_message_ends_after_the_idle_time() {
    let server = start(Scripted::default()).await;
    let begun = tokio::time::Instant::now();
    let requests = stream::iter([images(&[b"1"])]).chain(stream::pending());
    let mut client = server.client();
    let messages = client.model_stream_infer(requests).await.unwrap();
    let messages: Vec<_> = messages.into_inner().collect().await;
    assert_eq!(
        messages.len(),
        2,
        "the response that is due, and why it ends"
    );
    assert_eq!(messages[0].as_ref().unwrap().error_message, "");
    let ended = messages[1].as_ref().unwrap_err();
    assert_eq!(ended.code(), Code::DeadlineExceeded);
    assert!(
        ended.message().contains("--idle_timeout_seconds"),
        "{ended}"
    );
    assert!(begun.elapsed() >= Duration::from_secs(60));

    // A caller that names a deadline has all of it.
    let mut request = tonic::Request::new(stream::pending::<ModelInferRequest>());
    request.set_timeout(Duration::from_secs(200));
    let begun = tokio::time::Instant::now();
    let ended = match client.model_stream_infer(request).await {
        Ok(messages) => messages.into_inner().message().await.unwrap_err(),
        Err(status) => status,
    };
    assert!(begun.elapsed() > Duration::from_secs(100), "{ended}");
}
