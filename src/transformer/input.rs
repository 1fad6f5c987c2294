//! What a request brings.

use bytes::Bytes;

use crate::error::{Error, Kind};
use crate::item::Item;
use crate::wire::tensor::Tensor;

/// An image as it was sent.
#[derive(Clone, Debug)]
pub enum Image {
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

/// The images of a request, or the tensors that were made from them.
#[derive(Debug)]
pub enum Input {
    /// Images, to be preprocessed.
    Images(Vec<Image>),
    /// A model's inputs as they are, in its signature's order; all have the same number of rows.
    Tensors(Vec<Tensor>),
}

impl Input {
    /// Images in it.
    pub fn count(&self) -> usize {
        match self {
            Self::Images(images) => images.len(),
            Self::Tensors(tensors) => tensors.first().map_or(0, Tensor::rows),
        }
    }

    /// The images, for a transformer that takes nothing else.
    ///
    /// # Errors
    ///
    /// When tensors were sent.
    pub fn images(self) -> Result<Vec<Image>, Error> {
        match self {
            Self::Images(images) => Ok(images),
            Self::Tensors(_) => Err(Error::new(
                Kind::Invalid,
                "this model takes images, not tensors",
            )),
        }
    }
}
