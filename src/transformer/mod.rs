//! What a model means: KServe's three steps, of which `preprocess` and `postprocess` are written
//! per model and `predict` once for all (`batch.rs`).

pub mod batch;
pub mod face_quality;

use bytes::{Bytes, BytesMut};

use crate::error::Error;
use crate::item::Item;
use crate::pixel::Scratch;
use crate::predictor::Signature;
use crate::wire::tensor::Tensor;

/// A picture as it was sent.
#[derive(Clone, Debug)]
pub enum Picture {
    /// The text of an item (UTF-8), naming the picture or holding it in base64.
    Item(Bytes),
    /// The picture in bare base64.
    Base64(Bytes),
    /// The encoded picture itself.
    Encoded(Bytes),
}

impl Picture {
    /// Whether bytes begin as one of the item forms does. No picture format begins so.
    pub fn is_item(bytes: &[u8]) -> bool {
        let longest_scheme = bytes.len().min("https://".len());
        let start = bytes[..longest_scheme].utf8_chunks().next();
        start.is_some_and(|start| Item::parse(start.valid()).is_ok())
    }
}

/// What a request brings.
#[derive(Debug)]
pub enum Input {
    /// Pictures, to be preprocessed.
    Pictures(Vec<Picture>),
    /// The model's input as it is: FP32 `[N, …input_row]`.
    Tensor(Tensor),
}

impl Input {
    /// Pictures in it.
    pub fn count(&self) -> usize {
        match self {
            Self::Pictures(pictures) => pictures.len(),
            Self::Tensor(tensor) => tensor.rows(),
        }
    }
}

/// One picture's result.
pub type Row = Result<f32, Error>;

/// The two steps that differ from model to model. Both are called on pixel threads or for small
/// work, so they are synchronous.
pub trait Transformer: Send + Sync + 'static {
    /// The model of the predictor and its tensors.
    fn signature(&self) -> &Signature;

    /// Turns an encoded picture into its row of the input tensor: appends a third of the row's
    /// bytes to each of `planes`. Runs on a pixel thread.
    ///
    /// # Errors
    ///
    /// When the picture cannot be read; `planes` may then hold part of it.
    fn preprocess(
        &self,
        picture: &[u8],
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
