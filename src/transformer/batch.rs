//! Many images at once: spread over the pixel threads, split into calls, put in order again,
//! each image with a score or an error of its own.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use tokio::time::timeout_at;

use super::preprocess::{PixelThreads, Preprocessor};
use super::{CHANNELS, Image, Input, Row, Transformer};
use crate::context::RequestContext;
use crate::error::{Error, Kind};
use crate::item::{FetchPermits, Fetcher};
use crate::observe::timing::Stage;
use crate::predictor::{self, Predictor, Readiness, Signature};
use crate::wire::tensor::{BatchBuilder, Tensor, fp32};

/// Whether one image that cannot be read fails the others (`--image_errors`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ImageErrors {
    /// The request fails with the first bad image.
    #[default]
    Fail,
    /// Score the other images and return the error in the image's place
    Report,
}

/// A transformer with all it needs for requests.
#[derive(Clone)]
pub struct Model {
    preprocessor: Preprocessor,
    predictor: Arc<Predictor>,
}

/// The images of a request as tensors, and what became of each image.
struct Preprocessed {
    /// Each of at most `max_batch` rows; images that failed have none.
    tensors: Vec<Tensor>,
    /// One per image.
    failures: Vec<Option<Error>>,
}

impl Model {
    /// Images are fetched by `fetcher`, preprocessed by `transformer` on `pixels`, and scored by
    /// `predictor`.
    pub fn new(
        transformer: Arc<dyn Transformer>,
        predictor: Arc<Predictor>,
        pixels: Arc<PixelThreads>,
        fetcher: Arc<Fetcher>,
    ) -> Self {
        Self {
            preprocessor: Preprocessor {
                transformer,
                pixels,
                fetcher,
            },
            predictor,
        }
    }

    /// The predictor's model and its tensors.
    pub fn signature(&self) -> &Signature {
        self.preprocessor.transformer.signature()
    }

    /// What `extra_info.source` of a V1 response says.
    pub fn source(&self) -> &'static str {
        self.preprocessor.transformer.source()
    }

    /// Whether the predictor takes calls.
    pub fn readiness(&self) -> Readiness {
        self.predictor.readiness()
    }

    /// Input to rows, one per image and in order.
    ///
    /// # Errors
    ///
    /// When the predictor fails, or an image does and `image_errors` is [`ImageErrors::Fail`], or
    /// the request's time is up.
    pub async fn run(
        &self,
        input: Input,
        image_errors: ImageErrors,
        context: &RequestContext,
    ) -> Result<Vec<Row>, Error> {
        let max_batch = match self.predictor.readiness() {
            Readiness::Ready { max_batch } => max_batch.max(1),
            Readiness::NotReady(reason) => return Err(predictor::Error::NotReady(reason).into()),
        };
        let Preprocessed { tensors, failures } = match input {
            Input::Images(images) => {
                let _timer = context.timings.stage(Stage::Preprocess);
                let preprocess = self.preprocess(images, max_batch, image_errors);
                // The predictor sees to the deadline of its calls.
                timeout_at(context.deadline.instant().into(), preprocess)
                    .await
                    .unwrap_or_else(|_| Err(too_late(context)))?
            }
            Input::Tensor(tensor) => Preprocessed {
                failures: vec![None; tensor.rows()],
                tensors: tensor.split(max_batch),
            },
        };
        let outputs = {
            let _timer = context.timings.stage(Stage::Predict);
            let calls = tensors
                .into_iter()
                .map(|part| self.predictor.infer(part, context));
            try_join_all(calls).await?
        };
        let _timer = context.timings.stage(Stage::Postprocess);
        self.postprocess(outputs, failures)
    }

    async fn preprocess(
        &self,
        images: Vec<Image>,
        max_batch: usize,
        image_errors: ImageErrors,
    ) -> Result<Preprocessed, Error> {
        let row_shape = &self.signature().input_row;
        let plane_bytes = elements(row_shape) * size_of::<f32>() / CHANNELS;
        let permits = FetchPermits::default();
        let mut batches = Vec::new();
        let mut work = Vec::with_capacity(images.len());
        for chunk in images.chunks(max_batch) {
            let (batch, rows) = BatchBuilder::rows::<CHANNELS>(chunk.len(), plane_bytes);
            batches.push(batch);
            let images = chunk.iter().cloned().zip(rows);
            work.extend(
                images.map(|(image, row)| self.preprocessor.preprocess_one(image, row, &permits)),
            );
        }
        let mut failures = Vec::with_capacity(images.len());
        let mut filled = Vec::with_capacity(images.len());
        for (index, result) in join_all(work).await.into_iter().enumerate() {
            match result {
                Ok(row) => {
                    filled.push(Some(row));
                    failures.push(None);
                }
                Err(error)
                    if image_errors == ImageErrors::Report && error.kind != Kind::Internal =>
                {
                    filled.push(None);
                    failures.push(Some(error));
                }
                Err(error) => return Err(error.with_image(index)),
            }
        }
        let mut tensors = Vec::with_capacity(batches.len());
        for (batch, chunk) in batches.into_iter().zip(filled.chunks_mut(max_batch)) {
            let rows: Vec<_> = chunk.iter_mut().filter_map(Option::take).collect();
            if !rows.is_empty() {
                tensors.push(batch.assemble(rows, row_shape));
            }
        }
        Ok(Preprocessed { tensors, failures })
    }

    /// Output tensors to rows; those of failed images are their errors.
    fn postprocess(
        &self,
        outputs: Vec<Tensor>,
        failures: Vec<Option<Error>>,
    ) -> Result<Vec<Row>, Error> {
        let width = elements(&self.signature().output_row);
        let data: Vec<Bytes> = outputs.into_iter().map(Tensor::into_data).collect();
        let values: Vec<f32> = data.iter().flat_map(|part| fp32(part)).collect();
        let mut outputs = values.chunks(width.max(1));
        let mut rows = Vec::with_capacity(failures.len());
        for failure in failures {
            rows.push(match failure {
                Some(error) => Err(error),
                // A wrong value fails the whole request: it says that the predictor is broken.
                None => Ok(self
                    .preprocessor
                    .transformer
                    .postprocess(outputs.next().unwrap_or_default())?),
            });
        }
        Ok(rows)
    }
}

/// Values in a row of this shape.
fn elements(shape: &[i64]) -> usize {
    shape.iter().product::<i64>() as usize
}

fn too_late(context: &RequestContext) -> Error {
    Error::new(
        Kind::Deadline,
        format!(
            "the request's images were not ready within {} ms \
             (--predictor_request_timeout_seconds, or the caller's own deadline)",
            context.timings.total().as_millis()
        ),
    )
}
