//! Every metric: its name and its labels, as `/metrics` shows them.

mod model;
mod predictor;
mod process;
mod series;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use self::model::Predictions;
pub(crate) use self::model::{ModelMetrics, Outcome};
use self::predictor::Predictors;
pub(crate) use self::predictor::{PredictorMetrics, Replica, Replicas};
use self::process::Process;
pub(crate) use self::series::Samples;
use self::series::{Counters, Gauges, Scraped};
use crate::observe::endpoint::{Endpoint, Protocol};
use crate::observe::log;
use crate::observe::reason::Reason;

/// How items are fetched, and how that ends.
const FETCHES: [(&str, &[&str]); 2] = [
    (
        "url",
        &[
            "ok",
            "refused",
            "too_large",
            "unreachable",
            "internal",
            "canceled",
        ],
    ),
    (
        "path",
        &["ok", "refused", "too_large", "internal", "canceled"],
    ),
];

/// The metrics of one service.
#[derive(Debug)]
pub struct Metrics {
    /// Those whose names everyone has.
    common: Registry,
    /// Those that begin with the service's name.
    own: Mutex<Registry>,
    requests: Counters<3>,
    errors: Counters<3>,
    fetches: Counters<2>,
    predictions: Predictions,
    predictors: Predictors,
    /// Of requests that name no model, or one that is not served.
    pub(crate) no_model: Arc<ModelMetrics>,
    /// Images of requests that were admitted and have no response yet.
    pub(crate) images_in_flight: Gauge,
    /// Bytes reserved for bodies and tensors.
    pub(crate) bytes_in_flight: Gauge,
    /// Pixels of the images of requests that are decoded or wait for it.
    pub(crate) pixels_in_flight: Gauge,
    /// Streams of predictions.
    pub(crate) streams_open: Gauge,
    /// What became of the spans of traced requests.
    #[cfg_attr(not(feature = "otlp"), allow(dead_code))] // The exporter counts.
    pub(crate) spans: SpanCounters,
    log_lines_dropped: Counter,
}

/// Spans by what became of them.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "otlp"), allow(dead_code))] // The exporter counts.
pub(crate) struct SpanCounters {
    pub(crate) exported: Counter,
    /// Not taken by the collector.
    pub(crate) failed: Counter,
    /// The queue was full.
    pub(crate) dropped: Counter,
}

impl Default for Metrics {
    /// Under the product's name, without bounds.
    fn default() -> Self {
        Self::new(crate::NAME, &[])
    }
}

impl Metrics {
    /// Registers all metrics, whose names begin with `name`; `limits` are the bounds that were set, by
    /// flag.
    pub fn new(name: &str, limits: &[(&'static str, u64)]) -> Self {
        let mut common = Registry::default();
        let mut own = Registry::with_prefix(prefix(name));
        let predictions = Predictions::register(&mut own, &mut common);
        common.register_collector(Box::new(Process));
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            own.register(name, help, gauge.clone());
            gauge
        };
        let images_in_flight = gauge(
            "images_in_flight",
            "images admitted that have no response yet",
        );
        let bytes_in_flight = gauge("bytes_in_flight", "bytes reserved for bodies and tensors");
        let pixels_in_flight = gauge(
            "pixels_in_flight",
            "pixels of images that are decoded or wait for it",
        );
        let streams_open = gauge("grpc_streams_open", "streams of predictions that are open");
        let mut gauges = |name: &str, help: &str| {
            let gauges = Gauges::<1>::default();
            own.register(name, help, gauges.clone());
            gauges
        };
        gauges("build_info", "version of this build")
            .get_or_create(&[("version", env!("CARGO_PKG_VERSION").into())])
            .set(1);
        let limit = gauges("limit", "bounds as they were set");
        for &(flag, value) in limits {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            limit.get_or_create(&[("flag", flag.into())]).set(value);
        }
        let requests = Counters::default();
        own.register("requests", "responses sent", requests.clone());
        let errors = Counters::default();
        own.register(
            "errors",
            "predictions answered with an error, by where it comes from and why",
            errors.clone(),
        );
        let fetches = Counters::default();
        own.register("item_fetches", "items fetched", fetches.clone());
        let spans = Counters::<1>::default();
        own.register("spans", "spans of traced requests", spans.clone());
        let span = |outcome: &'static str| {
            let counter = spans.get_or_create(&[("outcome", outcome.into())]);
            counter.clone()
        };
        let log_lines_dropped = Counter::default();
        own.register(
            "log_lines_dropped",
            "lines of the log that were dropped because it was read too slowly",
            log_lines_dropped.clone(),
        );
        let predictors = Predictors::register(&mut own);
        let this = Self {
            no_model: Arc::new(predictions.model("")),
            common,
            own: Mutex::new(own),
            requests,
            errors,
            fetches,
            predictions,
            predictors,
            images_in_flight,
            bytes_in_flight,
            pixels_in_flight,
            streams_open,
            spans: SpanCounters {
                exported: span("exported"),
                failed: span("failed"),
                dropped: span("dropped"),
            },
            log_lines_dropped,
        };
        for protocol in [Protocol::V1, Protocol::V2, Protocol::Grpc] {
            for reason in Reason::ALL {
                this.errors(protocol, reason);
            }
        }
        for (source, outcomes) in FETCHES {
            for outcome in outcomes {
                this.fetches(source, outcome);
            }
        }
        this
    }

