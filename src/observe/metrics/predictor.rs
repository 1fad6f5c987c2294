//! The metrics of the predictors: calls, retries, replicas.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::series::{Counters, Gauges, Histograms, REQUEST_SECONDS, ROWS, Samples, Scraped};

/// How calls end, for counters that stand at 0 from the start.
const OUTCOMES: [&str; 14] = [
    "ok",
    "deadline",
    "canceled",
    "no_permit",
    "no_connection",
    "unreachable",
    "unavailable",
    "overloaded",
    "unauthenticated",
    "permission_denied",
    "error_response",
    "invalid_response",
    "not_ready",
    "internal",
];

/// What is known of a predictor's replicas at the moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replicas {
    pub(crate) replicas: Vec<Replica>,
    /// Retries that are left, by the fund that pays for them.
    pub(crate) retry_budget: Vec<(&'static str, f64)>,
}

/// One address of a predictor.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) address: String,
    /// Whether it is connected, has the model and gets calls.
    pub(crate) up: bool,
    /// Whether it gets no calls because they fail.
    pub(crate) ejected: bool,
    /// How long its calls take at present.
    pub(crate) latency: Option<Duration>,
}

type ReadReplicas = Box<dyn Fn() -> Option<Replicas> + Send + Sync>;

/// Where replicas are looked up, by model.
#[derive(Default)]
struct Sources(Mutex<Vec<(String, ReadReplicas)>>);

impl Sources {
    /// What `value` takes from each predictor's replicas; predictors that are gone are forgotten.
    fn samples(&self, value: impl Fn(&str, Replicas, &mut Samples)) -> Samples {
        let mut samples = Samples::new();
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sources.retain(|(model, read)| {
            let replicas = read();
            let known = replicas.is_some();
            if let Some(replicas) = replicas {
                value(model, replicas, &mut samples);
            }
            known
        });
        samples
    }
}

/// The families.
pub(super) struct Predictors {
    seconds: Histograms<1>,
    images: Histograms<1>,
    calls: Counters<2>,
    in_flight: Gauges<1>,
    retries: Counters<2>,
    ready: Gauges<1>,
    sources: Arc<Sources>,
}

impl std::fmt::Debug for Predictors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Predictors")
    }
}

impl Predictors {
    /// Registers the families.
    pub(super) fn register(own: &mut Registry) -> Self {
        let this = Self {
            seconds: Histograms::new_with_constructor(|| Histogram::new(REQUEST_SECONDS)),
            images: Histograms::new_with_constructor(|| Histogram::new(ROWS)),
            calls: Counters::default(),
            in_flight: Gauges::default(),
            retries: Counters::default(),
            ready: Gauges::default(),
            sources: Arc::default(),
        };
        own.register(
            "predictor_call_seconds",
            "time of calls to the predictor that were answered, without the wait for a permit",
            this.seconds.clone(),
        );
        own.register(
            "predictor_call_images",
            "rows of each call to the predictor",
            this.images.clone(),
        );
        own.register(
            "predictor_calls",
            "calls to the predictor, by how they ended",
            this.calls.clone(),
        );
        own.register(
            "predictor_calls_in_flight",
            "calls to the predictor in flight",
            this.in_flight.clone(),
        );
        own.register(
            "predictor_retries",
            "calls that were sent once more, by what had failed",
            this.retries.clone(),
        );
        own.register(
            "predictor_ready",
            "1 when the predictor responds and has the expected model",
            this.ready.clone(),
        );
        this.register_scraped(own);
        this
    }

