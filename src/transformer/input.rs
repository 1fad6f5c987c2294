//! What a request brings.

use bytes::Bytes;

use crate::item::Item;
use crate::wire::tensor::Tensor;

/// An image as it was sent.
#[derive(Clone, Debug)]
pub(crate) enum Image {
    /// The text of an item (UTF-8), naming the image or holding it in base64.
    Item(Bytes),
    /// The image in base64, without the head of an item.
    Base64(Bytes),
    /// The encoded image itself.
    Encoded(Bytes),
}

impl Image {
    /// Whether bytes begin as one of the item forms does. No image format begins like this.
    pub(crate) fn is_item(bytes: &[u8]) -> bool {
        let longest_scheme = bytes.len().min("https://".len());
        let start = bytes[..longest_scheme].utf8_chunks().next();
        start.is_some_and(|start| Item::parse(start.valid()).is_ok())
    }
}

/// The images of a request, or the tensor that was made from them.
#[derive(Debug)]
pub(crate) enum Input {
    /// Images, to be preprocessed.
    Images(Vec<Image>),
    /// The model's input as it is: FP32 `[N, …input_row]`.
    Tensor(Tensor),
}

impl Input {
    /// Images in it.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Images(images) => images.len(),
            Self::Tensor(tensor) => tensor.rows(),
        }
    }
}
