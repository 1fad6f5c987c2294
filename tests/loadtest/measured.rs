//! What is measured: open and closed loops, failures, searches, comparisons.

use std::time::Duration;

use kserve_transformer::loadtest::{
    Arrival, Endpoint, Error, FailureKind, Load, Protocol, Summary, Until, execute, html, text,
};

use super::scripted::{HttpTarget, Script};
use super::{closed, errors, images, open, says, settings};

/// One request in ten is refused, and for 100 ms of each second no response is sent.
fn faulty() -> Script {
    Script {
        delay: Duration::from_millis(2),
        refuse_every: Some(10),
        stall: Some((Duration::from_secs(1), Duration::from_millis(100))),
        ..Script::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_loop_feels_the_stall() {
    let folder = images();
    let target = HttpTarget::start(faulty()).await;
    let settings = settings(&target.url, Protocol::V1, &folder, open(200.0, 4.0));
    let report = execute(&settings).await.unwrap();
    let run = &report.runs[0];

    assert_eq!(run.requests.sent, 800);
    assert_eq!(run.requests.sent, target.received());
    assert_eq!(run.requests.ok, 720);
    assert_eq!(errors(&report), [(FailureKind::Http(503), 80)]);
    // A tenth of the moments lie in a stall, and wait up to its 100 ms: at p99, 90 ms.
    assert!(run.latency.p99_ms > 70.0, "{}", text(&report));
    assert!(
        run.latency.p50_ms < run.latency.p99_ms / 2.0,
        "{}",
        text(&report)
    );
    assert!(run.latency.count == 720 && run.service.count == 720);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_loop_says_that_it_cannot_feel_a_stall() {
    let folder = images();
    let target = HttpTarget::start(faulty()).await;
    let load = closed(4, Until::Elapsed(Duration::from_secs(4)));
    let report = execute(&settings(&target.url, Protocol::V1, &folder, load))
        .await
        .unwrap();
    let run = &report.runs[0];

    assert_eq!(run.requests.sent, target.received());
    assert_eq!(
        errors(&report),
        [(FailureKind::Http(503), target.refused())]
    );
    assert_eq!(run.requests.failed, target.refused());
    assert!(says(&report, "cannot see a stall"), "{}", text(&report));
    assert!(says(&report, "no response for"), "{}", text(&report));
    // Four requests per stall are slow, of a thousand.
    assert!(run.latency.max_ms > 80.0, "{}", text(&report));
    assert!(text(&report).contains("cannot see a stall"));
    assert!(html(&report).contains("cannot see a stall"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_highest_rate_is_found() {
    let folder = images();
    // Ten at a time, 50 ms each: 200 per second.
    let target = HttpTarget::start(Script {
        delay: Duration::from_millis(50),
        slots: Some(10),
        ..Script::default()
    })
    .await;
    let load = Load::FindRate {
        start: 160.0,
        arrival: Arrival::Constant,
        length: Duration::from_millis(1000),
    };
    let mut settings = settings(&target.url, Protocol::V1, &folder, load);
    settings.slo = Some("p99=120ms,errors=0".parse().unwrap());
    let report = execute(&settings).await.unwrap();
    let found = report.found_rate.unwrap();
    // More than the capacity cannot hold, on the slowest machine either.
    assert!(found <= 200.0 * 1.1, "{}", text(&report));
    let held = |run: &Summary| run.requests.failed == 0 && run.latency.p99_ms <= 120.0;
    let mut at_found = report.runs.iter().filter(|run| run.offered == Some(found));
    assert!(at_found.any(held), "{}", text(&report));
    assert!(report.runs.iter().any(|run| run.offered > Some(found)));
    assert!(!report.missed());
}

#[tokio::test]
async fn a_missed_slo_is_said() {
    let folder = images();
    let target = HttpTarget::start(Script {
        delay: Duration::from_millis(20),
        ..Script::default()
    })
    .await;
    let load = closed(2, Until::Requests(10));
    let mut settings = settings(&target.url, Protocol::V1, &folder, load);
    settings.slo = Some("p50=10ms,errors=0".parse().unwrap());
    let report = execute(&settings).await.unwrap();
    assert!(report.missed());
    let held: Vec<_> = report.verdicts.iter().map(|verdict| verdict.held).collect();
    assert_eq!(held, [false, true]);
}

#[tokio::test]
async fn a_wrong_score_is_an_error_of_its_own() {
    let folder = images();
    let target = HttpTarget::start(Script {
        wrong_every: Some(5),
        ..Script::default()
    })
    .await;
    let load = closed(1, Until::Requests(100));
    let report = execute(&settings(&target.url, Protocol::V1, &folder, load))
        .await
        .unwrap();
    assert_eq!(errors(&report), [(FailureKind::WrongScore, 20)]);
    assert_eq!(report.runs[0].requests.ok, 80);
}

#[tokio::test]
async fn golden_scores_are_an_slo() {
    let folder = images();
    let target = HttpTarget::start(Script::default()).await;
    let load = closed(1, Until::Requests(10));
    let mut settings = settings(&target.url, Protocol::V1, &folder, load);
    let golden = folder.path().join("golden");
    settings.golden = Some(golden.clone());
    std::fs::write(&golden, r#"{"a.jpg": 0.3, "b.jpg": 0.5}"#).unwrap();
    let report = execute(&settings).await.unwrap();
    assert!(!report.missed(), "{}", text(&report));
    std::fs::write(&golden, r#"{"a.jpg": 0.3, "b.jpg": 0.9}"#).unwrap();
    let report = execute(&settings).await.unwrap();
    assert_eq!(errors(&report), [(FailureKind::WrongScore, 5)]);
    assert!(report.missed());
}

#[tokio::test]
async fn a_target_that_goes_away_is_counted_not_fatal() {
    let folder = images();
    let target = HttpTarget::start(Script {
        hang_up_after: Some(50),
        ..Script::default()
    })
    .await;
    let load = closed(2, Until::Requests(60));
    let report = execute(&settings(&target.url, Protocol::V1, &folder, load))
        .await
        .unwrap();
    let run = &report.runs[0];
    assert_eq!((run.requests.sent, run.requests.ok), (60, 50));
    let kinds: Vec<_> = errors(&report).into_iter().map(|(kind, _)| kind).collect();
    assert!(
        kinds
            .iter()
            .all(|kind| [FailureKind::Broken, FailureKind::Connect].contains(kind)),
        "{kinds:?}"
    );
}

#[tokio::test]
async fn an_address_without_a_listener_is_an_error_at_once() {
    let folder = images();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let load = closed(1, Until::Requests(1));
    let error = execute(&settings(&url, Protocol::V1, &folder, load))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn requests_beyond_the_timeout_are_counted_with_their_wait() {
    let folder = images();
    let target = HttpTarget::start(Script {
        delay: Duration::from_secs(60),
        ..Script::default()
    })
    .await;
    let mut settings = settings(&target.url, Protocol::V1, &folder, open(50.0, 0.5));
    settings.timeout = Duration::from_millis(200);
    settings.max_connections = 2;
    let report = execute(&settings).await.unwrap();
    let run = &report.runs[0];
    assert_eq!((run.requests.sent, run.requests.ok), (25, 0));
    assert_eq!(run.requests.failed, 25);
    assert!(
        run.latency.count == 25 && run.latency.p50_ms >= 195.0,
        "{}",
        text(&report)
    );
    assert!(
        errors(&report)
            .iter()
            .any(|(kind, _)| *kind == FailureKind::NeverSent)
    );
}

#[tokio::test]
async fn two_targets_are_compared_in_turns() {
    let folder = images();
    let slow = HttpTarget::start(Script {
        delay: Duration::from_millis(40),
        ..Script::default()
    })
    .await;
    let fast = HttpTarget::start(Script {
        delay: Duration::from_millis(10),
        ..Script::default()
    })
    .await;
    let load = closed(2, Until::Requests(20));
    let mut settings = settings(&slow.url, Protocol::V1, &folder, load);
    settings.compare = Some(Endpoint {
        url: fast.url.clone(),
        ..settings.target.clone()
    });
    let report = execute(&settings).await.unwrap();
    let turns: Vec<_> = report.runs.iter().map(|run| &run.label[..2]).collect();
    assert_eq!(turns, ["A1", "B1", "A2", "B2"]);
    let comparison = report.comparison.as_ref().unwrap();
    let p50 = comparison
        .ratios
        .iter()
        .find(|ratio| ratio.name == "p50 ms");
    let p50 = p50.unwrap();
    assert!(p50.ratio > 2.0 && p50.ratio < 4.5, "{}", text(&report));
    assert!(p50.least <= p50.ratio && p50.ratio <= p50.greatest);
}