    fn register_scraped(&self, own: &mut Registry) {
        let mut scraped = |name, help, value: fn(&str, Replicas, &mut Samples)| {
            let sources = Arc::clone(&self.sources);
            let read = Box::new(move || sources.samples(value));
            own.register_collector(Box::new(Scraped { name, help, read }));
        };
        scraped(
            "predictor_up",
            "1 when this replica is connected, has the expected model and is not ejected",
            |model, replicas, samples| {
                each(model, replicas, samples, |replica| {
                    Some(f64::from(u8::from(replica.up)))
                });
            },
        );
        scraped(
            "predictor_ejected",
            "1 while this replica gets no calls because they failed",
            |model, replicas, samples| {
                each(model, replicas, samples, |replica| {
                    Some(f64::from(u8::from(replica.ejected)))
                });
            },
        );
        scraped(
            "predictor_latency_seconds",
            "how long this replica's calls take at present, by which calls are spread",
            |model, replicas, samples| {
                each(model, replicas, samples, |replica| {
                    replica.latency.map(|latency| latency.as_secs_f64())
                });
            },
        );
        scraped(
            "predictor_retry_budget",
            "retries that are left",
            |model, replicas, samples| {
                let budget = replicas.retry_budget.into_iter();
                samples.extend(budget.map(|(fund, left)| {
                    let labels = vec![("model", model.to_owned()), ("fund", fund.to_owned())];
                    (labels, left)
                }));
            },
        );
    }

    /// Those of one model of a predictor.
    pub(super) fn model(&self, model: &str) -> PredictorMetrics {
        let label = || ("model", model.to_owned().into());
        let calls = |outcome: &'static str| {
            let labels = [label(), ("outcome", outcome.into())];
            (outcome, self.calls.get_or_create_owned(&labels))
        };
        PredictorMetrics {
            model: model.to_owned(),
            ready: self.ready.get_or_create_owned(&[label()]),
            calls_in_flight: self.in_flight.get_or_create_owned(&[label()]),
            seconds: self.seconds.get_or_create_owned(&[label()]),
            images: self.images.get_or_create_owned(&[label()]),
            calls: OUTCOMES.map(calls).into(),
            retries: self.retries.clone(),
            sources: Arc::clone(&self.sources),
        }
    }
}

fn each(
    model: &str,
    replicas: Replicas,
    samples: &mut Samples,
    value: impl Fn(&Replica) -> Option<f64>,
) {
    for replica in replicas.replicas {
        if let Some(value) = value(&replica) {
            let labels = vec![("model", model.to_owned()), ("address", replica.address)];
            samples.push((labels, value));
        }
    }
}

/// The metrics of one model of a predictor.
#[derive(Clone)]
pub(crate) struct PredictorMetrics {
    model: String,
    pub(crate) ready: Gauge,
    pub(crate) calls_in_flight: Gauge,
    /// Times of the calls that were answered.
    pub(crate) seconds: Histogram,
    /// Rows of the calls.
    pub(crate) images: Histogram,
    calls: Arc<[(&'static str, Counter)]>,
    retries: Counters<2>,
    sources: Arc<Sources>,
}

impl std::fmt::Debug for PredictorMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PredictorMetrics({:?})", self.model)
    }
}

impl PredictorMetrics {
    /// Counts a call that ended so: one of `predictor::Error::outcome`, or of those in
    /// `predictor/outcome.rs`.
    pub(crate) fn count(&self, outcome: &'static str) {
        let known = self.calls.iter().find(|(name, _)| *name == outcome);
        debug_assert!(known.is_some(), "{outcome} is not in OUTCOMES");
        if let Some((_, calls)) = known {
            calls.inc();
        }
    }

    /// The counter of retries after failures of this cause.
    pub(crate) fn retries(&self, cause: &'static str) -> Counter {
        let labels = [
            ("model", self.model.clone().into()),
            ("cause", cause.into()),
        ];
        self.retries.get_or_create_owned(&labels)
    }

    /// Says where the replicas are looked up, for as long as it gives some.
    pub(crate) fn show_replicas(
        &self,
        read: impl Fn() -> Option<Replicas> + Send + Sync + 'static,
    ) {
        let sources = self.sources.0.lock();
        let mut sources = sources.unwrap_or_else(PoisonError::into_inner);
        sources.push((self.model.clone(), Box::new(read)));
    }
}
