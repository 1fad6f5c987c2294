//! Where an image's bytes come from: fetched where it is only named, decoded from base64 where it
//! comes so, as it is otherwise.

use bytes::Bytes;

use super::Image;
use crate::error::Error;
use crate::item::{FetchPermits, Fetcher, Item, data_uri};
use crate::observe::timing::{Stage, Timings};
use crate::pixel::Scratch;
use crate::workers::Workers;

/// What a pixel thread keeps from image to image.
#[derive(Debug, Default)]
pub(crate) struct WorkerScratch {
    pub(super) encoded: Vec<u8>,
    pub(super) pixels: Scratch,
}

/// The threads that decode and resize (`--pixel_threads`).
pub(crate) type PixelThreads = Workers<WorkerScratch>;

/// The image where it is only named.
pub(super) async fn fetch(
    image: Image,
    fetcher: &Fetcher,
    permits: &FetchPermits,
    timings: &Timings,
) -> Result<Image, Error> {
    match image {
        Image::Item(text) if !data_uri::is_data_uri(&text) => {
            let _timer = timings.stage(Stage::Fetch);
            let item = Item::parse(text_of(&text)?)?;
            Ok(Image::Encoded(fetcher.fetch(item, permits).await?))
        }
        in_request => Ok(in_request),
    }
}

/// The encoded image, in `buffer` where it was base64.
pub(super) fn encoded<'a>(
    image: &'a Image,
    max_item_bytes: usize,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8], Error> {
    match image {
        Image::Item(text) => {
            data_uri::decode_into(text, max_item_bytes, buffer)?;
            Ok(buffer)
        }
        Image::Base64(text) => {
            data_uri::decode_base64_into(text, max_item_bytes, buffer)?;
            Ok(buffer)
        }
        Image::Encoded(bytes) => {
            data_uri::check_length(bytes.len(), max_item_bytes)?;
            Ok(bytes.as_ref())
        }
    }
}

/// The texts of items were cut from JSON strings or checked, so they are UTF-8; if not, it is our
/// mistake.
fn text_of(text: &Bytes) -> Result<&str, Error> {
    std::str::from_utf8(text).map_err(|_| Error::internal("the text of an item is not UTF-8"))
}
