//! libjpeg-turbo, in C, for all files but the common ones: the decoder that OpenCV is built with, so
//! its pixels to the last bit.

use turbojpeg::{Decompressor, Image, PixelFormat};

use super::{FORMAT, Header, Size};
use crate::pixel::error::Error;

/// How libjpeg-turbo's warning of bytes between the last pixel and the end marker ends.
const SPARE_BYTES: &str = "extraneous bytes before marker 0xd9";

/// Without state: a handle is made for each image, since tables of one image stay in it. A
/// damaged image would then spoil all that follow.
#[derive(Debug, Default)]
pub(in crate::pixel) struct Decoder;

impl Decoder {
    /// Decodes to RGB, or for four components to CMYK.
    pub(super) fn decode(
        &mut self,
        image: &[u8],
        size: Size,
        header: &Header<'_>,
        pixels: &mut [u8],
    ) -> Result<(), Error> {
        let damaged = |_| Error::Damaged {
            format: FORMAT,
            what: "a segment or the compressed pixels are not as they must be",
        };
        let mut decompressor = Decompressor::new().map_err(damaged)?;
        let format = if header.colours.count() == 4 {
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
        match decompressor.decompress(image, output) {
            // Warnings arrive as errors, the first one with its text. libjpeg-turbo warns where it
            // invents pixels; but this one means that all were there, and then some bytes more.
            Err(turbojpeg::Error::TurboJpegError(text)) if text.ends_with(SPARE_BYTES) => Ok(()),
            other => other.map_err(damaged),
        }
    }
}
