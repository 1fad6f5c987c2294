//! What a predictor or a proxy in front of it says keeps its meaning, and what restricts access to
//! a predictor does not keep it from being ready.

use tonic::Code;

use super::*;
use crate::world::triton::{Fault, HttpResponse};

over_both_protocols!(
    an_upstream_status_keeps_its_meaning,
    a_predictor_that_wants_a_token_on_every_call,
    metadata_that_names_no_tensors,
    timeout_and_priority_go_along,
    outcomes_are_distinguished,
);

async fn an_upstream_status_keeps_its_meaning(protocol: Protocol) {
    let (triton, predictor) = pair(protocol).await;
    for (code, outcome) in [
        (Code::Unauthenticated, "the predictor wants credentials: no"),
        (
            Code::PermissionDenied,
            "the predictor denied permission: no",
        ),
        (Code::ResourceExhausted, "the predictor is overloaded: no"),
    ] {
        let calls = triton.observed().calls;
        triton.set(|script| script.faults = [Fault::Status(code, "no")].into());
        let error = scores(&predictor, 1, 1).await.unwrap_err();
        assert_eq!(error.to_string(), outcome);
        assert_eq!(triton.observed().calls, calls + 1, "not sent again");
    }
}

async fn a_predictor_that_wants_a_token_on_every_call(protocol: Protocol) {
    let triton = triton().await;
    triton.set(|script| script.required_header = Some(("authorization", "Bearer abc")));
    let mut settings = settings_over(protocol, &triton.host());
    let without = connecting(&settings);
    wait_not_ready(&without, "a token is needed").await;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "Bearer abc\n").unwrap();
    let header = format!("authorization=@{}", file.display());
    settings.headers = vec![PredictorHeader::parse(&header).unwrap()];
    let predictor = ready(&settings).await;
    // The caller's own does not take its place.
    let mut context = context(LONG);
    let own = "Bearer caller".parse().unwrap();
    context.headers.insert("authorization", own);
    predictor.infer(rows(1, 1), &context).await.unwrap();
}

async fn metadata_that_names_no_tensors(protocol: Protocol) {
    let triton = triton().await;
    triton.set(|script| script.no_tensors = true);
    let predictor = ready(&settings_over(protocol, &triton.host())).await;
    assert_eq!(scores(&predictor, 1, 2).await.unwrap(), [1.0, 2.0]);
}

async fn timeout_and_priority_go_along(protocol: Protocol) {
    let (triton, predictor) = pair(protocol).await;
    let mut context = context(Duration::from_secs(9));
    context.priority = Some(2);
    predictor.infer(rows(1, 1), &context).await.unwrap();
    let parameters = triton.observed().parameters;
    let value = |name: &str| match parameters[name].parameter_choice {
        Some(ParameterChoice::Int64Param(value)) => value,
        ref other => panic!("{other:?}"),
    };
    assert_eq!(value("priority"), 2);
    assert!((5_000_000..=9_000_000).contains(&value("timeout")));
}

async fn outcomes_are_distinguished(protocol: Protocol) {
    let triton = triton().await;
    let mut settings = settings_over(protocol, &triton.host());
    settings.concurrency = 1;
    let metrics = metrics();
    let predictor = Predictor::remote(&settings, signature(), &metrics).unwrap();
    wait_ready(&predictor).await;
    triton.set(|script| script.hold = true);
    let short = context(Duration::from_millis(300));
    let error = predictor.infer(rows(1, 1), &short).await.unwrap_err();
    assert!(matches!(error, Error::Deadline), "{error:?}");
    assert_eq!(outcomes(&metrics, "deadline"), 1);

    let long = context(LONG);
    let call = predictor.infer(rows(1, 1), &long);
    tokio::pin!(call);
    let short = context(Duration::from_millis(300));
    tokio::select! {
        biased;
        result = &mut call => panic!("{result:?}"),
        result = predictor.infer(rows(1, 1), &short) => {
            assert!(matches!(result, Err(Error::NoPermit)), "{result:?}");
        }
    }
    assert_eq!(outcomes(&metrics, "no_permit"), 1);
    assert_eq!(outcomes(&metrics, "canceled"), 0);
}

