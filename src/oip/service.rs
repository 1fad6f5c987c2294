//! What anything that takes tensors, the engine or a predictor alone, must offer so that the Open
//! Inference Protocol can be spoken for it.

use std::sync::Arc;

use async_trait::async_trait;

use crate::context::RequestContext;
use crate::error::Error;
use crate::observe::metrics::ModelMetrics;
use crate::observe::timing::Deadline;
use crate::predictor::{self, Readiness};
use crate::transformer::Input;
use crate::wire::tensor::{DataType, Tensor};

/// The tensors of a model as its callers see them.
#[derive(Clone, Debug)]
pub(crate) struct ModelDescription {
    /// The model's public name.
    pub name: String,
    /// Triton's word for what runs the model.
    pub platform: &'static str,
    /// 0: the first axis is part of the shapes, and any number of rows may come.
    pub max_batch: usize,
    /// A BYTES input which takes images in place of `tensors`.
    pub images: Option<&'static str>,
    /// `--max_images`: elements that `images` takes.
    pub max_images: usize,
    /// The inputs of ready-made tensors; none where only images are taken.
    pub tensors: Vec<TensorSpec>,
    /// Whether metadata shows `tensors` where there are `images`: generic clients send every input
    /// that is shown.
    pub tensors_shown: bool,
    /// The outputs.
    pub outputs: Vec<TensorSpec>,
    /// Those that are made of images, for callers who ask for them, in this order behind the others.
    /// Metadata does not show them: generic clients ask for every output that is shown.
    pub outputs_on_request: Vec<TensorSpec>,
    /// Another name under which the first output is given to callers that request it.
    pub output_alias: Option<String>,
    /// Outputs are raw even when the inputs were typed.
    pub always_raw: bool,
}

/// The output that a caller may ask for beside the others: each image's error, empty for those without.
pub(crate) const ERRORS: &str = "error";

/// Name, datatype and shape of a tensor.
#[derive(Clone, Debug)]
pub(crate) struct TensorSpec {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub datatype: DataType,
    /// Its shape without the first axis, which counts images or lines.
    pub row: Vec<i64>,
}

impl TensorSpec {
    /// An FP32 tensor.
    #[cfg(test)]
    pub(crate) fn fp32(name: &str, row: &[i64]) -> Self {
        Self {
            name: name.to_owned(),
            datatype: DataType::Fp32,
            row: row.to_vec(),
        }
    }

    /// A predictor's tensors.
    pub(super) fn of(specs: &[predictor::TensorSpec]) -> Vec<Self> {
        let spec = |spec: &predictor::TensorSpec| Self {
            name: spec.name.clone(),
            datatype: spec.preferred(),
            row: spec.row.clone(),
        };
        specs.iter().map(spec).collect()
    }

    pub(super) fn with_first(&self, first: i64) -> Vec<i64> {
        let mut shape = vec![first];
        shape.extend_from_slice(&self.row);
        shape
    }
}

impl ModelDescription {
    /// The inputs of ready-made tensors that metadata shows.
    pub(super) fn shown_tensors(&self) -> &[TensorSpec] {
        if self.images.is_none() || self.tensors_shown {
            &self.tensors
        } else {
            &[]
        }
    }
}

/// Models that take tensors. The fronts reach it through [`super::OpenInference`] alone.
#[async_trait]
pub(crate) trait InferenceService: Send + Sync + 'static {
    /// The models' names.
    fn names(&self) -> Vec<String>;

    /// A model's tensors.
    ///
    /// # Errors
    ///
    /// When the model is unknown.
    fn describe(&self, model: &str) -> Result<ModelDescription, Error>;

    /// Whether a model takes requests.
    ///
    /// # Errors
    ///
    /// When the model is unknown.
    fn readiness(&self, model: &str) -> Result<Readiness, Error>;

    /// Where a model's predictions are counted.
    ///
    /// # Errors
    ///
    /// When the model is unknown.
    fn metrics(&self, model: &str) -> Result<&Arc<ModelMetrics>, Error>;

    /// Whether this server is about to end. By default it never is.
    fn draining(&self) -> bool {
        false
    }

    /// Refuses a request that could not begin in time, before its body is read. By default none is.
    ///
    /// # Errors
    ///
    /// Why it would be refused.
    fn check_load(&self, _model: Option<&str>, _deadline: Deadline) -> Result<(), Error> {
        Ok(())
    }

    /// Runs the context's model: input to its outputs in the order of the description. With
    /// `report_errors`, images that fail do so alone, and one more output has their errors.
    ///
    /// # Errors
    ///
    /// Everything that can go wrong, ready to be sent.
    async fn run(
        &self,
        input: Input,
        report_errors: bool,
        context: &RequestContext,
    ) -> Result<Vec<Tensor>, Error>;

    /// Why a model takes no requests; nothing when it does.
    fn model_not_ready(&self, model: &str) -> Option<String> {
        match self.readiness(model) {
            Ok(Readiness::Ready { .. }) => None,
            Ok(Readiness::NotReady(reason)) => Some(reason),
            Err(error) => Some(error.text),
        }
    }

    /// Why some model takes no requests; nothing when all do.
    fn not_ready(&self) -> Option<String> {
        self.names()
            .iter()
            .find_map(|name| self.model_not_ready(name))
    }
}
