//! A decoded image that owns its pixels: for callers that look at a photo more than once, or on more
//! than one thread.

use std::time::Instant;

use bytes::Bytes;

use super::buffer::Rows;
use super::error::Error;
use super::image::Image;
use super::options::Options;
use super::{Scratch, decode};

/// All pixels of an image, 8-bit RGB, rows without gaps. Clones share them.
#[derive(Clone)]
pub struct ImageBuf {
    rgb: Bytes,
    width: usize,
    height: usize,
}

impl ImageBuf {
    /// An image over rows without gaps; `None` unless `rgb` is `width` × `height` × 3 bytes and
    /// neither side is 0.
    pub fn new(rgb: impl Into<Bytes>, width: usize, height: usize) -> Option<Self> {
        let rgb = rgb.into();
        Image::new(&rgb, width, height)?;
        Some(Self { rgb, width, height })
    }

    /// The image, to crop, resize or warp.
    pub fn image(&self) -> Image<'_> {
        Image::of_whole_rows(&self.rgb, self.width, self.height)
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The memory that the pixels take, however many clones share it.
    pub fn byte_len(&self) -> usize {
        self.rgb.len()
    }
}

/// Sizes only: pixels do not belong in a log.
impl std::fmt::Debug for ImageBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ImageBuf({}x{})", self.width, self.height)
    }
}

/// Decodes an image as [`decode()`](super::decode()) does, and gives its pixels away instead of keeping
/// them in `scratch`.
///
/// # Errors
///
/// When the bytes are not an image of a known format, are damaged, truncated or too large.
pub fn decode_owned(
    image: &[u8],
    options: &Options,
    scratch: &mut Scratch,
) -> Result<ImageBuf, Error> {
    scratch.decoded = 0;
    let begin = Instant::now();
    let decoded = decode::into_buffers(image, options, Rows::All, &mut scratch.decoder);
    scratch.times.add_decode(begin);
    let size = decoded.map(|image| (image.width(), image.height()));
    let mut rgb = std::mem::take(&mut scratch.decoder.buffers.pixels);
    scratch.decoder.shrink();
    let (width, height) = size?;
    scratch.decoded = width as u64 * height as u64;
    // The buffer may have been larger: what is kept is charged by its length.
    rgb.truncate(width * height * 3);
    rgb.shrink_to_fit();
    ImageBuf::new(rgb, width, height).ok_or(Error::NotAnImage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixel::{self, ExifOrientation, Formats};

    #[test]
    fn pixels_are_given_away_whole_and_upright_if_asked() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pixels/");
        let mut scratch = Scratch::default();
        for name in ["jpeg-exif6.jpg", "png-16bit-colour6-adam7.png"] {
            let file = std::fs::read(format!("{folder}{name}")).unwrap();
            for exif_orientation in [ExifOrientation::Ignore, ExifOrientation::Apply] {
                let options = Options {
                    max_pixels: 1 << 20,
                    exif_orientation,
                    formats: Formats::DEFAULT,
                };
                let owned = decode_owned(&file, &options, &mut scratch).unwrap();
                assert_eq!(
                    scratch.decoded_pixels(),
                    (owned.width() * owned.height()) as u64
                );
                assert_eq!(owned.byte_len(), owned.width() * owned.height() * 3);
                let borrowed = pixel::decode(&file, &options, &mut scratch).unwrap();
                let size = (borrowed.width(), borrowed.height());
                assert_eq!((owned.width(), owned.height()), size);
                assert!((0..size.1).all(|y| owned.image().row(y) == borrowed.row(y)));
            }
        }
        assert!(ImageBuf::new(vec![0; 5], 1, 2).is_none());
    }
}
