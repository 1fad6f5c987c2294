//! The engine as something that takes tensors: images in by `image`, or the predictor's own
//! input; one score per image out.

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};

use super::service::{InferenceService, ModelDescription, TensorSpec};
use crate::context::RequestContext;
use crate::engine::Engine;
use crate::engine::statistics::Snapshot;
use crate::error::Error;
use crate::observe::timing::Deadline;
use crate::predictor::Readiness;
use crate::transformer::{ImageErrors, Input};

#[async_trait]
impl InferenceService for Engine {
    fn names(&self) -> Vec<String> {
        self.models().map(str::to_owned).collect()
    }

    fn describe(&self, model: &str) -> Result<ModelDescription, Error> {
        let signature = self.signature(model)?;
        Ok(ModelDescription {
            name: model.to_owned(),
            platform: "kserve_transformer",
            max_batch: 0,
            images: Some("image"),
            max_images: self.max_images(),
            input: TensorSpec {
                name: signature.input.clone(),
                row: signature.input_row.clone(),
            },
            output: TensorSpec {
                name: "score".to_owned(),
                row: vec![1],
            },
            output_alias: Some(signature.output.clone()),
            always_raw: false,
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

    fn statistics(&self, model: &str) -> Result<Snapshot, Error> {
        Self::statistics(self, model)
    }

    async fn run(&self, input: Input, context: &RequestContext) -> Result<Bytes, Error> {
        // An output tensor has no place for an error.
        let rows = Self::run(self, input, Some(ImageErrors::Fail), context).await?;
        let mut values = BytesMut::with_capacity(rows.len() * size_of::<f32>());
        for (index, row) in rows.into_iter().enumerate() {
            values.put_f32_le(row.map_err(|error| error.with_image(index))?);
        }
        Ok(values.freeze())
    }
}
