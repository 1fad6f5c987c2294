//! What `/metrics` says of each way in which a request can end: exactly the counters that it should
//! move, and no others.

mod documented;
mod ledger;
mod load;

use std::collections::VecDeque;

use kserve_transformer::wire::triton::ModelInferRequest;
use kserve_transformer::wire::triton::infer_parameter::ParameterChoice;
use kserve_transformer::wire::triton::{InferParameter, RepositoryModelLoadRequest};
use reqwest::Method;
use serde_json::json;
use tonic::{Code, Request};

use self::ledger::{GRPC, Ledger, STREAM, V1, V2};
use super::errors::{grpc, image_request};
use crate::world::triton::Fault;
use crate::world::{World, grey, item, multi, single};

const MODEL: &str = "facequality";

/// An inference of one image over V2.
fn v2_body(image: &[u8]) -> String {
    let data = base64_simd::STANDARD.encode_to_string(image);
    let input = json!({"name": "image", "datatype": "BYTES", "shape": [1], "data": [data]});
    json!({"inputs": [input]}).to_string()
}

/// An inference with a deadline of a fifth of a second.
fn hurried(image: &[u8]) -> ModelInferRequest {
    let mut request = image_request(MODEL, image);
    let timeout = InferParameter {
        parameter_choice: Some(ParameterChoice::Int64Param(200_000)),
    };
    request.parameters.insert("timeout".to_owned(), timeout);
    request
}

#[tokio::test]
async fn scores_are_counted_once_over_every_protocol_and_apart_from_probes() {
    let ledger = &mut Ledger::open(World::new().await).await;
    let good = |ledger: &mut Ledger, from| {
        ledger.prediction(from, MODEL, "ok");
        ledger.call("ok");
        ledger.images("score", 1);
    };
    assert_eq!(ledger.world.predict(grey(1)).await.status, 200);
    good(ledger, V1);
    ledger.response(V1, "200");
    ledger.balance("V1").await;
    let path = "/v2/models/facequality/infer";
    let response = ledger.world.send(Method::POST, path, v2_body(&grey(1)));
    assert_eq!(response.await.status, 200);
    good(ledger, V2);
    ledger.response(V2, "200");
    ledger.balance("V2").await;
    let mut client = grpc(&ledger.world).await;
    let image = image_request(MODEL, &grey(1));
    client.model_infer(image.clone()).await.unwrap();
    good(ledger, GRPC);
    ledger.response(GRPC, "OK");
    ledger.balance("gRPC").await;
    let requests = tokio_stream::iter(vec![image.clone(), image_request(MODEL, b"no image")]);
    let mut responses = client
        .model_stream_infer(requests)
        .await
        .unwrap()
        .into_inner();
    while responses.message().await.unwrap().is_some() {}
    good(ledger, STREAM);
    ledger.response(STREAM, "OK");
    ledger.error(STREAM, MODEL, "caller", "invalid");
    ledger.response(STREAM, "INVALID_ARGUMENT");
    ledger.balance("a stream").await;
    // No prediction.
    assert_eq!(ledger.world.get("/v2/health/live").await.status, 200);
    client
        .server_live(kserve_transformer::wire::triton::ServerLiveRequest {})
        .await
        .unwrap();
    assert_eq!(
        ledger
            .world
            .get("/v2/models/facequality/config")
            .await
            .status,
        200
    );
    ledger.response(("v2", "metadata"), "200");
    assert_eq!(ledger.world.get("/nowhere").await.status, 404);
    ledger.response(("http", "other"), "404");
    ledger.balance("what is no prediction").await;
}

