//! Every metric, its buckets and its labels, as `/metrics` shows them.

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::observe::log;
use crate::observe::timing::{Stage, Timings};

/// What the names of this service's own metrics begin with.
const NAMESPACE: &str = crate::NAME;

/// The buckets of KServe's own histograms, in seconds.
const SECONDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// The metrics of one service.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    stages: Vec<(Stage, HistogramVec)>,
    /// Responses sent, by `protocol` and `code`.
    pub requests: IntCounterVec,
    /// Images responded to, by `model_name` and `outcome` (`score` or `error`).
    pub images: IntCounterVec,
    /// Images of requests that were admitted and have no response yet.
    pub images_in_flight: IntGauge,
    /// Bytes reserved for bodies and tensors.
    pub bytes_in_flight: IntGauge,
    /// Calls to the predictor in flight, by its `model`.
    pub calls_in_flight: IntGaugeVec,
    /// Calls to the predictor, by its `model` and `outcome`.
    pub calls: IntCounterVec,
    /// Whether the predictor responds and has the expected model, by `model`.
    pub predictor_ready: IntGaugeVec,
    log_lines_dropped: IntCounter,
}

impl Metrics {
    /// Registers all metrics; `limits` are the bounds that were set, by flag.
    ///
    /// # Errors
    ///
    /// When two metrics have the same name, which is a defect.
    pub fn new(limits: &[(&str, u64)]) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let mut stages = Vec::new();
        // KServe's names, so that its dashboards keep working.
        for stage in [Stage::Preprocess, Stage::Predict, Stage::Postprocess] {
            let histogram = HistogramVec::new(
                HistogramOpts::new(
                    format!("request_{}_seconds", stage.name()),
                    format!("time of a request's {} step", stage.name()),
                )
                .buckets(SECONDS.to_vec()),
                &["model_name"],
            )?;
            registry.register(Box::new(histogram.clone()))?;
            stages.push((stage, histogram));
        }
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let opts = Opts::new(name, help).namespace(NAMESPACE);
            let counter = IntCounterVec::new(opts, labels)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::with_opts(Opts::new(name, help).namespace(NAMESPACE))?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let opts = Opts::new(name, help).namespace(NAMESPACE);
            let gauge = IntGaugeVec::new(opts, labels)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        gauges("build_info", "version of this build", &["version"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        let limit = gauges("limit", "bounds as they were set", &["flag"])?;
        for &(flag, value) in limits {
            limit
                .with_label_values(&[flag])
                .set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        let log_lines_dropped = IntCounter::with_opts(
            Opts::new(
                "log_lines_dropped_total",
                "lines of the log that were dropped because it was read too slowly",
            )
            .namespace(NAMESPACE),
        )?;
        registry.register(Box::new(log_lines_dropped.clone()))?;
        Ok(Self {
            requests: counter("requests_total", "responses sent", &["protocol", "code"])?,
            images: counter(
                "images_total",
                "images responded to",
                &["model_name", "outcome"],
            )?,
            images_in_flight: gauge(
                "images_in_flight",
                "images admitted that have no response yet",
            )?,
            bytes_in_flight: gauge("bytes_in_flight", "bytes reserved for bodies and tensors")?,
            calls_in_flight: gauges(
                "predictor_calls_in_flight",
                "calls to the predictor in flight",
                &["model"],
            )?,
            calls: counter(
                "predictor_calls_total",
                "calls to the predictor",
                &["model", "outcome"],
            )?,
            predictor_ready: gauges(
                "predictor_ready",
                "1 when the predictor responds and has the expected model",
                &["model"],
            )?,
            log_lines_dropped,
            stages,
            registry,
        })
    }

    /// The metrics of one model of a predictor.
    pub(crate) fn predictor(&self, model: &str) -> PredictorMetrics {
        PredictorMetrics {
            model: model.to_owned(),
            ready: self.predictor_ready.with_label_values(&[model]),
            calls_in_flight: self.calls_in_flight.with_label_values(&[model]),
            calls: self.calls.clone(),
        }
    }

    /// Adds one request's stages to the histograms.
    pub fn observe(&self, model: &str, timings: &Timings) {
        for (stage, histogram) in &self.stages {
            if let Some(duration) = timings.get(*stage) {
                histogram
                    .with_label_values(&[model])
                    .observe(duration.as_secs_f64());
            }
        }
    }

    /// All metrics in Prometheus' text format 0.0.4.
    ///
    /// # Errors
    ///
    /// When a metric has no value to write, which is a defect.
    pub fn text(&self) -> prometheus::Result<Vec<u8>> {
        let dropped = log::dropped_lines();
        let counted = self.log_lines_dropped.get();
        self.log_lines_dropped
            .inc_by(dropped.saturating_sub(counted));
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// The metrics of one model of a predictor.
#[derive(Clone, Debug)]
pub(crate) struct PredictorMetrics {
    model: String,
    pub(crate) ready: IntGauge,
    pub(crate) calls_in_flight: IntGauge,
    calls: IntCounterVec,
}

impl PredictorMetrics {
    /// Counts a call that ended so.
    pub(crate) fn count(&self, outcome: &str) {
        let labels = [self.model.as_str(), outcome];
        self.calls.with_label_values(&labels).inc();
    }
}

/// An amount in a gauge: added when it is made, subtracted when it is dropped.
#[derive(Debug)]
pub(crate) struct GaugeGuard {
    gauge: IntGauge,
    amount: i64,
}

impl GaugeGuard {
    /// Adds `amount` for the guard's lifetime.
    pub(crate) fn add(gauge: &IntGauge, amount: usize) -> Self {
        let amount = i64::try_from(amount).unwrap_or(i64::MAX);
        gauge.add(amount);
        Self {
            gauge: gauge.clone(),
            amount,
        }
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.gauge.sub(self.amount);
    }
}
