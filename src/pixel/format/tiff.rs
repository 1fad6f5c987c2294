//! TIFF: the first image, of 8 or 16 bits per sample, grey or RGB without alpha.
//!
//! By the crate that `image` uses, whose own feature would bring a second JPEG decoder.

use std::io::Cursor;

use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::{ColorType, TiffError, TiffUnsupportedError};

use crate::pixel::buffer::{Buffers, Decoded, Size, grey_to_rgb, sized};
use crate::pixel::error::Error;
use crate::pixel::options::Options;

const FORMAT: &str = "TIFF";

/// Decodes into `buffers.pixels`.
pub(in crate::pixel) fn decode(
    image: &[u8],
    options: &Options,
    buffers: &mut Buffers,
) -> Result<Decoded, Error> {
    let mut decoder = Decoder::new(Cursor::new(image)).map_err(refusal)?;
    let (width, height) = decoder.dimensions().map_err(refusal)?;
    let size = Size::check(FORMAT, width.into(), height.into(), options)?;
    let pixels = size.pixels();
    let mut limits = Limits::default();
    // A strip or tile may be larger than a small image.
    limits.decoding_buffer_size = pixels * 8;
    limits.intermediate_buffer_size = (pixels * 8).max(1 << 20);
    let mut decoder = decoder.with_limits(limits);
    let colours = decoder.colortype().map_err(refusal)?;
    let channels = match colours {
        ColorType::Gray(8 | 16) => 1,
        ColorType::RGB(8 | 16) => 3,
        ColorType::GrayA(_) | ColorType::RGBA(_) => return Err(unsupported("transparency")),
        _ => return Err(unsupported("unusual colours or bits per sample")),
    };
    let buffer = sized(&mut buffers.pixels, pixels * 3);
    let samples = pixels * channels;
    match decoder.read_image().map_err(refusal)? {
        DecodingResult::U8(bytes) if bytes.len() == samples => {
            buffer[..samples].copy_from_slice(&bytes);
        }
        DecodingResult::U16(words) if words.len() == samples => {
            // OpenCV cuts grey values off and rounds colours.
            let byte = |word: u16| match channels {
                1 => word >> 8,
                _ => ((u32::from(word) + 128) / 257) as u16,
            };
            for (out, word) in buffer.iter_mut().zip(words) {
                *out = byte(word) as u8;
            }
        }
        _ => return Err(unsupported("unusual samples")),
    }
    if channels == 1 {
        grey_to_rgb(buffer, pixels);
    }
    Ok(Decoded {
        size,
        orientation: 1,
    })
}

fn unsupported(what: &'static str) -> Error {
    Error::Unsupported {
        format: FORMAT,
        what,
    }
}

fn refusal(error: TiffError) -> Error {
    let format = FORMAT;
    match error {
        TiffError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Error::Truncated { format }
        }
        TiffError::UnsupportedError(TiffUnsupportedError::UnsupportedCompressionMethod(_)) => {
            unsupported("a compression other than deflate, LZW, PackBits and fax")
        }
        TiffError::UnsupportedError(_) => unsupported("a feature that few writers use"),
        _ => Error::Damaged {
            format,
            what: "a tag or the compressed pixels are not as they must be",
        },
    }
}
