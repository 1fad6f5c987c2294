//! Image bytes to tensor values, with the bits of OpenCV: decode, resize, normalise.
//!
//! A leaf: synchronous, pure, no I/O and no settings beyond its arguments. The way of one image
//! is [`to_planes`]; [`decode()`], [`resize()`] and [`normalize()`] are its steps, for tests of each.
//! Callers that need more of an image than one model's input take it whole ([`decode_owned`]), and
//! crop, resize, letterbox or warp it into any [`TensorFormat`].

mod buffer;
mod decode;
mod error;
mod format;
mod formats;
mod half;
mod header_pixels;
mod image;
mod jpeg;
mod letterbox;
mod normalize;
mod options;
mod orientation;
mod owned;
mod resize;
mod tensor;
#[cfg(test)]
mod tests;
mod warp;

use std::time::{Duration, Instant};

use bytes::BytesMut;

use buffer::Rows;
pub use error::Error;
pub use formats::{Format, Formats};
pub use header_pixels::header_pixels;
pub use image::{Image, Rect};
pub use letterbox::Letterbox;
pub use normalize::{Normalize, normalize};
pub use options::{ExifOrientation, Options};
pub use owned::{ImageBuf, decode_owned};
pub use resize::{Resizer, resize};
pub use tensor::{Colours, Layout, TensorFormat, Values};
pub use warp::Affine;

/// Buffers of one thread, kept from image to image; after a large image they are given back.
#[derive(Debug, Default)]
pub struct Scratch {
    decoder: decode::Decoder,
    /// For images that are resized apart from decoding.
    pub resizer: Resizer,
    decoded: u64,
    times: StepTimes,
}

/// How long the steps took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTimes {
    /// Image bytes to pixels.
    pub decode: Option<Duration>,
    /// Pixels to a tensor: resizing and normalising.
    pub resize: Option<Duration>,
}

impl StepTimes {
    fn add_decode(&mut self, since: Instant) {
        *self.decode.get_or_insert_default() += since.elapsed();
    }

    fn add_resize(&mut self, since: Instant) {
        *self.resize.get_or_insert_default() += since.elapsed();
    }
}

impl Scratch {
    /// How long the steps took since this was asked last.
    pub fn take_times(&mut self) -> StepTimes {
        std::mem::take(&mut self.times)
    }

    /// Resizes with the buffers of this thread, and takes the time.
    pub fn resize<T>(&mut self, resize: impl FnOnce(&mut Resizer) -> T) -> T {
        let begin = Instant::now();
        let resized = resize(&mut self.resizer);
        self.times.add_resize(begin);
        resized
    }

    /// Pixels of the image that was decoded last, of those that its header tells; none if it could
    /// not be decoded.
    pub fn decoded_pixels(&self) -> u64 {
        self.decoded
    }
}

/// Decodes an image to 8-bit RGB as OpenCV's `imdecode` does with `IMREAD_COLOR`
/// and `IMREAD_IGNORE_ORIENTATION`: alpha is dropped, 16 bits lose their lower 8, grey is
/// repeated. Of an animation it is the first image.
///
/// The pixels live in `scratch` until the next call.
///
/// # Errors
///
/// When the bytes are not an image of a known format, are damaged, truncated or too large.
pub fn decode<'a>(
    image: &[u8],
    options: &Options,
    scratch: &'a mut Scratch,
) -> Result<Image<'a>, Error> {
    decode::into_buffers(image, options, Rows::All, &mut scratch.decoder)
}

/// Decodes an image, resizes it to the width and height `to`, normalises it to (x − 127.5) / 128
/// and appends the red, green and blue plane (FP32 little-endian) to `planes`.
///
/// # Errors
///
/// When the bytes are not an image of a known format, are damaged or too large; `planes` then are
/// as they were.
pub fn to_planes(
    image: &[u8],
    to: [usize; 2],
    options: &Options,
    scratch: &mut Scratch,
    planes: &mut [BytesMut; 3],
) -> Result<(), Error> {
    resized(image, to, options, scratch, |decoded, resizer| {
        decoded.append_planes(to, &Normalize::CENTERED, resizer, planes);
    })
}

/// Decodes an image, resizes it to the width and height `to` and appends it to `tensor` in any format:
/// what [`to_planes`] does for the most common one without clearing memory first.
///
/// # Errors
///
/// As [`to_planes`].
pub fn to_tensor(
    image: &[u8],
    to: [usize; 2],
    options: &Options,
    format: &TensorFormat,
    scratch: &mut Scratch,
    tensor: &mut BytesMut,
) -> Result<(), Error> {
    resized(image, to, options, scratch, |decoded, resizer| {
        decoded.append(to, format, resizer, tensor);
    })
}

/// Decodes an image as far as a resize to `to` reads it, and hands it to `write`.
fn resized(
    image: &[u8],
    to: [usize; 2],
    options: &Options,
    scratch: &mut Scratch,
    write: impl FnOnce(Image<'_>, &mut Resizer),
) -> Result<(), Error> {
    let Scratch {
        decoder,
        resizer,
        decoded: pixels,
        times,
    } = scratch;
    *pixels = 0;
    let begin = Instant::now();
    let decoded = decode::into_buffers(image, options, Rows::OfResize(to), decoder);
    times.add_decode(begin);
    let written = decoded.map(|decoded| {
        *pixels = decoded.width() as u64 * decoded.height() as u64;
        let begin = Instant::now();
        write(decoded, resizer);
        times.add_resize(begin);
    });
    decoder.shrink();
    written
}
