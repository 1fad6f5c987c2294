//! Many images at once: spread over the pixel threads, split into calls, put in order again,
//! each image with a score or an error of its own.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use tokio::time::timeout_at;

use super::preprocess::{PixelThreads, Preprocessor};
use super::{CHANNELS, Image, Input, Row, Transformer};
use crate::context::RequestContext;
use crate::error::{Error, Kind};
use crate::item::Fetcher;
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
pub(crate) struct Model {
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
    pub(crate) fn new(
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
                max_request_pixels: u64::MAX,
            },
            predictor,
        }
    }

    /// The same with a bound on the pixels of all images of one request (`--max_request_pixels`).
    pub(crate) fn with_max_request_pixels(mut self, pixels: u64) -> Self {
        self.preprocessor.max_request_pixels = pixels;
        self
    }

    /// The predictor's model and its tensors.
    pub(crate) fn signature(&self) -> &Signature {
        self.preprocessor.transformer.signature()
    }

    /// What `extra_info.source` of a V1 response says.
    pub(crate) fn source(&self) -> &'static str {
        self.preprocessor.transformer.source()
    }

    /// Calls to the predictor that this many images need.
    pub(crate) fn calls(&self, images: usize) -> usize {
        match self.predictor.readiness() {
            Readiness::Ready { max_batch } => images.div_ceil(max_batch.max(1)),
            Readiness::NotReady(_) => 1,
        }
    }

    /// Whether the predictor takes calls.
    pub(crate) fn readiness(&self) -> Readiness {
        self.predictor.readiness()
    }

    /// Input to rows, one per image and in order.
    ///
    /// # Errors
    ///
    /// When the predictor fails, or an image does and `image_errors` is [`ImageErrors::Fail`], or
    /// the request's time is up.
    pub(crate) async fn run(
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
        let mut batches = Vec::new();
        let mut rows = Vec::with_capacity(images.len());
        for chunk in images.chunks(max_batch) {
            let (batch, of_chunk) = BatchBuilder::rows::<CHANNELS>(chunk.len(), plane_bytes);
            batches.push(batch);
            rows.extend(of_chunk);
        }
        let mut failures = Vec::with_capacity(images.len());
        let mut filled = Vec::with_capacity(images.len());
        let work = images.into_iter().zip(rows);
        let mut results = pin!(self.preprocessor.preprocess(work).enumerate());
        while let Some((index, result)) = results.next().await {
            match result {
                Ok(row) => {
                    filled.push(Some(row));
                    failures.push(None);
                }
                // Even a panic: it is the fault of one image, and its thread's buffers are new.
                Err(error) if image_errors == ImageErrors::Report => {
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use bytes::{BufMut, BytesMut};

    use super::*;
    use crate::item;
    use crate::observe::metrics::Metrics;
    use crate::observe::timing::Deadline;
    use crate::pixel::Scratch;
    use crate::predictor::LocalSettings;
    use crate::transformer::WorkerScratch;

    /// Notes the first byte of each image that it is given; those of 0 fail, of 255 panic.
    struct Noting {
        signature: Signature,
        begun: Mutex<Vec<u8>>,
    }

    impl Transformer for Noting {
        fn signature(&self) -> &Signature {
            &self.signature
        }

        fn source(&self) -> &'static str {
            "noting"
        }

        fn preprocess(
            &self,
            image: &[u8],
            _: &mut Scratch,
            planes: &mut [BytesMut; CHANNELS],
        ) -> Result<(), Error> {
            self.begun.lock().unwrap().push(image[0]);
            // So that a request is not done before another can come.
            std::thread::sleep(Duration::from_millis(1));
            assert_ne!(image[0], 255, "on purpose");
            if image[0] == 0 {
                return Err(Error::new(Kind::Invalid, "not an image"));
            }
            for plane in planes {
                plane.put_f32_le(0.0);
            }
            Ok(())
        }

        fn postprocess(&self, row: &[f32]) -> Row {
            Ok(row[0])
        }
    }

    fn model() -> (Arc<Noting>, Model) {
        let signature = Signature {
            model: "m".to_owned(),
            input: "x".to_owned(),
            input_row: vec![3, 1, 1],
            output: "y".to_owned(),
            output_row: vec![1],
        };
        let transformer = Arc::new(Noting {
            signature: signature.clone(),
            begun: Mutex::default(),
        });
        let metrics = Arc::new(Metrics::new(&[]).unwrap());
        let predictor = Predictor::null(
            LocalSettings {
                concurrency: 100,
                max_batch: 32,
            },
            signature,
            metrics,
        );
        let pixels = PixelThreads::start("pixels", 1, 1000, WorkerScratch::default).unwrap();
        // The process does it in main; a second time is an error that means nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let fetcher = Fetcher::new(item::Settings::default()).unwrap();
        let model = Model::new(
            Arc::clone(&transformer) as Arc<dyn Transformer>,
            Arc::new(predictor),
            Arc::new(pixels),
            Arc::new(fetcher),
        );
        (transformer, model)
    }

    fn images(bytes: &[u8]) -> Input {
        let images = bytes.chunks(1);
        Input::Images(
            images
                .map(|byte| Image::Encoded(Bytes::copy_from_slice(byte)))
                .collect(),
        )
    }

    fn context() -> RequestContext {
        RequestContext::new(String::new(), Deadline::after(Duration::from_secs(60)))
    }

    #[tokio::test]
    async fn a_short_request_does_not_stand_behind_a_long_one() {
        let (transformer, model) = model();
        let (long_context, short_context) = (context(), context());
        let long = model.run(images(&[1; 100]), ImageErrors::Fail, &long_context);
        let short = async {
            while transformer.begun.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
            let image = images(&[2]);
            model.run(image, ImageErrors::Fail, &short_context).await
        };
        let (long, short) = tokio::join!(long, short);
        assert_eq!((long.unwrap().len(), short.unwrap().len()), (100, 1));
        let begun = transformer.begun.lock().unwrap();
        let place = begun.iter().position(|&byte| byte == 2).unwrap();
        assert!(place < 10, "behind {place} images of the long request");
    }

    #[tokio::test]
    async fn the_first_image_that_fails_ends_the_work() {
        let (transformer, model) = model();
        let mut bytes = [1; 100];
        (bytes[3], bytes[5]) = (0, 0);
        let context = context();
        let failed = model.run(images(&bytes), ImageErrors::Fail, &context).await;
        assert_eq!(failed.unwrap_err().image, Some(3));
        let rows = model.run(images(&[2, 0, 2]), ImageErrors::Report, &context);
        let failed: Vec<_> = rows.await.unwrap().iter().map(Result::is_err).collect();
        assert_eq!(failed, [false, true, false]);
        let begun = transformer.begun.lock().unwrap();
        assert!(begun.len() < 20, "{} images were begun", begun.len());
    }

    #[tokio::test]
    async fn a_panic_is_the_error_of_its_image() {
        let (_, model) = model();
        let context = context();
        let rows = model.run(images(&[1, 255, 2]), ImageErrors::Report, &context);
        let kinds: Vec<_> = rows
            .await
            .unwrap()
            .into_iter()
            .map(|row| row.err().map(|error| error.kind))
            .collect();
        assert_eq!(kinds, [None, Some(Kind::Internal), None]);
        let failed = model.run(images(&[1, 255]), ImageErrors::Fail, &context);
        let failed = failed.await.unwrap_err();
        assert_eq!((failed.kind, failed.image), (Kind::Internal, Some(1)));
    }
}