    /// The responses of an endpoint with this code.
    pub(crate) fn responses(&self, endpoint: Endpoint, code: &str) -> Counter {
        let labels = [
            ("protocol", endpoint.protocol.name().into()),
            ("route", endpoint.route.name().into()),
            ("code", code.to_owned().into()),
        ];
        self.requests.get_or_create_owned(&labels)
    }

    /// The predictions that were answered with an error for this reason.
    pub(crate) fn errors(&self, protocol: Protocol, reason: Reason) -> Counter {
        let labels = [
            ("protocol", protocol.name().into()),
            ("origin", reason.origin().name().into()),
            ("reason", reason.name().into()),
        ];
        self.errors.get_or_create_owned(&labels)
    }

    /// The items that were fetched from there with this outcome.
    pub(crate) fn fetches(&self, source: &'static str, outcome: &'static str) -> Counter {
        let labels = [("source", source.into()), ("outcome", outcome.into())];
        self.fetches.get_or_create_owned(&labels)
    }

    /// The metrics of one public model.
    pub(crate) fn model(&self, name: &str) -> ModelMetrics {
        self.predictions.model(name)
    }

    /// The metrics of one model of a predictor.
    pub(crate) fn predictor(&self, model: &str) -> PredictorMetrics {
        self.predictors.model(model)
    }

    /// A gauge whose values are kept elsewhere: `read` gives them when they are asked for.
    pub(crate) fn scraped(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Samples + Send + Sync + 'static,
    ) {
        let read = Box::new(read);
        let scraped = Scraped { name, help, read };
        self.own().register_collector(Box::new(scraped));
    }

    /// The same with one value.
    pub(crate) fn scraped_value(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.scraped(name, help, move || vec![(Vec::new(), read())]);
    }

    fn own(&self) -> MutexGuard<'_, Registry> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All metrics in Prometheus' text format 0.0.4.
    ///
    /// # Errors
    ///
    /// When a value cannot be written, which is a defect.
    pub fn text(&self) -> Result<String, fmt::Error> {
        self.count_dropped_lines();
        let mut to = String::new();
        prometheus_text::encode(&mut to, &self.common)?;
        prometheus_text::encode(&mut to, &self.own())?;
        Ok(to)
    }

    /// The same in OpenMetrics, with a trace beside some of the times.
    ///
    /// # Errors
    ///
    /// As [`Self::text`].
    pub fn openmetrics(&self) -> Result<String, fmt::Error> {
        self.count_dropped_lines();
        let mut to = String::new();
        text::encode_registry(&mut to, &self.common)?;
        text::encode_registry(&mut to, &self.own())?;
        text::encode_eof(&mut to)?;
        Ok(to)
    }

    fn count_dropped_lines(&self) {
        let counted = self.log_lines_dropped.get();
        let dropped = log::dropped_lines();
        self.log_lines_dropped
            .inc_by(dropped.saturating_sub(counted));
    }
}

/// What the names of a service's metrics begin with: its own name, in the letters that Prometheus
/// takes.
fn prefix(name: &str) -> String {
    let prefix = name.chars().map(|letter| match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' => letter,
        _ => '_',
    });
    prefix.collect()
}

/// An amount in a gauge: added when it is made, subtracted when it is dropped.
#[derive(Debug)]
pub(crate) struct GaugeGuard {
    gauge: Gauge,
    amount: i64,
}

impl GaugeGuard {
    /// Adds `amount` for the guard's lifetime.
    pub(crate) fn add(gauge: &Gauge, amount: usize) -> Self {
        let amount = i64::try_from(amount).unwrap_or(i64::MAX);
        gauge.inc_by(amount);
        Self {
            gauge: gauge.clone(),
            amount,
        }
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.gauge.dec_by(self.amount);
    }
}
