//! What a model means: KServe's three steps, of which `preprocess` and `postprocess` are written
//! per model and `predict` once for all (`batch.rs`).

mod batch;
mod input;
mod preprocess;
mod request_pixels;

use bytes::BytesMut;

pub(crate) use self::batch::{ImageErrors, Model};
pub(crate) use self::input::{Image, Input};
pub(crate) use self::preprocess::{PixelThreads, WorkerScratch};
pub(crate) use self::request_pixels::PixelBudget;
use crate::error::Error;
use crate::pixel::Scratch;
use crate::predictor::Signature;

/// Parts into which a row of the tensor is handed out: the colour planes.
pub(crate) const CHANNELS: usize = 3;

/// One image's result.
pub(crate) type Row = Result<f32, Error>;

/// The two steps that differ from model to model. Both are called on pixel threads or for small
/// work, so they are synchronous.
pub(crate) trait Transformer: Send + Sync + 'static {
    /// The model of the predictor and its tensors.
    fn signature(&self) -> &Signature;

    /// What `extra_info.source` of a V1 response says.
    fn source(&self) -> &'static str;

    /// Turns an encoded image into its row of the input tensor: appends a third of the row's
    /// bytes to each of `planes`. Runs on a pixel thread.
    ///
    /// # Errors
    ///
    /// When the image cannot be read; `planes` may then hold part of it.
    fn preprocess(
        &self,
        image: &[u8],
        scratch: &mut Scratch,
        planes: &mut [BytesMut; CHANNELS],
    ) -> Result<(), Error>;

    /// Turns a row of the output tensor into a score.
    ///
    /// # Errors
    ///
    /// When the model cannot give such values.
    fn postprocess(&self, row: &[f32]) -> Row;
}
