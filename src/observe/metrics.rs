//! Every metric, its buckets and its labels.

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::observe::timing::{Stage, Timings};

/// The buckets of KServe's own histograms, in seconds.
const SECONDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// The metrics of one service.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    stages: Vec<(Stage, HistogramVec)>,
    /// Requests answered, by `protocol` and `code`.
    pub requests: IntCounterVec,
    /// Images answered, by `model_name` and `outcome` (`score` or `error`).
    pub images: IntCounterVec,
    /// Images admitted and not yet answered.
    pub images_in_flight: IntGauge,
    /// Bytes of bodies and tensors reserved.
    pub bytes_in_flight: IntGauge,
    /// Calls to the predictor in flight.
    pub calls_in_flight: IntGauge,
    /// Calls to the predictor, by `outcome`.
    pub calls: IntCounterVec,
    /// Whether the predictor fits and answers.
    pub predictor_ready: IntGauge,
}

impl Metrics {
    /// Registers all of them.
    ///
    /// # Errors
    ///
    /// When two metrics have one name: a defect.
    pub fn new(limits: &[(&str, u64)]) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let mut stages = Vec::new();
        // KServe's names, so that its dashboards go on working.
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
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        let vector = |name: &str, help: &str, labels: &[&str]| {
            let gauge = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        vector("facequality_build_info", "what is running", &["version"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        let limit = vector("facequality_limit", "the bounds that were set", &["flag"])?;
        for &(flag, value) in limits {
            limit
                .with_label_values(&[flag])
                .set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        Ok(Self {
            requests: counter(
                "facequality_requests_total",
                "requests answered",
                &["protocol", "code"],
            )?,
            images: counter(
                "facequality_images_total",
                "images answered",
                &["model_name", "outcome"],
            )?,
            images_in_flight: gauge(
                "facequality_images_in_flight",
                "images admitted, not yet answered",
            )?,
            bytes_in_flight: gauge(
                "facequality_bytes_in_flight",
                "bytes of bodies and tensors reserved",
            )?,
            calls_in_flight: gauge(
                "facequality_predictor_calls_in_flight",
                "calls to the predictor in flight",
            )?,
            calls: counter(
                "facequality_predictor_calls_total",
                "calls to the predictor",
                &["outcome"],
            )?,
            predictor_ready: gauge(
                "facequality_predictor_ready",
                "1 when the predictor fits and answers",
            )?,
            stages,
            registry,
        })
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
    /// When a metric has no value to write: a defect.
    pub fn text(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Counts something in a gauge for as long as it lives.
#[derive(Debug)]
pub struct GaugeGuard {
    gauge: IntGauge,
    amount: i64,
}

impl GaugeGuard {
    /// Adds `amount` until dropped.
    pub fn add(gauge: &IntGauge, amount: usize) -> Self {
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
