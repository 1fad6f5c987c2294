//! What a model means: KServe's three steps, of which `preprocess` and `postprocess` are written
//! per model and `predict` once for all (`batch.rs`).

pub mod batch;

use bytes::{Bytes, BytesMut};

use crate::error::Error;
use crate::item::Item;
use crate::pixel::Scratch;
use crate::predictor::Signature;
use crate::wire::tensor::Tensor;

/// An image as it was sent.
#[derive(Clone, Debug)]
pub enum Image {
    /// The text of an item (UTF-8), naming the image or holding it in base64.
    Item(Bytes),
    /// The image in bare base64.
    Base64(Bytes),
    /// The encoded image itself.
    Encoded(Bytes),
}

impl Image {
    /// Whether bytes begin as one of the item forms does. No image format begins so.
    pub fn is_item(bytes: &[u8]) -> bool {
        let longest_scheme = bytes.len().min("https://".len());
        let start = bytes[..longest_scheme].utf8_chunks().next();
        start.is_some_and(|start| Item::parse(start.valid()).is_ok())
    }
}

/// What a request brings.
#[derive(Debug)]
pub enum Input {
    /// Images, to be preprocessed.
    Images(Vec<Image>),
    /// The model's input as it is: FP32 `[N, …input_row]`.
    Tensor(Tensor),
}

impl Input {
    /// Images in it.
    pub fn count(&self) -> usize {
        match self {
            Self::Images(images) => images.len(),
            Self::Tensor(tensor) => tensor.rows(),
        }
    }
}

/// One image's result.
pub type Row = Result<f32, Error>;

/// The two steps that differ from model to model. Both are called on pixel threads or for small
/// work, so they are synchronous.
pub trait Transformer: Send + Sync + 'static {
    /// The model of the predictor and its tensors.
    fn signature(&self) -> &Signature;

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
        planes: &mut [BytesMut; 3],
    ) -> Result<(), Error>;

    /// Turns a row of the output tensor into a score.
    ///
    /// # Errors
    ///
    /// When the values are none that the model can give.
    fn postprocess(&self, row: &[f32]) -> Row;
}
