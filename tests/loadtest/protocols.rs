//! How requests are written and where they go: every protocol, TLS, headers.

use std::path::PathBuf;

use http::{HeaderMap, HeaderValue};
use kserve_transformer::loadtest::{Error, FailureKind, Protocol, Until, execute, text};

use super::scripted::{GrpcTarget, HttpTarget, Script};
use super::{closed, errors, images, open, settings};

fn tls_file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/world/tls", name]
        .iter()
        .collect()
}

#[tokio::test]
async fn every_http_protocol_is_spoken() {
    let folder = images();
    let target = HttpTarget::start(Script::default()).await;
    for (protocol, batch) in [
        (Protocol::V1, 1),
        (Protocol::V1, 3),
        (Protocol::Raw, 1),
        (Protocol::V2, 2),
    ] {
        let load = closed(2, Until::Requests(20));
        let mut settings = settings(&target.url, protocol, &folder, load);
        settings.batch = batch;
        let report = execute(&settings).await.unwrap();
        let run = &report.runs[0];
        assert_eq!(run.requests.ok, 20, "{}", text(&report));
        assert_eq!(run.images, 20 * batch as u64);
        let scores: Vec<_> = report
            .scores
            .iter()
            .map(|image| image.score as f32)
            .collect();
        assert_eq!(scores, [0.3, 0.5], "{protocol:?}");
        let stages: Vec<_> = run.stages.iter().map(|stage| stage.name.as_str()).collect();
        assert_eq!(stages, ["predict", "total"]);
    }
}

#[tokio::test]
async fn every_grpc_protocol_is_spoken() {
    let folder = images();
    let target = GrpcTarget::start().await;
    for protocol in [
        Protocol::GrpcBytes,
        Protocol::GrpcTensor,
        Protocol::GrpcStream,
        Protocol::Triton,
    ] {
        for load in [closed(12, Until::Requests(60)), open(200.0, 0.3)] {
            let mut settings = settings(&target.url, protocol, &folder, load);
            settings.batch = 2;
            let report = execute(&settings).await.unwrap();
            let run = &report.runs[0];
            assert_eq!(run.requests.ok, 60, "{protocol:?}\n{}", text(&report));
            assert_eq!(run.images, 120);
        }
    }
    let load = closed(1, Until::Requests(2));
    let mut settings = settings(&target.url, Protocol::GrpcBytes, &folder, load);
    settings.target.model = "unknown".to_owned();
    let report = execute(&settings).await.unwrap();
    assert_eq!(errors(&report), [(FailureKind::Grpc(5), 2)]);
}

#[tokio::test]
async fn targets_behind_tls_are_reached_over_both_versions_of_http() {
    let folder = images();
    let rest = HttpTarget::start_tls(Script::default()).await;
    let grpc = GrpcTarget::start_tls().await;
    for (url, protocol) in [
        (&rest.url, Protocol::V1),
        (&grpc.url, Protocol::GrpcBytes),
        (&grpc.url, Protocol::GrpcStream),
    ] {
        let mut settings = settings(url, protocol, &folder, closed(2, Until::Requests(6)));
        settings.ca_file = Some(tls_file("ca.pem"));
        let report = execute(&settings).await.unwrap();
        assert_eq!(report.runs[0].requests.ok, 6, "{}", text(&report));
    }
}

#[tokio::test]
async fn mistakes_about_tls_are_named() {
    let folder = images();
    let tls = HttpTarget::start_tls(Script::default()).await;
    let plain = HttpTarget::start(Script::default()).await;
    let load = || closed(1, Until::Requests(1));

    let unknown_ca = settings(&tls.url, Protocol::V1, &folder, load());
    let mut to_plain = settings(
        &plain.url.replace("http:", "https:"),
        Protocol::V1,
        &folder,
        load(),
    );
    to_plain.ca_file = Some(tls_file("ca.pem"));
    for (settings, words) in [
        (unknown_ca, "the TLS handshake failed"),
        (to_plain, "does not speak TLS at this port"),
    ] {
        let error = execute(&settings).await.unwrap_err().to_string();
        assert!(
            error.contains(words) || error.contains("--ca_file"),
            "{error}"
        );
    }

    let to_tls = tls.url.replace("https:", "http:");
    let report = execute(&settings(&to_tls, Protocol::V1, &folder, load())).await;
    let report = report.unwrap();
    let broken = &report.runs[0].errors[0];
    assert_eq!(broken.kind, FailureKind::Broken);

    let mut no_certificate = settings(&tls.url, Protocol::V1, &folder, load());
    no_certificate.ca_file = Some(tls_file("server-key.pem"));
    let error = execute(&no_certificate).await.unwrap_err();
    assert!(matches!(error, Error::Usage(_)), "{error}");
}

#[tokio::test]
async fn headers_reach_the_target_as_an_ingress_wants_them() {
    let folder = images();
    let rest = HttpTarget::start(Script::default()).await;
    let grpc = GrpcTarget::start().await;
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("face.example"));
    headers.insert("authorization", HeaderValue::from_static("Bearer a"));
    for (url, protocol) in [
        (&rest.url, Protocol::V1),
        (&rest.url, Protocol::V2),
        (&grpc.url, Protocol::GrpcBytes),
    ] {
        let mut settings = settings(url, protocol, &folder, closed(1, Until::Requests(2)));
        settings.headers = headers.clone();
        let report = execute(&settings).await.unwrap();
        assert_eq!(report.runs[0].requests.ok, 2, "{}", text(&report));
    }
    let received = rest.last_headers();
    assert_eq!(received["host"], "face.example");
    assert_eq!(received["authorization"], "Bearer a");
    assert_eq!(grpc.last_headers()["authorization"], "Bearer a");

    let mut settings = settings(
        &rest.url,
        Protocol::V1,
        &folder,
        closed(1, Until::Requests(1)),
    );
    settings
        .headers
        .insert("content-length", HeaderValue::from_static("3"));
    let error = execute(&settings).await.unwrap_err().to_string();
    assert!(error.contains("--header content-length"), "{error}");
}
