//! One image on its way to its row of the tensor: fetched where it is only named, decoded from
//! base64 where it comes so, and preprocessed on a pixel thread.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};

use super::request_pixels::{PixelBudget, RequestPixels};
use super::{CHANNELS, Image, Transformer};
use crate::error::{Error, Kind};
use crate::item::{FetchPermits, Fetcher, Item, data_uri};
use crate::pixel::Scratch;
use crate::recognise::{Place, recognise};
use crate::workers::Workers;

/// What a pixel thread keeps from image to image.
#[derive(Debug, Default)]
pub(crate) struct WorkerScratch {
    encoded: Vec<u8>,
    pixels: Scratch,
}

/// The threads that decode and resize (`--pixel_threads`).
pub(crate) type PixelThreads = Workers<WorkerScratch>;

/// A row of the outgoing tensor while it is filled.
pub(super) type RowPlanes = [BytesMut; CHANNELS];

/// What preprocesses images.
#[derive(Clone)]
pub(super) struct Preprocessor {
    pub(super) transformer: Arc<dyn Transformer>,
    pub(super) pixels: Arc<PixelThreads>,
    /// Where items other than `data:` come from.
    pub(super) fetcher: Arc<Fetcher>,
    /// The pixels of all requests.
    pub(super) budget: PixelBudget,
}

/// Images of one request that are fetched side by side.
const MAX_FETCHES: usize = 8;

impl Preprocessor {
    /// Fills the rows with the images, in order. Of one request only so many images are fetched and
    /// stand in the queue of the pixel threads at once: so requests take turns on the threads, and
    /// the images behind one that fails need not be begun.
    pub(super) fn preprocess(
        &self,
        work: impl Iterator<Item = (Image, RowPlanes)>,
        pixels: Arc<RequestPixels>,
    ) -> impl Stream<Item = Result<RowPlanes, Error>> {
        let permits = FetchPermits::default();
        stream::iter(work)
            .map(move |(image, row)| {
                let permits = permits.clone();
                async move { (self.fetch(image, &permits).await, row) }
            })
            .buffered(MAX_FETCHES)
            .enumerate()
            .map(move |(index, (image, row))| {
                let pixels = Arc::clone(&pixels);
                async move { self.preprocess_one(index, image?, row, pixels).await }
            })
            .buffered(2 * self.pixels.threads())
    }

    /// The image where it is only named.
    async fn fetch(&self, image: Image, permits: &FetchPermits) -> Result<Image, Error> {
        match image {
            Image::Item(text) if !data_uri::is_data_uri(&text) => {
                let item = Item::parse(text_of(&text)?)?;
                Ok(Image::Encoded(self.fetcher.fetch(item, permits).await?))
            }
            in_request => Ok(in_request),
        }
    }

    /// One image into its row.
    async fn preprocess_one(
        &self,
        index: usize,
        image: Image,
        mut row: RowPlanes,
        pixels: Arc<RequestPixels>,
    ) -> Result<RowPlanes, Error> {
        let max_item_bytes = self.fetcher.max_item_bytes();
        let transformer = Arc::clone(&self.transformer);
        let turn = pixels.turn(index).await;
        let work = move |scratch: &mut WorkerScratch| {
            let _turn = turn;
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
            pixels.check(index, encoded)?;
            let preprocessed = transformer.preprocess(encoded, &mut scratch.pixels, &mut row);
            pixels.decoded(index, encoded, scratch.pixels.decoded_pixels());
            match preprocessed {
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
}

/// The texts of items were cut from JSON strings or checked, so they are UTF-8; if not, it is our
/// mistake.
fn text_of(text: &Bytes) -> Result<&str, Error> {
    std::str::from_utf8(text).map_err(|_| Error::internal("the text of an item is not UTF-8"))
}
