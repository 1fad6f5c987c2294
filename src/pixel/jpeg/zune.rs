//! zune-jpeg, in Rust, for all files but the common ones: the default.

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::header::Colours;
use super::{FORMAT, Header, Size};
use crate::pixel::error::Error;

/// Ones, as a JPEG stores them. No Huffman code is all ones, so a decoder that reads on into these
/// finds an error, where at a marker it would find zeros and invent pixels of them.
const WALL: [u8; 16] = [
    0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0,
];

/// A zune decoder is made for each image; kept is the file with walls in it.
#[derive(Debug, Default)]
pub(in crate::pixel) struct Decoder {
    walled: Vec<u8>,
}

impl Decoder {
    /// Decodes to RGB, or for four components to CMYK.
    pub(super) fn decode(
        &mut self,
        image: &[u8],
        size: Size,
        header: &Header<'_>,
        pixels: &mut [u8],
    ) -> Result<(), Error> {
        let colours = header.colours;
        let image = self.walled(image, header);
        let options = DecoderOptions::default()
            .set_max_width(size.width)
            .set_max_height(size.height)
            .set_strict_mode(true)
            .jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(image), options);
        decoder.decode_headers().map_err(refusal)?;
        // Where the decoder's idea of the colours is not libjpeg's, and for those that it cannot
        // convert as libjpeg does, the components are taken as they are and converted here.
        let taken_for = decoder.input_colorspace().unwrap_or(ColorSpace::RGB);
        let raw = match colours {
            Colours::Grey => false,
            Colours::Rgb => taken_for != ColorSpace::RGB,
            Colours::YCbCr => taken_for != ColorSpace::YCbCr,
            Colours::Cmyk | Colours::Ycck => true,
        };
        if raw {
            decoder.set_options(options.jpeg_set_out_colorspace(taken_for));
        }
        if decoder.output_buffer_size() != Some(pixels.len()) {
            return Err(Error::Damaged {
                format: FORMAT,
                what: "its headers contradict each other",
            });
        }
        decoder.decode_into(pixels).map_err(refusal)?;
        match colours {
            Colours::YCbCr if raw => {
                for pixel in pixels.as_chunks_mut::<3>().0 {
                    *pixel = rgb(*pixel);
                }
            }
            Colours::Ycck => {
                for [y, cb, cr, _] in pixels.as_chunks_mut::<4>().0 {
                    [*y, *cb, *cr] = rgb([*y, *cb, *cr]).map(|colour| 255 - colour);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The file with a wall before every marker that restarts or ends a scan. No wall where the
    /// decoder wants the marker at once: after a progressive image's first scan, and between
    /// sequential scans.
    fn walled<'a>(&'a mut self, image: &'a [u8], header: &Header<'_>) -> &'a [u8] {
        let scans = match header.scans.as_slice() {
            [_, later @ ..] if header.progressive => later,
            [only] => std::slice::from_ref(only),
            _ => return image,
        };
        let walled = &mut self.walled;
        walled.clear();
        let mut copied = 0;
        for scan in scans {
            let mut at = scan.start;
            while let Some(found) = memchr::memchr(0xFF, &image[at..scan.end]) {
                at += found;
                if let Some(0xD0..=0xD7) = image.get(at + 1) {
                    walled.extend_from_slice(&image[copied..at]);
                    walled.extend_from_slice(&WALL);
                    copied = at;
                }
                at = (at + 2).min(scan.end);
            }
            walled.extend_from_slice(&image[copied..scan.end]);
            walled.extend_from_slice(&WALL);
            copied = scan.end;
        }
        walled.extend_from_slice(&image[copied..]);
        walled
    }
}

/// YCbCr to RGB in libjpeg's 16-bit fixed point.
fn rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let red = y + ((91_881 * cr + HALF) >> 16);
    let green = y + ((-22_554 * cb - 46_802 * cr + HALF) >> 16);
    let blue = y + ((116_130 * cb + HALF) >> 16);
    [red, green, blue].map(|colour| colour.clamp(0, 255) as u8)
}

fn refusal(error: DecodeErrors) -> Error {
    let format = FORMAT;
    match error {
        DecodeErrors::ExhaustedData => Error::Truncated { format },
        DecodeErrors::Unsupported(_) => Error::Unsupported {
            format,
            what: "a coding scheme",
        },
        _ => Error::Damaged {
            format,
            what: "a segment or the compressed pixels are not as they must be",
        },
    }
}
