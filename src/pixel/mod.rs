//! Picture bytes to tensor values, with the bits of OpenCV: decode, resize, normalise.
//!
//! A leaf: synchronous, pure, no I/O and no settings beyond its arguments.

use bytes::BytesMut;

/// Height and width of the model's input.
pub const SIDE: usize = 112;

/// Bytes of one FP32 plane of the model's input.
pub const PLANE_BYTES: usize = SIDE * SIDE * 4;

/// The JPEG decoder that is built in. Scores can differ in the fourth digit between the two.
pub const JPEG_DECODER: &str = if cfg!(feature = "turbojpeg") {
    "libjpeg-turbo"
} else {
    "zune-jpeg"
};

/// What to do with a picture's EXIF orientation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExifOrientation {
    /// Leave the pixels as they are stored.
    #[default]
    Ignore,
    /// Turn the picture upright.
    Apply,
}

/// How pictures are decoded.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Pictures with more pixels are refused from their header (`--max_pixels`).
    pub max_pixels: u64,
    /// `--exif_orientation`.
    pub exif_orientation: ExifOrientation,
}

/// Why a picture was refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Not yet written.
    #[error("not a picture")]
    NotAPicture,
}

/// Buffers of one thread, kept from picture to picture.
#[derive(Debug, Default)]
pub struct Scratch {}

/// Decodes a picture, resizes it to [`SIDE`] × [`SIDE`], normalises it to (x − 127.5) / 128 and
/// appends the red, green and blue plane ([`PLANE_BYTES`] each, FP32 little-endian) to `planes`.
///
/// # Errors
///
/// When the bytes are no picture of a known format, are damaged or too large; `planes` may then
/// hold part of a picture.
pub fn to_planes(
    _picture: &[u8],
    _options: &Options,
    _scratch: &mut Scratch,
    _planes: &mut [BytesMut; 3],
) -> Result<(), Error> {
    Err(Error::NotAPicture)
}
