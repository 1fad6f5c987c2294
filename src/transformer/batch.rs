//! Many pictures at once: spread over the pixel threads, split into calls, put in order again,
//! each picture with a score or an error of its own.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::{join_all, try_join_all};

use super::{Input, Picture, Row, Transformer};
use crate::error::{Error, Kind};
use crate::item::{Fetcher, Item, Turns, data_uri};
use crate::pixel::Scratch;
use crate::predictor::{Call, Predictor, Readiness};
use crate::timing::{Stage, Timings};
use crate::wire::tensor::{Blank, Tensor, fp32};
use crate::workers::Workers;

/// Parts into which a row of the tensor is handed out: the colour planes.
const PLANES: usize = 3;

/// What a pixel thread keeps from picture to picture.
#[derive(Debug, Default)]
pub struct Desk {
    encoded: Vec<u8>,
    scratch: Scratch,
}

/// The threads that do arithmetic (`--pixel_threads`).
pub type PixelThreads = Workers<Desk>;

/// Whether one picture that cannot be read fails the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageErrors {
    /// The request fails with the lowest-numbered bad picture.
    #[default]
    Fail,
    /// The picture's row is its error.
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
    /// Input to rows, one per picture and in order.
    ///
    /// # Errors
    ///
    /// When the predictor fails, or a picture does and `image_errors` is [`ImageErrors::Fail`].
    pub async fn run(
        &self,
        input: Input,
        image_errors: ImageErrors,
        call: &Call,
        timings: &Timings,
    ) -> Result<Vec<Row>, Error> {
        let max_batch = match self.predictor.readiness() {
            Readiness::Ready { max_batch } => max_batch.max(1),
            Readiness::NotReady(reason) => {
                return Err(crate::predictor::Error::NotReady(reason).into());
            }
        };
        let (tensors, faults) = match input {
            Input::Pictures(pictures) => {
                let _clock = timings.stage(Stage::Preprocess);
                self.preprocess(pictures, max_batch, image_errors).await?
            }
            Input::Tensor(tensor) => {
                let faults = vec![None; tensor.rows()];
                (tensor.split(max_batch), faults)
            }
        };
        let outputs = {
            let _clock = timings.stage(Stage::Predict);
            let calls = tensors
                .into_iter()
                .map(|part| self.predictor.infer(part, call, timings));
            try_join_all(calls).await?
        };
        let _clock = timings.stage(Stage::Postprocess);
        self.postprocess(outputs, faults)
    }

    /// Pictures to tensors of at most `max_batch` rows. Of each picture that could not be read the
    /// fault is given and its row left out.
    async fn preprocess(
        &self,
        pictures: Vec<Picture>,
        max_batch: usize,
        image_errors: ImageErrors,
    ) -> Result<(Vec<Tensor>, Vec<Option<Error>>), Error> {
        let row_shape = &self.transformer.signature().input_row;
        let part_bytes = row_shape.iter().product::<i64>() as usize * 4 / PLANES;
        let turns = Turns::default();
        let mut blanks = Vec::new();
        let mut work = Vec::with_capacity(pictures.len());
        for chunk in pictures.chunks(max_batch) {
            let (blank, rows) = Blank::rows::<PLANES>(chunk.len(), part_bytes);
            blanks.push(blank);
            work.extend(
                chunk
                    .iter()
                    .cloned()
                    .zip(rows)
                    .map(|(picture, row)| self.fill(picture, row, &turns)),
            );
        }
        let mut faults = Vec::with_capacity(pictures.len());
        let mut good = Vec::with_capacity(pictures.len());
        for (index, filled) in join_all(work).await.into_iter().enumerate() {
            match filled {
                Ok(row) => {
                    good.push(Some(row));
                    faults.push(None);
                }
                Err(fault) if image_errors == ImageErrors::Report && fault.kind != Kind::Bug => {
                    good.push(None);
                    faults.push(Some(fault));
                }
                Err(fault) => return Err(fault.of_picture(index)),
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

    /// One picture into its row.
    async fn fill(&self, picture: Picture, row: Planes, turns: &Turns) -> Result<Planes, Error> {
        let picture = match picture {
            Picture::Item(text) if !data_uri::is_one(&text) => {
                let elsewhere = Item::parse(text_of(&text)?)?;
                Picture::Encoded(self.fetcher.fetch(elsewhere, turns).await?)
            }
            here => here,
        };
        let max_item_bytes = self.fetcher.max_item_bytes();
        let transformer = Arc::clone(&self.transformer);
        let work = move |desk: &mut Desk| {
            let mut row = row;
            let encoded = match &picture {
                Picture::Item(text) => {
                    data_uri::decode_into(text, max_item_bytes, &mut desk.encoded)?;
                    &desk.encoded
                }
                Picture::Base64(text) => {
                    data_uri::decode_base64_into(text, max_item_bytes, &mut desk.encoded)?;
                    &desk.encoded
                }
                Picture::Encoded(bytes) => {
                    data_uri::check_length(bytes.len(), max_item_bytes)?;
                    bytes.as_ref()
                }
            };
            transformer.preprocess(encoded, &mut desk.scratch, &mut row)?;
            Ok(row)
        };
        self.pixels
            .run(work)
            .await
            .map_err(|panicked| Error::new(Kind::Bug, panicked.to_string()))?
    }

    /// Output tensors to rows; those of bad pictures come back as their faults.
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
    std::str::from_utf8(text).map_err(|_| Error::new(Kind::Bug, "an item text is not UTF-8"))
}