#[tokio::test]
async fn what_callers_do_wrong_is_counted_by_its_reason_over_both_protocols() {
    let flags = [
        "--max_body_bytes=100000",
        "--max_item_bytes=50000",
        "--item_url_allow=127.0.0.1/32",
    ];
    let ledger = &mut Ledger::open(World::with(&flags, |_| ()).await).await;
    // Of a message that is too large nobody knows the model.
    for (name, element, origin, reason, status, code, model_of_grpc) in [
        (
            "no image",
            b"no image".to_vec(),
            "caller",
            "invalid",
            "400",
            "INVALID_ARGUMENT",
            MODEL,
        ),
        (
            "a large image",
            vec![0; 60_000],
            "caller",
            "too_large",
            "413",
            "RESOURCE_EXHAUSTED",
            MODEL,
        ),
        (
            "a large body",
            vec![0; 200_000],
            "caller",
            "too_large",
            "413",
            "RESOURCE_EXHAUSTED",
            "",
        ),
        (
            "an unreachable host",
            b"http://127.0.0.1:1/a".to_vec(),
            "item",
            "item_unreachable",
            "502",
            "FAILED_PRECONDITION",
            MODEL,
        ),
        (
            "a refused host",
            b"http://10.0.0.1/a".to_vec(),
            "caller",
            "invalid",
            "400",
            "INVALID_ARGUMENT",
            MODEL,
        ),
    ] {
        let fetched = element.starts_with(b"http");
        let rest = match std::str::from_utf8(&element) {
            Ok(text) if fetched => ledger.world.predict(single(text)).await,
            _ => ledger.world.predict(element.clone()).await,
        };
        assert_eq!(rest.status.as_str(), status, "{name}");
        ledger.error(V1, MODEL, origin, reason);
        ledger.response(V1, status);
        let mut client = grpc(&ledger.world).await;
        client
            .model_infer(image_request(MODEL, &element))
            .await
            .unwrap_err();
        ledger.error(GRPC, model_of_grpc, origin, reason);
        ledger.response(GRPC, code);
        if fetched {
            let outcome = if origin == "item" {
                "unreachable"
            } else {
                "refused"
            };
            ledger.fetches("url", outcome, 2);
        }
        ledger.balance(name).await;
    }
    let path = "/v1/models/other:predict";
    ledger
        .world
        .send(Method::POST, path, single(&item(&grey(1))))
        .await;
    ledger.error(V1, "", "caller", "not_found");
    ledger.response(V1, "404");
    let mut client = grpc(&ledger.world).await;
    client
        .model_infer(image_request("other", b"x"))
        .await
        .unwrap_err();
    ledger.error(GRPC, "", "caller", "not_found");
    ledger.response(GRPC, "NOT_FOUND");
    ledger.balance("an unknown model").await;
    ledger.world.get("/v1/models/facequality:predict").await;
    ledger.error(V1, "", "caller", "wrong_method");
    ledger.response(V1, "405");
    ledger.balance("a wrong method").await;
    let url = ledger.world.url("/v1/models/facequality:predict");
    let unknown = ledger
        .world
        .client
        .post(url)
        .header("content-encoding", "zstd");
    assert_eq!(unknown.body("x").send().await.unwrap().status(), 415);
    ledger.error(V1, MODEL, "caller", "unsupported_encoding");
    ledger.response(V1, "415");
    ledger.balance("an unknown encoding").await;
    client
        .repository_model_load(RepositoryModelLoadRequest::default())
        .await
        .unwrap_err();
    ledger.response(("grpc", "other"), "UNIMPLEMENTED");
    ledger.balance("what is not built in").await;
    let two = multi(&[grey(1), b"no image".to_vec()]);
    let mut two: serde_json::Value = serde_json::from_str(&two).unwrap();
    two["extra_info"] = json!({"image_errors": "report"});
    assert_eq!(ledger.world.predict(two.to_string()).await.status, 200);
    ledger.prediction(V1, MODEL, "ok");
    ledger.response(V1, "200");
    ledger.call("ok");
    ledger.images("score", 1);
    ledger.images("error", 1);
    ledger.balance("an image that fails alone").await;
}

