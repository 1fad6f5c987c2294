//! Tells metrics and log of each request once, when it ends, however it ends.

use std::sync::Arc;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::facts::Facts;
use super::metrics::{Metrics, Outcome};
use super::reason::Reason;
use super::sampler::Sampler;
use super::timing::{Stage, Timings, milliseconds};
use super::trace::Trace;

/// The target of the line that each prediction gets.
const ACCESS: &str = concat!(env!("CARGO_CRATE_NAME"), "::access");

/// Where requests are counted and told.
#[derive(Debug)]
pub(crate) struct Observer {
    /// The counters.
    pub(crate) metrics: Arc<Metrics>,
    /// `--enable_latency_logging`: a line for each prediction.
    pub(crate) log_predictions: bool,
    /// Which failures are told.
    pub(crate) sampler: Sampler,
}

impl Observer {
    /// Counts in `metrics`.
    pub(crate) fn new(metrics: Arc<Metrics>, log_predictions: bool) -> Self {
        Self {
            metrics,
            log_predictions,
            sampler: Sampler::default(),
        }
    }
}

/// A request that is being served.
#[derive(Debug)]
pub(crate) struct Observation {
    pub(crate) observer: Arc<Observer>,
    pub(crate) endpoint: Endpoint,
    pub(crate) id: String,
    pub(crate) timings: Arc<Timings>,
    pub(crate) facts: Arc<Facts>,
    pub(crate) trace: Option<Trace>,
    /// The code of the response.
    pub(crate) code: Option<String>,
}

impl Observation {
    /// The response is on its way, with this HTTP status or gRPC code.
    pub(crate) fn end(mut self, code: &str) {
        self.observer.metrics.responses(self.endpoint, code).inc();
        self.code = Some(code.to_owned());
    }

    fn outcome(&self) -> Outcome {
        match (self.facts.reason(), &self.code) {
            (None, Some(_)) => Outcome::Ok,
            (None, None) => Outcome::Canceled,
            (Some(reason), _) if reason.is_refusal() => Outcome::Refused,
            (Some(_), _) => Outcome::Failed,
        }
    }

    fn log(&self, outcome: Outcome) {
        let stages = self.timings.all();
        let ms = |stage| stages[stage as usize].map(rounded);
        let facts = &self.facts;
        tracing::info!(
            target: ACCESS,
            parent: None,
            id = facts.id().unwrap_or(&self.id),
            trace_id = self.trace.map(tracing::field::display),
            protocol = self.endpoint.protocol.name(),
            route = self.endpoint.route.name(),
            model = facts.model().map_or("", |model| &model.name),
            outcome = outcome.name(),
            code = self.code,
            reason = facts.reason().map(Reason::name),
            images = facts.images(),
            calls = facts.calls(),
            request_bytes = facts.request_bytes(),
            response_bytes = facts.response_bytes(),
            read_ms = ms(Stage::Read),
            byte_wait_ms = ms(Stage::ByteWait),
            parse_ms = ms(Stage::Parse),
            queue_wait_ms = ms(Stage::QueueWait),
            preprocess_ms = ms(Stage::Preprocess),
            fetch_ms = ms(Stage::Fetch),
            pixel_wait_ms = ms(Stage::PixelWait),
            decode_ms = ms(Stage::Decode),
            resize_ms = ms(Stage::Resize),
            predict_ms = ms(Stage::Predict),
            permit_wait_ms = ms(Stage::PermitWait),
            postprocess_ms = ms(Stage::Postprocess),
            total_ms = rounded(self.timings.total()),
            "prediction"
        );
    }
}

/// Milliseconds to the microsecond.
fn rounded(duration: Duration) -> f64 {
    (milliseconds(duration) * 1e3).round() / 1e3
}

/// Dropped before it ended: its caller left, or it panicked.
impl Drop for Observation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.facts.set_reason(Reason::Internal);
        }
        let Some(prediction) = self.endpoint.prediction() else {
            return;
        };
        let outcome = self.outcome();
        let metrics = &self.observer.metrics;
        if let Some(reason) = self.facts.reason() {
            metrics.errors(self.endpoint.protocol, reason).inc();
        }
        let model = self.facts.model().unwrap_or(&metrics.no_model);
        let images = self.facts.images();
        model.record(prediction, outcome, &self.timings, images, self.trace);
        if self.observer.log_predictions {
            self.log(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use serde_json::Value;

    use super::*;
    use crate::observe::endpoint::{Protocol, Route};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn observation(observer: &Arc<Observer>) -> Observation {
        Observation {
            observer: Arc::clone(observer),
            endpoint: Endpoint::new(Protocol::V1, Route::Predict),
            id: "id-1".to_owned(),
            timings: Arc::new(Timings::start()),
            facts: Arc::default(),
            trace: None,
            code: None,
        }
    }

    #[test]
    fn a_line_has_the_words_of_the_header_and_those_who_leave_get_one_too() {
        let observer = Arc::new(Observer::new(Arc::default(), true));
        let lines = Lines::default();
        let to = lines.clone();
        let log = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(move || to.clone())
            .finish();
        tracing::subscriber::with_default(log, || {
            let answered = observation(&observer);
            for stage in Stage::ALL {
                drop(answered.timings.stage(stage));
            }
            answered.facts.set_images(3);
            answered.end("200");
            drop(observation(&observer));
            let refused = observation(&observer);
            refused.facts.set_reason(Reason::QueueFull);
            refused.end("429");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let [answered, left, refused] = lines.as_slice() else {
            panic!("{text}");
        };
        for stage in Stage::ALL {
            let word = format!("{}_ms", stage.name());
            assert!(answered[&word].is_f64(), "{word}: {answered}");
        }
        assert_eq!(answered["images"], 3);
        assert_eq!(
            (&answered["code"], &answered["outcome"]),
            (&"200".into(), &"ok".into())
        );
        assert_eq!(
            (&left["code"], &left["outcome"]),
            (&Value::Null, &"canceled".into())
        );
        assert_eq!(refused["reason"], "queue_full");
        assert_eq!(refused["outcome"], "refused");
    }
}
