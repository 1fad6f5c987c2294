//! Image bytes to tensor values, with the bits of OpenCV: decode, resize, normalise.
//!
//! A leaf: synchronous, pure, no I/O and no settings beyond its arguments. The way of one image
//! is [`to_planes`]; [`decode()`], [`resize()`] and [`normalize()`] are its steps, for callers that
//! need more than the model's input (a photo to search for faces) and for tests of each step.

mod decode;
mod error;
mod format;
mod image;
mod jpeg;
mod normalize;
mod orientation;
mod resize;
#[cfg(test)]
mod tests;

use bytes::BytesMut;

use decode::Rows;
pub use decode::decode;
pub use error::Error;
pub use image::Image;
pub use normalize::normalize;
pub use resize::{Resizer, resize};

/// Height and width of the model's input.
pub const SIDE: usize = 112;

/// Bytes of one FP32 plane of the model's input.
pub const PLANE_BYTES: usize = SIDE * SIDE * 4;

/// The decoder of the JPEG files that are not common ones: progressive, CMYK, with unusual sampling
/// or damaged. The common ones are decoded here, the same in every build, so that only of the
/// others scores can differ between the two, in the fourth digit.
pub const JPEG_DECODER: &str = if cfg!(feature = "turbojpeg") {
    "libjpeg-turbo"
} else {
    "zune-jpeg"
};

/// What to do with an image's EXIF orientation (`--exif_orientation`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ExifOrientation {
    /// Use the pixels as they are stored, as the predecessor did
    #[default]
    Ignore,
    /// Turn the image upright
    Apply,
}

/// How images are decoded.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Images with more pixels are refused from their header (`--max_pixels`).
    pub max_pixels: u64,
    /// `--exif_orientation`.
    pub exif_orientation: ExifOrientation,
}

impl Options {
    /// Whether an image of this EXIF orientation is turned.
    fn turns(&self, orientation: u8) -> bool {
        self.exif_orientation == ExifOrientation::Apply && orientation > 1
    }
}

/// Buffers of one thread, kept from image to image; after a large image they are given back.
#[derive(Debug, Default)]
pub struct Scratch {
    decoder: decode::Buffers,
    resizer: Resizer,
}

/// Decodes an image, resizes it to [`SIDE`] × [`SIDE`], normalises it to (x − 127.5) / 128 and
/// appends the red, green and blue plane ([`PLANE_BYTES`] each, FP32 little-endian) to `planes`.
///
/// # Errors
///
/// When the bytes are no image of a known format, are damaged or too large; `planes` then are
/// as they were.
pub fn to_planes(
    image: &[u8],
    options: &Options,
    scratch: &mut Scratch,
    planes: &mut [BytesMut; 3],
) -> Result<(), Error> {
    let Scratch { decoder, resizer } = scratch;
    let decoded = decode::into_buffers(image, options, Rows::OfResize([SIDE, SIDE]), decoder)?;
    for plane in planes.iter_mut() {
        plane.reserve(PLANE_BYTES);
    }
    let mut values = [0; SIDE * 4];
    resizer.rows(decoded, SIDE, SIDE, |row| {
        for (plane, samples) in planes.iter_mut().zip(row) {
            normalize(samples, &mut values);
            plane.extend_from_slice(&values);
        }
    });
    decoder.shrink();
    Ok(())
}
