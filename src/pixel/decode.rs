//! Encoded bytes to 8-bit RGB: which decoder, its limits and its buffers.
//!
//! The format is what the first bytes say; names and MIME types are not believed.

use super::format::{bmp, png, webp};
use super::image::Image;
use super::{Error, Options, Scratch};
use super::{jpeg, orientation};

/// Bytes of each buffer that are kept between images.
const KEPT_BYTES: usize = 16 << 20;

/// What decoding writes into.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// The decoded image, RGB; only the first bytes are of the current one.
    pub(super) pixels: Vec<u8>,
    /// What is not RGB yet, or not upright yet.
    pub(super) stage: Vec<u8>,
    /// The JPEG decoder's own state.
    pub(super) jpeg: jpeg::Decoder,
    /// Of each row of the current image, whether it will be looked at.
    pub(super) wanted: Vec<bool>,
}

/// Which rows of a decoded image will be looked at. A decoder may leave anything in the others.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rows {
    All,
    /// Those that a resize to this width and height reads.
    OfResize([usize; 2]),
}

impl Buffers {
    /// Gives back what a large image took.
    pub(super) fn shrink(&mut self) {
        for buffer in [&mut self.pixels, &mut self.stage] {
            if buffer.capacity() > KEPT_BYTES {
                *buffer = Vec::new();
            }
        }
    }
}

/// The first `len` bytes of a buffer, which grows when it must and is not cleared: the decoder
/// writes all of it.
pub(super) fn first(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    &mut buffer[..len]
}

/// Size of an image in pixels, within the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Size {
    /// Checks what a header says against `--max_pixels`, before memory is taken.
    pub(super) fn check(
        format: &'static str,
        width: u64,
        height: u64,
        options: &Options,
    ) -> Result<Self, Error> {
        if width == 0 || height == 0 {
            let what = "it has no pixels";
            return Err(Error::Damaged { format, what });
        }
        let allowed = width
            .checked_mul(height)
            .is_some_and(|pixels| pixels <= options.max_pixels);
        // Six bytes a pixel are the most that any decoder takes at once.
        let fits = |side: u64| usize::try_from(side).ok().filter(|_| allowed);
        match (fits(width), fits(height)) {
            (Some(width), Some(height)) if width.checked_mul(height * 6).is_some() => {
                Ok(Self { width, height })
            }
            _ => Err(Error::TooManyPixels {
                format,
                width,
                height,
                limit: options.max_pixels,
            }),
        }
    }

    /// Number of pixels.
    pub(super) fn pixels(self) -> usize {
        self.width * self.height
    }
}

/// An image within its decoder: its size, and how it is to be turned (EXIF 1–8).
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoded {
    pub(super) size: Size,
    pub(super) orientation: u8,
}

/// Decodes a JPEG, PNG, WebP or BMP to 8-bit RGB as OpenCV's `imdecode` does with `IMREAD_COLOR`
/// and `IMREAD_IGNORE_ORIENTATION`: alpha is dropped, 16 bits lose their lower 8, grey is
/// repeated. Of an animation it is the first image.
///
/// The pixels live in `scratch` until the next call.
///
/// # Errors
///
/// When the bytes are no image of a known format, are damaged, truncated or too large.
pub fn decode<'a>(
    image: &[u8],
    options: &Options,
    scratch: &'a mut Scratch,
) -> Result<Image<'a>, Error> {
    scratch.decoder.shrink();
    into_buffers(image, options, Rows::All, &mut scratch.decoder)
}

/// As [`decode`], for one who holds the buffers and will look at some rows only.
pub(super) fn into_buffers<'a>(
    image: &[u8],
    options: &Options,
    rows: Rows,
    buffers: &'a mut Buffers,
) -> Result<Image<'a>, Error> {
    let decoded = match image {
        [0xFF, 0xD8, 0xFF, ..] => jpeg::decode(image, options, rows, buffers)?,
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => {
            png::decode(image, options, buffers)?
        }
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => webp::decode(image, options, buffers)?,
        [b'B', b'M', ..] => bmp::decode(image, options, buffers)?,
        _ => return Err(Error::NotAImage),
    };
    let mut size = decoded.size;
    if options.turns(decoded.orientation) {
        let bytes = size.pixels() * 3;
        let upright = first(&mut buffers.stage, bytes);
        size = orientation::turn(&buffers.pixels[..bytes], size, decoded.orientation, upright);
        std::mem::swap(&mut buffers.pixels, &mut buffers.stage);
    }
    let Size { width, height } = size;
    let rgb = &buffers.pixels[..size.pixels() * 3];
    Image::new(rgb, width, height).ok_or(Error::NotAImage)
}

/// Repeats each of the first `pixels` grey bytes to RGB, in place.
pub(super) fn grey_to_rgb(buffer: &mut [u8], pixels: usize) {
    for at in (0..pixels).rev() {
        let grey = buffer[at];
        buffer[at * 3..][..3].fill(grey);
    }
}

/// Drops the last of every `FROM` bytes of the first `pixels` pixels but the three colours, in
/// place: RGBA to RGB.
pub(super) fn drop_alpha(buffer: &mut [u8], pixels: usize) {
    for at in 0..pixels {
        buffer.copy_within(at * 4..at * 4 + 3, at * 3);
    }
}
