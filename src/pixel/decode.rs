//! Encoded bytes to 8-bit RGB: which decoder.
//!
//! The format is what the first bytes say; names and MIME types are not believed.

use super::buffer::{Buffers, Decoded, Rows, Size, sized};
use super::error::Error;
use super::format::{bmp, png, webp};
use super::image::Image;
use super::options::Options;
use super::{jpeg, orientation};

/// The decoders' buffers and state, kept from image to image.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    pub(super) buffers: Buffers,
    jpeg: jpeg::Decoder,
}

impl Decoder {
    /// Gives back what a large image took.
    pub(super) fn shrink(&mut self) {
        self.buffers.shrink();
        self.jpeg.shrink();
    }
}

/// Decodes into the buffers, which a decoder may leave without the rows that are not looked at.
pub(super) fn into_buffers<'a>(
    image: &[u8],
    options: &Options,
    rows: Rows,
    decoder: &'a mut Decoder,
) -> Result<Image<'a>, Error> {
    // Also after an error: what a large image took is given back before the next one.
    decoder.shrink();
    let Decoder { buffers, jpeg } = decoder;
    buffers.rows.keep_all();
    let decoded = by_first_bytes(image, options, rows, buffers, jpeg)?;
    let mut size = decoded.size;
    if options.turns(decoded.orientation) {
        let bytes = size.pixels() * 3;
        let upright = sized(&mut buffers.stage, bytes);
        size = orientation::apply_orientation(
            &buffers.pixels[..bytes],
            size,
            decoded.orientation,
            upright,
        );
        std::mem::swap(&mut buffers.pixels, &mut buffers.stage);
    }
    let Size { width, height } = size;
    let places = buffers.rows.places();
    let image = if places.is_empty() {
        Image::new(&buffers.pixels[..size.pixels() * 3], width, height)
    } else {
        let rgb = &buffers.pixels[..buffers.rows.kept() * width * 3];
        Image::of_some_rows(rgb, width, places)
    };
    image.ok_or(Error::NotAnImage)
}

fn by_first_bytes(
    image: &[u8],
    options: &Options,
    rows: Rows,
    buffers: &mut Buffers,
    jpeg: &mut jpeg::Decoder,
) -> Result<Decoded, Error> {
    match image {
        [0xFF, 0xD8, 0xFF, ..] => jpeg.decode(image, options, rows, buffers),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => {
            png::decode(image, options, buffers)
        }
        [b'R', b'I', b'F', b'F', _, _, _, _, webp @ ..] if webp.starts_with(b"WEBP") => {
            webp::decode(image, options, buffers)
        }
        [b'B', b'M', ..] => bmp::decode(image, options, buffers),
        _ => Err(Error::NotAnImage),
    }
}
