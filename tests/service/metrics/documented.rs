//! The table in docs/OPERATIONS.md against the page, and the page's two forms.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::header::ACCEPT;

use crate::world::{World, grey, page, service};

/// Those that only some services have, with what it takes.
const CONDITIONAL: [&str; 1] = ["facequality_tls_certificate_not_after_seconds"];

/// Type and labels.
type Form = (String, BTreeSet<String>);

/// What the table says.
fn documented() -> BTreeMap<String, Form> {
    let text = std::fs::read_to_string("docs/OPERATIONS.md").unwrap();
    let section = text.split("\n## Metrics\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let words = |cell: &str| -> Vec<String> {
        let quoted = cell.split('`').skip(1).step_by(2);
        quoted.map(str::to_owned).collect()
    };
    let mut found = BTreeMap::new();
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').collect();
        let [names, kind, labels, _] = cells.as_slice() else {
            panic!("not four cells: {row}");
        };
        for name in words(names) {
            let labels = words(labels).into_iter().collect();
            found.insert(name, (kind.trim().to_owned(), labels));
        }
    }
    found
}

/// What the page shows.
fn exported(text: &str) -> BTreeMap<String, Form> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let series = page(text);
    types
        .map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            let samples: Vec<_> = series
                .keys()
                .filter(|series| {
                    let sample = series.split('{').next().unwrap();
                    sample == name || kind == "histogram" && sample == format!("{name}_count")
                })
                .collect();
            assert!(!samples.is_empty(), "{name} has no series");
            let labels = samples[0].split_once('{').map_or("", |(_, labels)| labels);
            let labels = labels
                .split("\",")
                .filter_map(|label| label.split_once('='));
            let labels = labels.map(|(label, _)| label.to_owned()).collect();
            (name.to_owned(), (kind.to_owned(), labels))
        })
        .collect()
}

#[tokio::test]
async fn the_table_is_the_page() {
    let world = World::new().await;
    assert_eq!(world.predict(grey(1)).await.status, 200);
    let exported = exported(&world.get("/metrics").await.text);
    let documented = documented();
    for (name, form) in &exported {
        assert_eq!(documented.get(name), Some(form), "{name}");
    }
    for name in documented.keys() {
        let shown = exported.contains_key(name) || CONDITIONAL.contains(&name.as_str());
        assert!(shown, "{name} is documented and not exported");
    }
}

#[tokio::test]
async fn the_end_of_the_certificate_is_shown() {
    let file = |name| format!("{}/tests/world/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let flags = [
        format!("--ssl_certfile={}", file("server.pem")),
        format!("--ssl_keyfile={}", file("server-key.pem")),
    ];
    let service = service(&flags).await;
    let authority = std::fs::read(file("ca.pem")).unwrap();
    let authority = reqwest::Certificate::from_pem(&authority).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([authority]);
    let url = format!("https://localhost:{}/metrics", service.http.port());
    let response = client.build().unwrap().get(url).send().await.unwrap();
    let page = page(&response.text().await.unwrap());
    // As openssl says: Nov 4 13:30:21 2126 GMT.
    let end = page["facequality_tls_certificate_not_after_seconds"];
    assert_eq!(end, 4_949_472_621.0);
}

#[tokio::test]
async fn every_stage_has_its_histogram_and_its_word_in_the_header() {
    let world = World::new().await;
    let response = world.predict(grey(1)).await;
    let header = response.headers["server-timing"]
        .to_str()
        .unwrap()
        .to_owned();
    let shown: BTreeSet<_> = header
        .split(", ")
        .map(|stage| stage.split(';').next().unwrap().to_owned())
        .collect();
    let page = page(&world.get("/metrics").await.text);
    let counted = page.iter().filter_map(|(series, count)| {
        let labels = series.strip_prefix("facequality_stage_seconds_count{")?;
        let stage = labels.strip_prefix("model_name=\"facequality\",stage=\"")?;
        (*count == 1.0).then(|| stage.trim_end_matches("\"}").to_owned())
    });
    let mut counted: BTreeSet<_> = counted.collect();
    assert!(
        counted.contains("decode") && counted.contains("resize"),
        "{counted:?}"
    );
    counted.insert("total".to_owned());
    assert_eq!(shown, counted);
    let calls = "{model=\"face_quality_trt_fp16\"}";
    for name in ["seconds", "images"] {
        let series = format!("facequality_predictor_call_{name}_count{calls}");
        assert_eq!(page[&series], 1.0, "{series}");
    }
    assert_eq!(
        page[&format!("facequality_predictor_call_images_sum{calls}")],
        1.0
    );
}

#[tokio::test]
async fn those_who_ask_for_openmetrics_get_it_with_the_trace_beside_the_time() {
    let world = World::new().await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let url = world.url("/v1/models/facequality:predict");
    let traced = world.client.post(url).body(grey(1));
    let traced = traced.header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
    assert_eq!(traced.send().await.unwrap().status(), 200);
    let asked = world.client.get(world.url("/metrics"));
    let asked = asked.header(
        ACCEPT,
        "application/openmetrics-text;version=1.0.0,*/*;q=0.1",
    );
    let response = asked.send().await.unwrap();
    let content_type = response.headers()["content-type"].to_str().unwrap();
    assert!(
        content_type.starts_with("application/openmetrics-text"),
        "{content_type}"
    );
    let text = response.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"));
    let exemplar = format!("# {{trace_id=\"{trace}\"}}");
    let line = text.lines().find(|line| line.contains(&exemplar)).unwrap();
    assert!(
        line.starts_with("facequality_request_seconds_bucket{"),
        "{line}"
    );
    let plain = world.get("/metrics").await;
    assert_eq!(
        plain.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(!plain.text.contains(trace) && !plain.text.contains("# EOF"));
}
