//! Many images at once: spread over the pixel threads, split into calls, put in order again,
//! each image with a score or an error of its own.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::{join_all, try_join_all};

use super::{Image, Input, Row, Transformer};
use crate::context::RequestContext;
use crate::error::{Error, Kind};
use crate::item::{FetchPermits, Fetcher, Item, data_uri};
use crate::observe::timing::Stage;
use crate::pixel::Scratch;
use crate::predictor::{Predictor, Readiness};
use crate::recognise::{Place, recognise};
use crate::wire::tensor::{BatchBuilder, Tensor, fp32};
use crate::workers::Workers;

/// Parts into which a row of the tensor is handed out: the colour planes.
const PLANES: usize = 3;

/// What a pixel thread keeps from image to image.
#[derive(Debug, Default)]
pub struct WorkerScratch {
    encoded: Vec<u8>,
    scratch: Scratch,
}

/// The threads that do arithmetic (`--pixel_threads`).
pub type PixelThreads = Workers<WorkerScratch>;

/// Whether one image that cannot be read fails the others (`--image_errors`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ImageErrors {
    /// Fail the request, naming the first unreadable image
    #[default]
    Fail,
    /// Score the other images and return the error in the image's place
    Report,
}

/// A transformer with all it needs to answer requests.
#[derive(Clone)]
pub struct Model {
    /// The meaning.
    pub transformer: Arc<dyn Transformer>,
    /// Who runs the model.
    pub predictor: Arc<Predictor>,
    /// Where pixels are worked on.
    pub pixels: Arc<PixelThreads>,
    /// Where items other than `data:` come from.
    pub fetcher: Arc<Fetcher>,
}

/// A row of the outgoing tensor while it is filled.
type Planes = [BytesMut; PLANES];

impl Model {
    /// Input to rows, one per image and in order.
    ///
    /// # Errors
    ///
    /// When the predictor fails, or an image does and `image_errors` is [`ImageErrors::Fail`].
    pub async fn run(
        &self,
        input: Input,
        image_errors: ImageErrors,
        context: &RequestContext,
    ) -> Result<Vec<Row>, Error> {
        let max_batch = match self.predictor.readiness() {
            Readiness::Ready { max_batch } => max_batch.max(1),
            Readiness::NotReady(reason) => {
                return Err(crate::predictor::Error::NotReady(reason).into());
            }
        };
        let (tensors, faults) = match input {
            Input::Images(images) => {
                let _clock = context.timings.stage(Stage::Preprocess);
                self.preprocess(images, max_batch, image_errors).await?
            }
            Input::Tensor(tensor) => {
                let faults = vec![None; tensor.rows()];
                (tensor.split(max_batch), faults)
            }
        };
        let outputs = {
            let _clock = context.timings.stage(Stage::Predict);
            let calls = tensors
                .into_iter()
                .map(|part| self.predictor.infer(part, context));
            try_join_all(calls).await?
        };
        let _clock = context.timings.stage(Stage::Postprocess);
        self.postprocess(outputs, faults)
    }

    /// Images to tensors of at most `max_batch` rows. Of each image that could not be read the
    /// fault is given and its row left out.
    async fn preprocess(
        &self,
        images: Vec<Image>,
        max_batch: usize,
        image_errors: ImageErrors,
    ) -> Result<(Vec<Tensor>, Vec<Option<Error>>), Error> {
        let row_shape = &self.transformer.signature().input_row;
        let part_bytes = row_shape.iter().product::<i64>() as usize * 4 / PLANES;
        let permits = FetchPermits::default();
        let mut blanks = Vec::new();
        let mut work = Vec::with_capacity(images.len());
        for chunk in images.chunks(max_batch) {
            let (blank, rows) = BatchBuilder::rows::<PLANES>(chunk.len(), part_bytes);
            blanks.push(blank);
            work.extend(
                chunk
                    .iter()
                    .cloned()
                    .zip(rows)
                    .map(|(image, row)| self.fill(image, row, &permits)),
            );
        }
        let mut faults = Vec::with_capacity(images.len());
        let mut good = Vec::with_capacity(images.len());
        for (index, filled) in join_all(work).await.into_iter().enumerate() {
            match filled {
                Ok(row) => {
                    good.push(Some(row));
                    faults.push(None);
                }
                Err(fault)
                    if image_errors == ImageErrors::Report && fault.kind != Kind::Internal =>
                {
                    good.push(None);
                    faults.push(Some(fault));
                }
                Err(fault) => return Err(fault.with_image(index)),
            }
        }
        let mut tensors = Vec::with_capacity(blanks.len());
        for (blank, chunk) in blanks.into_iter().zip(good.chunks_mut(max_batch)) {
            let rows: Vec<_> = chunk.iter_mut().filter_map(Option::take).collect();
            if !rows.is_empty() {
                tensors.push(blank.assemble(rows, row_shape));
            }
        }
        Ok((tensors, faults))
    }

    /// One image into its row.
    async fn fill(
        &self,
        image: Image,
        row: Planes,
        permits: &FetchPermits,
    ) -> Result<Planes, Error> {
        let image = match image {
            Image::Item(text) if !data_uri::is_data_uri(&text) => {
                let elsewhere = Item::parse(text_of(&text)?)?;
                Image::Encoded(self.fetcher.fetch(elsewhere, permits).await?)
            }
            here => here,
        };
        let max_item_bytes = self.fetcher.max_item_bytes();
        let transformer = Arc::clone(&self.transformer);
        let work = move |scratch: &mut WorkerScratch| {
            let mut row = row;
            let encoded = match &image {
                Image::Item(text) => {
                    data_uri::decode_into(text, max_item_bytes, &mut scratch.encoded)?;
                    &scratch.encoded
                }
                Image::Base64(text) => {
                    data_uri::decode_base64_into(text, max_item_bytes, &mut scratch.encoded)?;
                    &scratch.encoded
                }
                Image::Encoded(bytes) => {
                    data_uri::check_length(bytes.len(), max_item_bytes)?;
                    bytes.as_ref()
                }
            };
            match transformer.preprocess(encoded, &mut scratch.scratch, &mut row) {
                Ok(()) => Ok(row),
                Err(error) => Err(match recognise(encoded, Place::Image) {
                    Some(recognised) if error.kind == Kind::Invalid => {
                        Error::new(error.kind, recognised.to_string())
                    }
                    _ => error,
                }),
            }
        };
        self.pixels.run(work).await.map_err(Error::from)?
    }

    /// Output tensors to rows; those of bad images come back as their faults.
    fn postprocess(
        &self,
        outputs: Vec<Tensor>,
        faults: Vec<Option<Error>>,
    ) -> Result<Vec<Row>, Error> {
        let width = self
            .transformer
            .signature()
            .output_row
            .iter()
            .product::<i64>() as usize;
        let data: Vec<Bytes> = outputs.into_iter().map(Tensor::into_data).collect();
        let values: Vec<f32> = data.iter().flat_map(|part| fp32(part)).collect();
        let mut scores = values.chunks(width.max(1));
        let mut rows = Vec::with_capacity(faults.len());
        for fault in faults {
            rows.push(match fault {
                Some(fault) => Err(fault),
                // A wrong value fails the whole request: it says that the predictor is broken.
                None => Ok(self
                    .transformer
                    .postprocess(scores.next().unwrap_or_default())?),
            });
        }
        Ok(rows)
    }
}

/// Item texts were cut from JSON strings, so that they are UTF-8; if not, it is our mistake.
fn text_of(text: &Bytes) -> Result<&str, Error> {
    std::str::from_utf8(text).map_err(|_| Error::internal("an item text is not UTF-8"))
}
