//! What the counters of a service are expected to say.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::world::{World, page};

/// Protocol and route of a response.
pub(super) type From = (&'static str, &'static str);

pub(super) const V1: From = ("v1", "predict");
pub(super) const V2: From = ("v2", "infer");
pub(super) const GRPC: From = ("grpc", "ModelInfer");
pub(super) const STREAM: From = ("grpc", "ModelStreamInfer");

/// A service, and what its counters must be.
pub(super) struct Ledger {
    pub(super) world: World,
    expected: BTreeMap<String, f64>,
}

impl Ledger {
    /// Begins with what the service counts before any prediction.
    pub(super) async fn open(world: World) -> Self {
        let expected = counters(&world).await;
        assert_eq!(expected, BTreeMap::new(), "all stand at 0");
        Self { world, expected }
    }

    fn add(&mut self, series: String, count: usize) {
        *self.expected.entry(series).or_default() += count as f64;
    }

    /// A prediction for this model ended so.
    pub(super) fn prediction(&mut self, (protocol, route): From, model: &str, outcome: &str) {
        let labels = format!("model_name=\"{model}\",protocol=\"{protocol}\",route=\"{route}\"");
        self.add(
            format!("facequality_predictions_total{{{labels},outcome=\"{outcome}\"}}"),
            1,
        );
        if outcome == "ok" {
            self.add(format!("facequality_request_seconds_count{{{labels}}}"), 1);
        }
    }

    /// A prediction for this model was answered with an error.
    pub(super) fn error(&mut self, from: From, model: &str, origin: &str, reason: &str) {
        let refused = origin == "caller"
            || ["queue_full", "queue_wait", "no_bytes", "no_pixels"].contains(&reason);
        self.prediction(from, model, if refused { "refused" } else { "failed" });
        let labels = format!(
            "protocol=\"{}\",origin=\"{origin}\",reason=\"{reason}\"",
            from.0
        );
        self.add(format!("facequality_errors_total{{{labels}}}"), 1);
    }

    /// A response was sent with this code.
    pub(super) fn response(&mut self, (protocol, route): From, code: &str) {
        let labels = format!("protocol=\"{protocol}\",route=\"{route}\",code=\"{code}\"");
        self.add(format!("facequality_requests_total{{{labels}}}"), 1);
    }

    /// A call to the predictor ended so.
    pub(super) fn call(&mut self, outcome: &str) {
        let labels = format!("model=\"face_quality_trt_fp16\",outcome=\"{outcome}\"");
        self.add(format!("facequality_predictor_calls_total{{{labels}}}"), 1);
    }

    /// A call was sent once more.
    pub(super) fn retry(&mut self, cause: &str) {
        let labels = format!("model=\"face_quality_trt_fp16\",cause=\"{cause}\"");
        self.add(
            format!("facequality_predictor_retries_total{{{labels}}}"),
            1,
        );
    }

    /// So many images of the model `facequality` were responded to.
    pub(super) fn images(&mut self, outcome: &str, count: usize) {
        let labels = format!("model_name=\"facequality\",outcome=\"{outcome}\"");
        self.add(format!("facequality_images_total{{{labels}}}"), count);
    }

    /// So many items were fetched.
    pub(super) fn fetches(&mut self, source: &str, outcome: &str, count: usize) {
        let labels = format!("source=\"{source}\",outcome=\"{outcome}\"");
        self.add(format!("facequality_item_fetches_total{{{labels}}}"), count);
    }

    /// Waits until the service has counted what is expected, and nothing else.
    pub(super) async fn balance(&self, what: &str) {
        let mut found = counters(&self.world).await;
        for _ in 0..1000 {
            if found == self.expected {
                return;
            }
            // What a caller who left leaves behind ends a little later.
            tokio::time::sleep(Duration::from_millis(10)).await;
            found = counters(&self.world).await;
        }
        let differs = |series: &&String| found.get(*series) != self.expected.get(*series);
        let series: Vec<_> = found
            .keys()
            .chain(self.expected.keys())
            .filter(differs)
            .collect();
        let differences = series
            .into_iter()
            .map(|series| (series, found.get(series), self.expected.get(series)));
        let differences: Vec<_> = differences.collect();
        panic!("{what}: (series, found, expected) {differences:#?}");
    }
}

/// The counters that are not 0, without the responses to probes and scrapes.
async fn counters(world: &World) -> BTreeMap<String, f64> {
    let mut counters = page(&world.get("/metrics").await.text);
    counters.retain(|series, value| {
        let name = series.split('{').next().unwrap();
        let counts = name.ends_with("_total") || name == "facequality_request_seconds_count";
        let own = ["route=\"metrics\"", "route=\"health\""];
        let own = own.iter().any(|route| series.contains(route));
        *value != 0.0 && counts && !own && name.starts_with("facequality_")
    });
    // Other tests of this process write it.
    counters.remove("facequality_log_lines_dropped_total");
    counters
}
