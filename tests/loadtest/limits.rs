//! What is refused, given up, or said about a run that should not be believed.

use std::fs::File;
use std::time::Duration;

use kserve_transformer::loadtest::{
    Arrival, Endpoint, Error, Load, Protocol, Rates, Until, execute, html, text,
};

use super::scripted::{HttpTarget, Script};
use super::{closed, images, open, says, settings};

fn refusing(every: u64) -> Script {
    Script {
        refuse_every: Some(every),
        ..Script::default()
    }
}

#[tokio::test]
async fn a_target_that_sheds_load_does_not_hold_an_slo_on_latency() {
    let folder = images();
    let target = HttpTarget::start(refusing(10)).await;
    let mut settings = settings(
        &target.url,
        Protocol::V1,
        &folder,
        closed(1, Until::Requests(20)),
    );
    settings.slo = Some("p99=1h".parse().unwrap());
    let report = execute(&settings).await.unwrap();
    assert!(report.missed(), "{}", text(&report));
    settings.slo = Some("p99=1h,errors=10%".parse().unwrap());
    let report = execute(&settings).await.unwrap();
    assert!(!report.missed(), "{}", text(&report));
}

#[tokio::test]
async fn failures_without_an_slo_are_a_note() {
    let folder = images();
    let target = HttpTarget::start(refusing(10)).await;
    let mut settings = settings(
        &target.url,
        Protocol::V1,
        &folder,
        closed(1, Until::Requests(20)),
    );
    let report = execute(&settings).await.unwrap();
    let note = "2 of 20 requests failed (10.0 %)";
    assert!(says(&report, note), "{}", text(&report));
    settings.slo = Some("errors=50%".parse().unwrap());
    let report = execute(&settings).await.unwrap();
    assert!(!says(&report, "requests failed"), "{}", text(&report));
}

/// Fifty requests are sent to see, and those that are in flight by then.
#[tokio::test]
async fn a_target_that_fails_every_request_is_given_up() {
    let folder = images();
    let connections = 4;
    let length = Duration::from_secs(600);
    let rates = Rates {
        from: 500.0,
        to: 1000.0,
    };
    let arrival = Arrival::Constant;
    for load in [
        closed(connections, Until::Elapsed(length)),
        Load::Open {
            rates,
            steps: 10,
            arrival,
            length,
        },
        Load::FindRate {
            start: 500.0,
            arrival,
            length,
        },
    ] {
        let target = HttpTarget::start(refusing(1)).await;
        let mut settings = settings(&target.url, Protocol::V1, &folder, load);
        settings.max_connections = connections;
        settings.warmup = Duration::from_millis(10);
        settings.slo = Some("p99=1s".parse().unwrap());
        let report = execute(&settings).await.unwrap();
        let stopped = report.stopped.as_deref().unwrap();
        assert!(stopped.contains("http 503 \"full\""), "{stopped}");
        assert!(text(&report).contains(stopped));
        assert_eq!(report.runs.len(), 1);
        assert!(!report.any_ok());
        let received = target.received();
        assert!(
            (50..=50 + connections as u64).contains(&received),
            "{received}"
        );
    }
}

#[tokio::test]
async fn one_of_two_targets_that_only_fails_ends_the_comparison() {
    let folder = images();
    let healthy = HttpTarget::start(Script::default()).await;
    let failing = HttpTarget::start(refusing(1)).await;
    let load = closed(1, Until::Requests(100));
    let mut settings = settings(&healthy.url, Protocol::V1, &folder, load);
    settings.compare = Some(Endpoint {
        url: failing.url.clone(),
        ..settings.target.clone()
    });
    let report = execute(&settings).await.unwrap();
    let stopped = report.stopped.as_deref().unwrap();
    assert!(stopped.starts_with(&failing.url), "{stopped}");
    assert_eq!(report.runs.len(), 2);
    assert_eq!(failing.received(), 50);
}

#[tokio::test]
async fn images_that_do_not_fit_in_memory_are_refused_unread() {
    let folder = images();
    let target = HttpTarget::start(Script::default()).await;
    let mut settings = settings(
        &target.url,
        Protocol::V1,
        &folder,
        closed(1, Until::Requests(1)),
    );
    // A hole of a terabyte: reading it would take minutes and all memory.
    let huge = folder.path().join("huge.jpg");
    File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    settings.images.push(huge);
    let error = execute(&settings).await.unwrap_err();
    assert!(matches!(error, Error::Usage(_)), "{error}");
    assert!(error.to_string().contains("MiB of memory"), "{error}");
    assert_eq!(target.received(), 0);
}

#[tokio::test]
async fn grpc_to_a_protocol_over_http_is_refused() {
    let folder = images();
    let load = closed(1, Until::Requests(1));
    let error = execute(&settings("grpc://127.0.0.1:1", Protocol::V1, &folder, load)).await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Usage(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ramp_says_up_to_which_rate_the_slo_held() {
    let folder = images();
    // Ten at a time, 50 ms each: 200 per second.
    let target = HttpTarget::start(Script {
        delay: Duration::from_millis(50),
        slots: Some(10),
        ..Script::default()
    })
    .await;
    let load = Load::Open {
        rates: Rates {
            from: 20.0,
            to: 1000.0,
        },
        steps: 2,
        arrival: Arrival::Constant,
        length: Duration::from_secs(1),
    };
    let mut settings = settings(&target.url, Protocol::V1, &folder, load);
    settings.max_connections = 2000;
    settings.slo = Some("p50=1s".parse().unwrap());
    let report = execute(&settings).await.unwrap();
    let ramp = report.ramp.unwrap();
    assert_eq!(ramp.held_up_to, Some(20.0), "{}", text(&report));
    assert_eq!(ramp.missed_at, Some(1000.0));
    let verdict = "held up to 20.0/s, missed at 1000/s";
    assert!(text(&report).contains(verdict), "{}", text(&report));
    assert!(html(&report).contains(verdict));
    assert!(report.missed());
}

#[tokio::test]
async fn the_page_says_when_where_and_how() {
    let folder = images();
    let target = HttpTarget::start(Script::default()).await;
    let mut settings = settings(&target.url, Protocol::V1, &folder, open(100.0, 0.3));
    settings.slo = Some("p99=10s".parse().unwrap());
    settings.command_line = Some("f loadtest --images 'my <faces>'".to_owned());
    let report = execute(&settings).await.unwrap();
    let page = html(&report);
    let provenance = &report.provenance;
    for words in [
        provenance.started.as_str(),
        &provenance.host,
        env!("CARGO_PKG_VERSION"),
        "my &lt;faces&gt;",
        "p99 ≤ 10.00 s, errors ≤ 0 %",
        "2 images, 0.4 KiB each in the mean, 1 per request",
    ] {
        assert!(page.contains(words), "{words}");
    }
}

#[tokio::test]
async fn the_page_tells_a_from_b_and_names_the_run_of_a_note() {
    let folder = images();
    let target = HttpTarget::start(Script::default()).await;
    let load = closed(1, Until::Requests(20));
    let mut settings = settings(&target.url, Protocol::V1, &folder, load);
    settings.compare = Some(settings.target.clone());
    let report = execute(&settings).await.unwrap();
    let page = html(&report);
    for words in [
        "A p99",
        "B p99",
        "A predict p50",
        "B predict p50",
        "against B",
    ] {
        assert!(page.contains(words), "{words}");
    }
    let note = format!("A1 {}, 1 in flight: closed loop", target.url);
    assert_eq!(
        page.matches(&note).count(),
        2,
        "once in the list, once in the text"
    );
    assert!(page.contains("(same in 3 more)"));
}
