//! The metrics of the predictions of one public model, looked up once: nothing is looked up by labels
//! while it serves.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::series::{Counters, Histograms, KSERVE_SECONDS, Labels, REQUEST_SECONDS, STAGE_SECONDS};
use crate::observe::endpoint::Endpoint;
use crate::observe::statistics::Statistics;
use crate::observe::timing::{Stage, Timings};
use crate::observe::trace::Trace;

type Seconds = HistogramWithExemplars<Trace>;

/// How a prediction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With its scores.
    Ok,
    /// Turned away, for the caller's own doing or for want of room.
    Refused,
    /// With an error that is not the caller's.
    Failed,
    /// The caller left before it was answered.
    Canceled,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Ok, Self::Refused, Self::Failed, Self::Canceled];

    /// The value of the label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

/// The families.
#[derive(Debug)]
pub(super) struct Predictions {
    predictions: Counters<4>,
    seconds: Family<Labels<3>, Seconds>,
    stages: Histograms<2>,
    kserve: [(Stage, Histograms<1>); 3],
    images: Counters<2>,
}

impl Predictions {
    /// Registers the families, those with KServe's names apart.
    pub(super) fn register(own: &mut Registry, kserve: &mut Registry) -> Self {
        let predictions = Counters::default();
        own.register(
            "predictions",
            "predictions, apart from probes and scrapes, by how they ended",
            predictions.clone(),
        );
        let seconds = Family::<Labels<3>, Seconds>::new_with_constructor(|| {
            Seconds::new(REQUEST_SECONDS.into_iter())
        });
        own.register(
            "request_seconds",
            "time of predictions that succeeded, from the first byte to the response",
            seconds.clone(),
        );
        let stages = Histograms::new_with_constructor(|| Histogram::new(STAGE_SECONDS));
        own.register(
            "stage_seconds",
            "time of each stage of a prediction",
            stages.clone(),
        );
        let images = Counters::default();
        own.register("images", "images responded to", images.clone());
        // KServe's names, so that its dashboards keep working.
        let kserve = [Stage::Preprocess, Stage::Predict, Stage::Postprocess].map(|stage| {
            let family = Histograms::new_with_constructor(|| Histogram::new(KSERVE_SECONDS));
            kserve.register(
                format!("request_{}_seconds", stage.name()),
                format!("time of a request's {} step", stage.name()),
                family.clone(),
            );
            (stage, family)
        });
        Self {
            predictions,
            seconds,
            stages,
            kserve,
            images,
        }
    }

    /// Those of one model; the empty name is for requests that name none, or one that is not served.
    pub(super) fn model(&self, name: &str) -> ModelMetrics {
        let label = || ("model_name", name.to_owned().into());
        let endpoint = |endpoint: Endpoint| {
            [
                label(),
                ("protocol", endpoint.protocol.name().into()),
                ("route", endpoint.route.name().into()),
            ]
        };
        let images = |outcome: &'static str| {
            let labels = [label(), ("outcome", outcome.into())];
            self.images.get_or_create_owned(&labels)
        };
        ModelMetrics {
            name: name.to_owned(),
            outcomes: Endpoint::PREDICTIONS.map(|prediction| {
                Outcome::ALL.map(|outcome| {
                    let [model, protocol, route] = endpoint(prediction);
                    let labels = [model, protocol, route, ("outcome", outcome.name().into())];
                    self.predictions.get_or_create_owned(&labels)
                })
            }),
            seconds: Endpoint::PREDICTIONS
                .map(|prediction| self.seconds.get_or_create_owned(&endpoint(prediction))),
            stages: Stage::ALL.map(|stage| {
                let labels = [label(), ("stage", stage.name().into())];
                self.stages.get_or_create_owned(&labels)
            }),
            kserve: self
                .kserve
                .each_ref()
                .map(|(stage, family)| (*stage, family.get_or_create_owned(&[label()]))),
            statistics: Statistics::default(),
            scores: images("score"),
            image_errors: images("error"),
        }
    }
}

/// The metrics of one model.
#[derive(Debug)]
pub(crate) struct ModelMetrics {
    /// The model's public name.
    pub(crate) name: String,
    outcomes: [[Counter; Outcome::ALL.len()]; Endpoint::PREDICTIONS.len()],
    seconds: [Seconds; Endpoint::PREDICTIONS.len()],
    stages: [Histogram; Stage::ALL.len()],
    kserve: [(Stage, Histogram); 3],
    /// What Triton's clients ask for.
    pub(crate) statistics: Statistics,
    /// Images that were scored.
    pub(crate) scores: Counter,
    /// Images that failed alone.
    pub(crate) image_errors: Counter,
}

impl ModelMetrics {
    /// Counts a prediction of `images` images at this place of [`Endpoint::PREDICTIONS`]. A refusal's
    /// times would only hide those of the others.
    pub(crate) fn record(
        &self,
        prediction: usize,
        outcome: Outcome,
        timings: &Timings,
        images: usize,
        trace: Option<Trace>,
    ) {
        let (stages, total) = (timings.all(), timings.total());
        self.outcomes[prediction][outcome as usize].inc();
        if outcome == Outcome::Ok {
            self.statistics.record_success(total, &stages, images);
            // A trace that nobody keeps is not worth naming.
            let exemplar = trace.filter(|trace| trace.sampled);
            self.seconds[prediction].observe(total.as_secs_f64(), exemplar, None);
        } else {
            let canceled = outcome == Outcome::Canceled;
            self.statistics.record_failure(total, canceled);
        }
        if matches!(outcome, Outcome::Ok | Outcome::Failed) {
            for (histogram, duration) in self.stages.iter().zip(stages) {
                if let Some(duration) = duration {
                    histogram.observe(duration.as_secs_f64());
                }
            }
            for (stage, histogram) in &self.kserve {
                if let Some(duration) = stages[*stage as usize] {
                    histogram.observe(duration.as_secs_f64());
                }
            }
        }
    }
}