#[tokio::test]
async fn a_caller_that_leaves_is_counted_as_canceled() {
    let triton = triton().await;
    let metrics = metrics();
    let settings = settings(&triton.host());
    let predictor = Predictor::remote(&settings, signature(), &metrics).unwrap();
    wait_ready(&predictor).await;
    triton.set(|script| script.hold = true);
    tokio::select! {
        result = scores(&predictor, 1, 1) => panic!("{result:?}"),
        _ = triton.wait(|observed| observed.in_flight == 1) => (),
    }
    assert_eq!(outcomes(&metrics, "canceled"), 1);
    assert_eq!(outcomes(&metrics, "deadline"), 0);
}

#[tokio::test]
async fn a_model_configuration_that_is_refused_is_like_none() {
    let restricted = "This protocol is restricted, expecting header 'triton-grpc-protocol-admin'";
    for (protocol, code) in [
        (Protocol::Grpc, Code::Unavailable),
        (Protocol::Grpc, Code::PermissionDenied),
        (Protocol::Rest, Code::PermissionDenied),
        (Protocol::Rest, Code::Unauthenticated),
    ] {
        let triton = triton().await;
        triton.set(|script| script.config_refused = Some((code, restricted)));
        let mut settings = settings_over(protocol, &triton.host());
        settings.default_max_batch = 7;
        assert_eq!(wait_ready(&connecting(&settings)).await, 7);
    }
}

#[tokio::test]
async fn a_long_error_over_grpc_is_not_a_lost_connection() {
    let (triton, predictor) = pair(Protocol::Grpc).await;
    for bytes in [16_000, 20_000, 60_000] {
        let calls = triton.observed().calls;
        let text: &'static str = "é".repeat(bytes / 2).leak();
        triton.set(|script| script.faults = [Fault::Status(Code::Internal, text)].into());
        let error = scores(&predictor, 1, 1).await.unwrap_err();
        assert!(matches!(error, Error::ErrorResponse { .. }), "{error:?}");
        assert!(error.to_string().len() < 2_000);
        assert_eq!(triton.observed().calls, calls + 1, "not sent again");
    }
    assert_eq!(triton.observed().connections, 1);
}

#[tokio::test]
async fn a_login_page_and_a_redirect_are_named() {
    let cases = [
        (
            HttpResponse {
                status: 302,
                headers: &[("location", "https://dex/auth?state=secret")],
                body: "",
            },
            "the predictor answered HTTP 302: a redirect to https://dex/auth, perhaps a login",
        ),
        (
            HttpResponse {
                status: 200,
                headers: &[("content-type", "text/html; charset=utf-8")],
                body: "<html>secret</html>",
            },
            "invalid response from the predictor: it is a page of HTML",
        ),
        (
            HttpResponse {
                status: 429,
                headers: &[("retry-after", "7")],
                body: "slow down",
            },
            "the predictor is overloaded: slow down",
        ),
    ];
    let (triton, predictor) = pair(Protocol::Rest).await;
    for (response, expected) in cases {
        triton.set(|script| script.http_response = Some(response));
        let error = scores(&predictor, 1, 1).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn a_rest_response_is_read_as_servers_write_it() {
    let bodies = [
        r#"{"id":null,"parameters":null,"model_version":null,"outputs":[{"name":"1346",
            "datatype":"FP32","shape":[2,1],"parameters":null,"data":[[0.5],[0.25]]}]}"#,
        r#"{"outputs":[{"name":"label","datatype":"BYTES","shape":[1],"data":["face"]},
            {"name":"flag","datatype":"BOOL","shape":[1],"data":[true]},
            {"name":"1346","datatype":"FP32","shape":[2,1],"data":[0.5,0.25]}]}"#,
    ];
    let (triton, predictor) = pair(Protocol::Rest).await;
    let respond = |body| {
        let headers = &[];
        let status = 200;
        let response = HttpResponse {
            status,
            headers,
            body,
        };
        triton.set(|script| script.http_response = Some(response));
    };
    for body in bodies {
        respond(body);
        assert_eq!(scores(&predictor, 1, 2).await.unwrap(), [0.5, 0.25]);
    }
    respond(r#"{"outputs":[{"name":"1346","datatype":"FP32","shape":[1,1],"data":[NaN]}]}"#);
    assert!(scores(&predictor, 1, 1).await.unwrap()[0].is_nan());
}
