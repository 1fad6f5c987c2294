//! Predictors without a transformer, served as Triton serves their models: with their own tensor names,
//! `max_batch_size`, raw outputs.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout_at;

use super::failures::Failures;
use super::service::{InferenceService, ModelDescription, TensorSpec};
use crate::context::RequestContext;
use crate::engine::statistics::{Snapshot, Statistics};
use crate::error::{Error, Kind};
use crate::observe::timing::Stage;
use crate::predictor::{self, Predictor, Readiness};
use crate::transformer::Input;
use crate::wire::tensor::Tensor;

/// Predictors as a service of their models.
#[derive(Debug)]
pub(crate) struct Passthrough {
    models: BTreeMap<String, Served>,
    max_batch: usize,
    delay: Duration,
    failures: Failures,
}

#[derive(Debug)]
struct Served {
    predictor: Predictor,
    statistics: Statistics,
}

impl Passthrough {
    /// Serves these predictors, each under the model name of its signature.
    pub(crate) fn new(predictors: impl IntoIterator<Item = Predictor>) -> Self {
        let models = predictors.into_iter().map(|predictor| {
            let served = Served {
                statistics: Statistics::default(),
                predictor,
            };
            (served.predictor.signature().model.clone(), served)
        });
        Self {
            models: models.collect(),
            max_batch: usize::MAX,
            delay: Duration::ZERO,
            failures: Failures::default(),
        }
    }

    /// The same with a smaller max_batch_size than the predictor's.
    pub(crate) fn with_max_batch(self, max_batch: usize) -> Self {
        Self { max_batch, ..self }
    }

    /// The same with calls that take longer.
    pub(crate) fn with_delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// The same with calls of which some fail.
    pub(crate) fn with_failures(self, failures: Failures) -> Self {
        Self { failures, ..self }
    }

    async fn wait(&self, context: &RequestContext) -> Result<(), predictor::Error> {
        if self.delay.is_zero() {
            return Ok(());
        }
        let delay = tokio::time::sleep(self.delay);
        let waited = timeout_at(context.deadline.instant().into(), delay).await;
        waited.map_err(|_| predictor::Error::Deadline)
    }

    fn get(&self, model: &str) -> Result<&Served, Error> {
        let served = self.models.get(model);
        let names = || self.models.keys().map(String::as_str);
        served.ok_or_else(|| Error::unknown_model(model, names()))
    }
}

#[async_trait]
impl InferenceService for Passthrough {
    fn names(&self) -> Vec<String> {
        self.models.keys().cloned().collect()
    }

    fn describe(&self, model: &str) -> Result<ModelDescription, Error> {
        let predictor = &self.get(model)?.predictor;
        let signature = predictor.signature();
        Ok(ModelDescription {
            name: signature.model.clone(),
            platform: "onnxruntime_onnx",
            max_batch: match predictor.readiness() {
                Readiness::Ready { max_batch, .. } => max_batch.min(self.max_batch).max(1),
                Readiness::NotReady(_) => 1,
            },
            images: None,
            max_images: 0,
            tensors: TensorSpec::of(&signature.inputs),
            tensors_shown: true,
            outputs: TensorSpec::of(&signature.outputs),
            output_alias: None,
            always_raw: true,
        })
    }

    fn readiness(&self, model: &str) -> Result<Readiness, Error> {
        Ok(self.get(model)?.predictor.readiness())
    }

    fn statistics(&self, model: &str) -> Result<Snapshot, Error> {
        Ok(self.get(model)?.statistics.snapshot())
    }

    async fn run(
        &self,
        input: Input,
        _: bool,
        context: &RequestContext,
    ) -> Result<Vec<Tensor>, Error> {
        let served = self.get(&context.model)?;
        let rows = input.count();
        let Input::Tensors(tensors) = input else {
            return Err(Error::internal("images for a predictor"));
        };
        let output = {
            let _timer = context.timings.stage(Stage::Predict);
            match self.wait(context).await {
                Ok(()) if self.failures.next() => {
                    Err(Error::new(Kind::Internal, "failed on purpose (--fail)"))
                }
                Ok(()) => {
                    let output = served.predictor.infer(tensors, context).await;
                    output.map_err(Error::from)
                }
                Err(late) => Err(late.into()),
            }
        };
        served
            .statistics
            .record(&context.timings, rows, output.is_ok());
        output
    }
}
