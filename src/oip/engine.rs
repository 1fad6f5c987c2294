//! The engine as something that takes tensors: images in by `image`, or a model's own inputs; the
//! columns of the rows out.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::BytesMut;

use super::service::{InferenceService, ModelDescription, TensorSpec};
use crate::context::RequestContext;
use crate::engine::Engine;
use crate::error::Error;
use crate::observe::metrics::ModelMetrics;
use crate::observe::timing::Deadline;
use crate::predictor::Readiness;
use crate::transformer::{AnyRows, ImageErrors, Input, Model};
use crate::wire::bytes_tensor::put_element;
use crate::wire::tensor::{DataType, Tensor};
use crate::wire::v1::response::Failed;

/// A column of this name says that images may have other than one line.
const IMAGE_INDEX: &str = "image_index";

#[async_trait]
impl InferenceService for Engine {
    fn names(&self) -> Vec<String> {
        self.models().map(str::to_owned).collect()
    }

    fn describe(&self, model: &str) -> Result<ModelDescription, Error> {
        let form = self.form(model)?;
        let outputs = |on_request: bool| {
            let columns = form.columns.iter();
            let columns = columns.filter(move |column| column.on_request == on_request);
            let outputs = columns.map(|column| TensorSpec {
                name: column.name.to_string(),
                datatype: column.datatype,
                row: column.row.clone(),
            });
            outputs.collect::<Vec<_>>()
        };
        let ragged = form.columns.iter().any(|column| column.name == IMAGE_INDEX);
        let max_batch = match form.tensors.map(Model::readiness) {
            Some(Readiness::Ready { max_batch, .. }) if form.passthrough => max_batch,
            _ if form.passthrough => 1,
            // With one line for each image, clients may batch as Triton's models let them.
            _ => {
                if ragged {
                    0
                } else {
                    self.max_images()
                }
            }
        };
        let predictors_output = form
            .tensors
            .and_then(|model| model.signature().outputs.first());
        Ok(ModelDescription {
            name: model.to_owned(),
            platform: "kserve_transformer",
            max_batch,
            images: form.images.then_some("image"),
            max_images: self.max_images(),
            tensors: form
                .tensors
                .map_or_else(Vec::new, |model| TensorSpec::of(&model.inputs())),
            tensors_shown: form.passthrough,
            outputs: outputs(false),
            outputs_on_request: if form.images {
                outputs(true)
            } else {
                Vec::new()
            },
            output_alias: predictors_output.map(|output| output.name.clone()),
            always_raw: form.passthrough,
        })
    }

    fn readiness(&self, model: &str) -> Result<Readiness, Error> {
        Self::readiness(self, model)
    }

    fn check_load(&self, model: Option<&str>, deadline: Deadline) -> Result<(), Error> {
        Self::check_load(self, model, deadline)
    }

    fn draining(&self) -> bool {
        Self::draining(self)
    }

    fn metrics(&self, model: &str) -> Result<&Arc<ModelMetrics>, Error> {
        Self::metrics(self, model)
    }

    async fn run(
        &self,
        input: Input,
        report_errors: bool,
        context: &RequestContext,
    ) -> Result<Vec<Tensor>, Error> {
        let image_errors = if report_errors {
            ImageErrors::Report
        } else {
            // Without that output there is no place for an error.
            ImageErrors::Fail
        };
        let rows = Self::run(self, input, Some(image_errors), context).await?;
        let errors = report_errors.then(|| errors(&*rows)).transpose()?;
        let mut outputs = rows.outputs(&context.outputs_on_request)?;
        outputs.extend(errors);
        Ok(outputs)
    }
}

/// The output of the images' errors, as JSON; empty for those without.
fn errors(rows: &dyn AnyRows) -> Result<Tensor, Error> {
    let mut errors = BytesMut::new();
    for index in 0..rows.len() {
        let failed = rows.error(index).map(Failed::from);
        let json = failed.as_ref().map(serde_json::to_vec).transpose();
        let json = json.map_err(Error::internal)?.unwrap_or_default();
        put_element(&mut errors, &json).map_err(Error::internal)?;
    }
    let shape = vec![rows.len() as i64, 1];
    Ok(Tensor::new(DataType::Bytes, shape, errors.freeze()))
}
