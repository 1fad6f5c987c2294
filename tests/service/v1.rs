//! KServe's V1 protocol.

use reqwest::Method;
use serde_json::json;

use crate::world::{World, grey, item, multi, read, score_of_grey, single};

#[tokio::test]
async fn one_image_and_many() {
    let world = World::new().await;
    let score = score_of_grey(200);
    let entry = format!(
        r#"{{"data":[{{"score":{score}}}],"extra_info":{{"source":"face_quality_score"}}}}"#
    );
    let response = world.predict(single(&item(&grey(200)))).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.text, format!(r#"{{"multi_data":[{entry}]}}"#));
    assert_eq!(response.headers["content-type"], "application/json");
    let response = world.predict(multi(&vec![grey(200); 3])).await;
    assert_eq!(
        response.text,
        format!(r#"{{"multi_data":[{entry},{entry},{entry}]}}"#)
    );
}

#[tokio::test]
async fn an_image_as_the_body_is_a_request() {
    let world = World::new().await;
    let response = world.predict(grey(10)).await;
    assert_eq!(response.scores(), [score_of_grey(10)]);
}

#[tokio::test]
async fn quirks_of_existing_clients_score() {
    let world = World::new().await;
    let image = grey(99);
    let base64 = base64_simd::STANDARD.encode_to_string(&image);
    let bodies = [
        // Python's f-string over bytes.
        single(&format!("data:image/jpeg;base64,b'{base64}'")),
        // A pydantic dict with every optional field.
        json!({"data": {"item": item(&image)}, "multi_data": null, "instances": null,
               "extra_info": {"type": null, "others": null, "image_errors": null}})
        .to_string(),
        // PNG bytes under another type.
        single(&format!("data:image/jpeg;base64,{base64}")),
        single(&item(&image)).replace('/', "\\/"),
        format!("\n {}", single(&item(&image))),
    ];
    for body in bodies {
        let response = world.predict(body.clone()).await;
        assert_eq!(response.status, 200, "{}", response.text);
        assert_eq!(response.scores(), [score_of_grey(99)]);
    }
    let request = world
        .client
        .post(world.url("/v1/models/facequality%3Apredict"))
        .header("content-type", "text/plain; charset=utf-8")
        .body(single(&item(&image)));
    assert_eq!(
        read(request.send().await.unwrap()).await.scores(),
        [score_of_grey(99)]
    );
}

#[tokio::test]
async fn instances_give_predictions() {
    let world = World::new().await;
    let base64 = base64_simd::STANDARD.encode_to_string(grey(1));
    let body = json!({"instances": [
        {"b64": base64}, {"image": {"b64": base64}}, {"image_bytes": {"b64": base64}}, item(&grey(2))
    ]});
    let response = world.predict(body.to_string()).await;
    let (one, two) = (score_of_grey(1), score_of_grey(2));
    assert_eq!(
        response.text,
        format!(r#"{{"predictions":[{one},{one},{one},{two}]}}"#)
    );
}

#[tokio::test]
async fn routes() {
    let world = World::new().await;
    for (method, path, status, text) in [
        ("GET", "/", 200, r#"{"status":"alive"}"#),
        ("GET", "/v1/models", 200, r#"{"models":["facequality"]}"#),
        ("GET", "/v1/models/", 200, r#"{"models":["facequality"]}"#),
        (
            "GET",
            "/v1/models/facequality",
            200,
            r#"{"name":"facequality","ready":true}"#,
        ),
        ("GET", "/v2/health/live", 200, r#"{"live":true}"#),
        ("GET", "/v2/health/ready", 200, r#"{"ready":true}"#),
    ] {
        let response = world
            .send(Method::from_bytes(method.as_bytes()).unwrap(), path, "")
            .await;
        assert_eq!(response.status, status, "{method} {path}");
        assert_eq!(response.text, text, "{method} {path}");
    }
    for (method, path, status, allow) in [
        ("GET", "/nothing", 404, None),
        ("GET", "/v1/models/other", 404, None),
        ("POST", "/v1/models/other:predict", 404, None),
        ("POST", "/v1/models/facequality:other", 404, None),
        ("POST", "/v1/models/facequality:explain", 501, None),
        ("GET", "/v1/models/facequality:predict", 405, Some("POST")),
        (
            "DELETE",
            "/v1/models/facequality:predict",
            405,
            Some("POST"),
        ),
        ("POST", "/v1/models", 405, Some("GET, HEAD")),
        ("POST", "/v2/health/live", 405, Some("GET, HEAD")),
    ] {
        let response = world
            .send(Method::from_bytes(method.as_bytes()).unwrap(), path, "")
            .await;
        assert_eq!(response.status, status, "{method} {path}");
        assert!(!response.error().is_empty());
        let allowed = response
            .headers
            .get("allow")
            .map(|value| value.to_str().unwrap());
        assert_eq!(allowed, allow, "{method} {path}");
    }
    let response = world.send(Method::HEAD, "/v1/models", "").await;
    assert_eq!(
        (response.status.as_u16(), response.text.as_str()),
        (200, "")
    );
}

#[tokio::test]
async fn every_response_names_its_request_and_its_times() {
    let world = World::new().await;
    let response = world.predict(single(&item(&grey(1)))).await;
    assert_eq!(response.headers["x-request-id"].len(), 36);
    let timing = response.headers["server-timing"].to_str().unwrap();
    for stage in [
        "read;dur=",
        "parse;",
        "preprocess;",
        "predict;",
        "postprocess;",
        "total;",
    ] {
        assert!(timing.contains(stage), "{timing}");
    }
    let request = world
        .client
        .post(world.url("/v1/models/facequality:predict"))
        .header("x-request-id", "mine")
        .body(single(&item(&grey(1))));
    assert_eq!(
        read(request.send().await.unwrap()).await.headers["x-request-id"],
        "mine"
    );
    assert_eq!(world.triton.observed().id, "mine");
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let world = World::new().await;
    world.predict(multi(&[grey(1), grey(2)])).await;
    world.predict("{}").await;
    let text = world.get("/metrics").await.text;
    for line in [
        r#"facequality_images_total{model_name="facequality",outcome="score"} 2"#,
        r#"facequality_requests_total{protocol="v1",route="predict",code="400"} 1"#,
        r#"request_preprocess_seconds_count{model_name="facequality"} 1"#,
        r#"request_predict_seconds_count{model_name="facequality"} 1"#,
        "facequality_images_in_flight 0",
        "facequality_predictor_calls_in_flight{model=\"face_quality_trt_fp16\"} 0",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
}

#[tokio::test]
async fn a_broken_image_is_reported_in_its_place() {
    let world = World::new().await;
    let mut images: Vec<_> = (0..100).map(grey).collect();
    images[41] = b"no image".to_vec();
    images[77].truncate(40);
    for _ in 0..3 {
        let response = world.predict(multi(&images)).await;
        assert_eq!(response.status, 400);
        assert!(
            response.error().starts_with("multi_data[41].data.item: "),
            "{}",
            response.text
        );
    }
    let mut body: serde_json::Value = serde_json::from_str(&multi(&images)).unwrap();
    body["extra_info"] = json!({"image_errors": "report"});
    let response = world.predict(body.to_string()).await;
    assert_eq!(response.status, 200, "{}", response.text);
    let entries = response.json()["multi_data"].as_array().unwrap().clone();
    assert_eq!(entries.len(), 100);
    for (index, entry) in entries.iter().enumerate() {
        if index == 41 || index == 77 {
            assert_eq!(entry["data"], json!([]));
            assert!(!entry["extra_info"]["error"].as_str().unwrap().is_empty());
        } else {
            assert_eq!(
                entry["data"][0]["score"].as_f64().unwrap(),
                score_of_grey(index as u8)
            );
        }
    }
    let all_bad = json!({"multi_data": [{"data": {"item": "data:,"}}], "extra_info": {"image_errors": "report"}});
    assert_eq!(world.predict(all_bad.to_string()).await.status, 200);
}

#[tokio::test]
async fn cloud_events_are_answered_as_events() {
    let world = World::new().await;
    let plain = single(&item(&grey(9)));
    let expected = world.predict(plain.clone()).await.json();
    let predict = || {
        world
            .client
            .post(world.url("/v1/models/facequality:predict"))
    };
    let binary = predict()
        .header("content-type", "application/json")
        .header("ce-specversion", "1.0")
        .header("ce-id", "1")
        .header("ce-source", "test")
        .header("ce-type", "request")
        .body(plain.clone());
    let binary = read(binary.send().await.unwrap()).await;
    assert_eq!(binary.json(), expected);
    assert_eq!(binary.headers["ce-type"], "io.kserve.inference.response");
    let source = "io.kserve.inference.facequality";
    assert_eq!(binary.headers["ce-source"], source);
    let time = binary.headers["ce-time"].to_str().unwrap();
    assert!(time.ends_with('Z') && time.contains('T'), "{time}");

    let event = format!(
        r#"{{"specversion":"1.0","id":"1","source":"test","type":"request","data":{plain}}}"#
    );
    let structured = predict()
        .header(
            "content-type",
            "application/cloudevents+json; charset=utf-8",
        )
        .body(event);
    let structured = read(structured.send().await.unwrap()).await;
    assert_eq!(
        structured.headers["content-type"],
        "application/cloudevents+json"
    );
    let event = structured.json();
    assert_eq!(event["data"], expected);
    assert_eq!(event["source"], source);
    assert!(event["time"].as_str().unwrap().ends_with('Z'), "{event}");
    for wrong in ["{}", "x"] {
        let event = predict().header("content-type", "application/cloudevents+json");
        let refused = read(event.body(wrong).send().await.unwrap()).await;
        assert_eq!(refused.status, 400);
        assert!(refused.error().contains("CloudEvent"), "{}", refused.text);
    }
}
