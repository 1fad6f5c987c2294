//! Encoded bytes to 8-bit RGB: which decoder.
//!
//! The format is what the first bytes say; names and MIME types are not believed.

use super::buffer::{Buffers, Decoded, Rows, Size};
use super::error::Error;
use super::format::{bmp, gif, png, pnm, tiff, webp};
use super::formats::{self, Format};
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
        size = orientation::turn(buffers, size, decoded.orientation);
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
    let Some(format) = Format::of(image) else {
        return Err(match formats::foreign(image) {
            Some(format) => Error::NotRead { format },
            None => Error::NotAnImage,
        });
    };
    if !options.formats.contains(format) {
        return Err(Error::NotAllowed {
            format: format.name(),
        });
    }
    match format {
        Format::Jpeg => jpeg.decode(image, options, rows, buffers),
        Format::Png => png::decode(image, options, rows, buffers),
        Format::WebP => webp::decode(image, options, buffers),
        Format::Bmp => bmp::decode(image, options, buffers),
        Format::Gif => gif::decode(image, options, buffers),
        Format::Tiff => tiff::decode(image, options, buffers),
        Format::Pnm => pnm::decode(image, options, buffers),
    }
}
