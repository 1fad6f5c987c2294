//! The engine as something that takes tensors: images in by `image`, or the predictor's own
//! input; one score per image out.

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};

use super::{Context, InferenceService, ModelDescription, TensorSpec};
use crate::admission::ByteReservation;
use crate::engine::statistics::Snapshot;
use crate::engine::{Engine, Request};
use crate::error::Error;
use crate::predictor::Readiness;
use crate::transformer::Input;
use crate::transformer::batch::ImageErrors;

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
            alias: Some(signature.output.clone()),
            always_raw: false,
        })
    }

    fn readiness(&self, model: &str) -> Result<Readiness, Error> {
        Self::readiness(self, model)
    }

    fn draining(&self) -> bool {
        Self::draining(self)
    }

    fn statistics(&self, model: &str) -> Result<Snapshot, Error> {
        Self::statistics(self, model)
    }

    async fn run(
        &self,
        model: &str,
        input: Input,
        id: String,
        context: Context,
    ) -> Result<Bytes, Error> {
        let request = Request {
            model: model.to_owned(),
            input,
            id,
            headers: context.headers,
            timeout: context.timeout,
            // An output tensor has no place for an error.
            image_errors: Some(ImageErrors::Fail),
            timings: context.timings,
        };
        let rows = Self::run(self, request).await?;
        let mut values = BytesMut::with_capacity(rows.len() * size_of::<f32>());
        for (index, row) in rows.into_iter().enumerate() {
            values.put_f32_le(row.map_err(|error| error.with_image(index))?);
        }
        Ok(values.freeze())
    }

    async fn reserve(&self, bytes: usize) -> Result<Option<ByteReservation>, Error> {
        Self::reserve(self, bytes).await.map(Some)
    }

    async fn run_aside(&self, work: Box<dyn FnOnce() + Send>) -> Result<(), Error> {
        self.offload(work).await
    }
}
