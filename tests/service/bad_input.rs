//! Bad input of every kind: a 400 whose text helps, and the next good request works.

use crate::world::{World, grey, grey_of, item, multi, score_of_grey, single};

#[tokio::test]
async fn twenty_kinds_of_bad_input() {
    let world = World::with(&["--max_images=3", "--max_pixels=10000"], |_| ()).await;
    let mut cut = grey(1);
    cut.truncate(cut.len() / 2);
    let large = grey_of(200, 1);
    let base64 = |bytes: &[u8]| base64_simd::STANDARD.encode_to_string(bytes);
    let cases: Vec<(String, &str)> = vec![
        (String::new(), "the body is empty"),
        ("  \n".into(), "the body is empty"),
        ("{".into(), "not valid JSON"),
        (r#"{"data":{"item":"a"}} x"#.into(), "not valid JSON"),
        (
            "{}".into(),
            "data: expected an object with item, found nothing",
        ),
        (
            r#"{"data":{}}"#.into(),
            "data.item: expected a string, found nothing",
        ),
        (
            r#"{"data":{"item":null}}"#.into(),
            "data.item: expected a string, found null",
        ),
        (
            r#"{"data":{"item":7}}"#.into(),
            "data.item: expected a string, found a number",
        ),
        (
            r#"{"data":[]}"#.into(),
            "data: expected an object with item, found a list",
        ),
        (
            r#"{"multi_data":[]}"#.into(),
            "multi_data: the list is empty",
        ),
        (r#"{"multi_data":{}}"#.into(), "multi_data: expected a list"),
        (
            r#"{"multi_data":[null]}"#.into(),
            "multi_data[0]: expected an object",
        ),
        (
            multi(&vec![grey(1); 4]),
            "at most 3 are allowed (--max_images)",
        ),
        (
            r#"{"instances":[7]}"#.into(),
            "instances[0]: expected a string or an object",
        ),
        (single("hello"), "data:, path: or http(s)://"),
        (single("data:image/png;base64,"), "payload is empty"),
        (single("data:image/png;base64,AA*A"), "at byte"),
        (single("data:image/png,AAAA"), ";base64"),
        (single(&item(b"not an image at all")), "data.item: "),
        (
            single(&format!("data:;base64,{}", base64(&cut))),
            "data.item: ",
        ),
        (single(&item(&large)), "--max_pixels"),
        (
            r#"{"data":{"item":"a"},"extra_info":{"image_errors":"skip"}}"#.into(),
            "image_errors",
        ),
        ("[1]".into(), "the body"),
    ];
    assert!(cases.len() >= 20);
    for (body, text) in cases {
        let response = world.predict(body.clone()).await;
        let shown: String = body.chars().take(60).collect();
        assert_eq!(response.status, 400, "{shown}: {}", response.text);
        assert!(
            response.error().contains(text),
            "{shown}: {}",
            response.text
        );
        assert_eq!(
            world.scores(&[grey(3)]).await,
            [score_of_grey(3)],
            "after {shown}"
        );
    }
}

#[tokio::test]
async fn bodies_beyond_the_limit() {
    let world = World::with(&["--max_body_bytes=4096", "--max_item_bytes=2000"], |_| ()).await;
    let response = world.predict(vec![b' '; 5000]).await;
    assert_eq!(response.status, 413, "{}", response.text);
    assert!(
        response.error().contains("--max_body_bytes"),
        "{}",
        response.text
    );
    let chunks =
        futures_util::stream::iter((0..50).map(|_| Ok::<_, std::io::Error>(vec![b' '; 100])));
    let response = world.predict(reqwest::Body::wrap_stream(chunks)).await;
    assert_eq!(response.status, 413, "{}", response.text);
    let response = world.predict(single(&item(&[0; 2001]))).await;
    assert_eq!(response.status, 413, "{}", response.text);
    assert!(
        response.error().contains("--max_item_bytes"),
        "{}",
        response.text
    );
    let chunks = futures_util::stream::iter([Ok::<_, std::io::Error>(grey(3))]);
    assert_eq!(
        world
            .predict(reqwest::Body::wrap_stream(chunks))
            .await
            .scores(),
        [score_of_grey(3)]
    );
}

#[tokio::test]
async fn an_unknown_encoding_is_named() {
    let world = World::new().await;
    let request = world
        .client
        .post(world.url("/v1/models/facequality:predict"))
        .header("content-encoding", "br");
    let response = crate::world::read(request.body("x").send().await.unwrap()).await;
    assert_eq!(response.status, 415);
    assert!(response.headers.contains_key("accept-encoding"));
}

#[tokio::test]
async fn an_unready_predictor_is_a_503_with_the_reason() {
    let world = World::unready(&[], |script| script.unloaded = true).await;
    let response = world.get("/v2/health/ready").await;
    assert_eq!(response.status, 503);
    assert_eq!(response.json()["ready"], false);
    assert!(!response.json()["reason"].as_str().unwrap().is_empty());
    let response = world.predict(single(&item(&grey(1)))).await;
    assert_eq!(response.status, 503, "{}", response.text);
    assert!(response.headers.contains_key("retry-after"));
    world.triton.set(|script| script.unloaded = false);
    world.wait_ready().await;
    assert_eq!(world.scores(&[grey(1)]).await, [score_of_grey(1)]);
}
