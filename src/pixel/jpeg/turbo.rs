//! libjpeg-turbo, in C: the decoder that OpenCV is built with, so its pixels to the last bit.

use turbojpeg::{Decompressor, Image, PixelFormat};

use super::{Colours, FORMAT, Size};
use crate::pixel::Error;

/// libjpeg-turbo's handle, made for the first picture; it holds no pixels between pictures.
#[derive(Debug, Default)]
pub(in crate::pixel) struct Decoder(Option<Decompressor>);

impl Decoder {
    /// Decodes to RGB, or for four components to CMYK.
    pub(super) fn decode(
        &mut self,
        picture: &[u8],
        size: Size,
        colours: Colours,
        pixels: &mut [u8],
    ) -> Result<(), Error> {
        // Warnings are errors here: libjpeg-turbo warns where it invents pixels.
        let damaged = |_| Error::Damaged {
            format: FORMAT,
            what: "a segment or the compressed pixels are not as they must be",
        };
        let decompressor = match &mut self.0 {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new().map_err(damaged)?),
        };
        let format = if colours.count() == 4 {
            PixelFormat::CMYK
        } else {
            PixelFormat::RGB
        };
        let output = Image {
            pixels,
            width: size.width,
            pitch: size.width * format.size(),
            height: size.height,
            format,
        };
        decompressor.decompress(picture, output).map_err(damaged)
    }
}
