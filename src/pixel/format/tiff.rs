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
    check_tags(image)?;
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

/// Values that a tag may have, such as the offsets of an image's strips.
const MAX_VALUES: u64 = 1 << 20;

/// The tags that the decoder reads are below this one. Larger ones are texts and profiles.
const FIRST_UNREAD_TAG: u64 = 700;

/// Refuses tags that announce more values than the file can have: the decoder takes up to 256 MiB for
/// them before it is told of limits, and before it looks whether they are there.
fn check_tags(image: &[u8]) -> Result<(), Error> {
    let truncated = Error::Truncated { format: FORMAT };
    let is_little = image.starts_with(b"II");
    let number = |at: usize, bytes: usize| {
        let end = at.checked_add(bytes)?;
        let bytes = image.get(at..end)?.iter();
        let push = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if is_little {
            bytes.rev().fold(0, push)
        } else {
            bytes.fold(0, push)
        })
    };
    let directory = number(4, 4).ok_or(truncated.clone())? as usize;
    let entries = number(directory, 2).ok_or(truncated.clone())? as usize;
    for entry in 0..entries {
        let at = directory + 2 + entry * 12;
        let tag = number(at, 2).zip(number(at + 2, 2)).zip(number(at + 4, 4));
        let ((tag, kind), count) = tag.ok_or(truncated.clone())?;
        let bytes = match kind {
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16.. => 8,
            _ => 1,
        };
        if tag >= FIRST_UNREAD_TAG {
            continue;
        }
        if count * bytes > image.len() as u64 {
            return Err(truncated);
        }
        if count > MAX_VALUES {
            return Err(Error::Damaged {
                format: FORMAT,
                what: "a tag has too many values",
            });
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A file whose only directory has this one entry.
    fn file(tag: u16, kind: u16, count: u32, length: usize) -> Vec<u8> {
        let mut file = b"MM\0*\0\0\0\x08\0\x01".to_vec();
        file.extend(tag.to_be_bytes());
        file.extend(kind.to_be_bytes());
        file.extend(count.to_be_bytes());
        file.resize(length, 0);
        file
    }

    #[test]
    fn values_must_be_in_the_file_and_not_too_many() {
        let truncated = Err(Error::Truncated { format: FORMAT });
        assert_eq!(check_tags(&file(273, 4, 10, 40)), Ok(()));
        assert_eq!(check_tags(&file(273, 4, 11, 40)), truncated);
        assert_eq!(check_tags(&file(273, 4, u32::MAX, 40)), truncated);
        assert_eq!(check_tags(&file(34_675, 7, u32::MAX, 40)), Ok(()));
        assert_eq!(check_tags(&file(273, 1, 40, 17)), truncated);
        let many = check_tags(&file(347, 7, 1 << 21, 1 << 21)).unwrap_err();
        assert!(many.to_string().contains("too many values"), "{many}");
    }
}