#[tokio::test]
async fn what_the_predictor_does_is_counted_by_its_reason_over_both_protocols() {
    let ledger = &mut Ledger::open(World::new().await).await;
    for (fault, outcome, reason, status, code) in [
        (
            Fault::Status(Code::Internal, "CUDA error"),
            "error_response",
            "predictor_error",
            "502",
            "INTERNAL",
        ),
        (
            Fault::Twist(|response| response.raw_output_contents[0].clear()),
            "invalid_response",
            "predictor_error",
            "502",
            "INTERNAL",
        ),
        (
            Fault::Status(Code::Unauthenticated, "who?"),
            "unauthenticated",
            "unauthenticated",
            "401",
            "UNAUTHENTICATED",
        ),
        (
            Fault::Status(Code::PermissionDenied, "no"),
            "permission_denied",
            "permission_denied",
            "403",
            "PERMISSION_DENIED",
        ),
        (
            Fault::Status(Code::ResourceExhausted, "slow down"),
            "overloaded",
            "predictor_overloaded",
            "429",
            "RESOURCE_EXHAUSTED",
        ),
    ] {
        ledger
            .world
            .triton
            .set(|script| script.faults = VecDeque::from([fault.clone(), fault]));
        assert_eq!(
            ledger.world.predict(grey(1)).await.status.as_str(),
            status,
            "{reason}"
        );
        ledger.error(V1, MODEL, "predictor", reason);
        ledger.response(V1, status);
        let mut client = grpc(&ledger.world).await;
        client
            .model_infer(image_request(MODEL, &grey(1)))
            .await
            .unwrap_err();
        ledger.error(GRPC, MODEL, "predictor", reason);
        ledger.response(GRPC, code);
        ledger.call(outcome);
        ledger.call(outcome);
        ledger.balance(outcome).await;
    }
    let full = Fault::Status(Code::Unavailable, "Exceeds maximum queue size");
    ledger
        .world
        .triton
        .set(|script| script.faults = VecDeque::from([full]));
    assert_eq!(ledger.world.predict(grey(1)).await.status, 200);
    ledger.prediction(V1, MODEL, "ok");
    ledger.response(V1, "200");
    ledger.images("score", 1);
    ledger.call("unavailable");
    ledger.retry("queue_full");
    ledger.call("ok");
    ledger.balance("a call that is sent once more").await;
    ledger.world.triton.set(|script| script.hold = true);
    let url = ledger.world.url("/v1/models/facequality:predict");
    let hurried_rest = ledger
        .world
        .client
        .post(url)
        .header("x-request-timeout-ms", "200");
    assert_eq!(
        hurried_rest.body(grey(1)).send().await.unwrap().status(),
        504
    );
    ledger.error(V1, MODEL, "predictor", "predictor_deadline");
    ledger.response(V1, "504");
    let mut client = grpc(&ledger.world).await;
    client.model_infer(hurried(&grey(1))).await.unwrap_err();
    ledger.error(GRPC, MODEL, "predictor", "predictor_deadline");
    ledger.response(GRPC, "DEADLINE_EXCEEDED");
    ledger.call("deadline");
    ledger.call("deadline");
    ledger.balance("a predictor that does not answer").await;
    // Who leaves gets no code.
    for from in [V1, GRPC] {
        let in_flight = |observed: &crate::world::triton::Observed| observed.in_flight == 1;
        if from == V1 {
            let request = ledger
                .world
                .client
                .post(ledger.world.url("/v1/models/facequality:predict"));
            let call = tokio::spawn(request.body(grey(1)).send());
            ledger.world.triton.wait(in_flight).await;
            call.abort();
        } else {
            let mut client = grpc(&ledger.world).await;
            let image = image_request(MODEL, &grey(1));
            let call = tokio::spawn(async move { client.model_infer(Request::new(image)).await });
            ledger.world.triton.wait(in_flight).await;
            call.abort();
        }
        ledger.prediction(from, MODEL, "canceled");
        ledger.call("canceled");
        ledger.balance("a caller who left").await;
    }
}

#[tokio::test]
async fn a_predictor_that_is_gone_is_counted_over_both_protocols() {
    let world = World::unready(&[], |script| script.unloaded = true).await;
    let ledger = &mut Ledger::open(world).await;
    // Until then requests would wait for the first look at it.
    while !ledger
        .world
        .get("/v2/health/ready")
        .await
        .text
        .contains("not found")
    {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(ledger.world.predict(grey(1)).await.status, 503);
    ledger.error(V1, MODEL, "predictor", "predictor_unavailable");
    ledger.response(V1, "503");
    let mut client = grpc(&ledger.world).await;
    client
        .model_infer(image_request(MODEL, &grey(1)))
        .await
        .unwrap_err();
    ledger.error(GRPC, MODEL, "predictor", "predictor_unavailable");
    ledger.response(GRPC, "UNAVAILABLE");
    ledger.balance("a predictor without the model").await;
}

#[cfg(feature = "embedded")]
#[tokio::test]
async fn a_panic_is_a_failure_of_this_service() {
    use kserve_transformer::command::transformers;
    use kserve_transformer::testing::TestService;
    use kserve_transformer::wire::triton::grpc_inference_service_client::GrpcInferenceServiceClient;

    use crate::world::page;

    let service = TestService::new();
    let service = service.model("face_quality_trt_fp16", |_| panic!("on purpose"));
    let service = service.start(transformers).await.unwrap();
    let (status, _) = service.predict(MODEL, &[&grey(1)]).await.unwrap();
    assert_eq!(status, 500);
    let (status, _) = service.infer(MODEL, &[&grey(1)]).await.unwrap();
    assert_eq!(status, 500);
    let mut client = GrpcInferenceServiceClient::connect(service.url.clone())
        .await
        .unwrap();
    let failed = client.model_infer(image_request(MODEL, &grey(1))).await;
    assert_eq!(failed.unwrap_err().code(), Code::Internal);
    let text = reqwest::get(format!("{}/metrics", service.url))
        .await
        .unwrap();
    let page = page(&text.text().await.unwrap());
    for (protocol, route) in [V1, V2, GRPC] {
        let labels = format!("protocol=\"{protocol}\",origin=\"internal\",reason=\"internal\"");
        assert_eq!(page[&format!("facequality_errors_total{{{labels}}}")], 1.0);
        let labels = format!("protocol=\"{protocol}\",route=\"{route}\",outcome=\"failed\"");
        let labels = format!("model_name=\"{MODEL}\",{labels}");
        assert_eq!(
            page[&format!("facequality_predictions_total{{{labels}}}")],
            1.0
        );
    }
    let calls = "facequality_predictor_calls_total";
    let labels = "model=\"face_quality_trt_fp16\",outcome=\"internal\"";
    assert_eq!(page[&format!("{calls}{{{labels}}}")], 3.0);
}
