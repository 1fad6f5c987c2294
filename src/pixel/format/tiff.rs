//! TIFF: the first image, of 8 or 16 bits per sample; grey, RGB, RGBA, or 8 bits with a palette. It is
//! turned upright whatever `--exif_orientation` says, as OpenCV does.

use std::borrow::Cow;
use std::io::Cursor;

use tiff::decoder::{ChunkType, Decoder, DecodingResult, Limits};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError, TiffUnsupportedError};

use crate::pixel::buffer::{Buffers, Decoded, Size, repeat_grey, sized};
use crate::pixel::error::Error;
use crate::pixel::options::Options;
use crate::pixel::orientation;

const FORMAT: &str = "TIFF";

/// Decodes into `buffers.pixels`.
pub(in crate::pixel) fn decode(
    image: &[u8],
    options: &Options,
    buffers: &mut Buffers,
) -> Result<Decoded, Error> {
    let palette_at = check_tags(image)?;
    let file = palette_at.map_or(Cow::Borrowed(image), |at| as_grey(image, at).into());
    let mut decoder = Decoder::new(Cursor::new(file)).map_err(refusal)?;
    let (width, height) = decoder.dimensions().map_err(refusal)?;
    let size = Size::check(FORMAT, width.into(), height.into(), options)?;
    let pixels = size.pixels();
    let mut limits = Limits::default();
    // A strip or tile may be larger than a small image.
    limits.decoding_buffer_size = pixels * 8;
    limits.intermediate_buffer_size = (pixels * 8).max(1 << 20);
    let mut decoder = decoder.with_limits(limits);
    let in_tiles = decoder.get_chunk_type() == ChunkType::Tile;
    let channels = match decoder.colortype().map_err(refusal)? {
        ColorType::Gray(16) if palette_at.is_some() => {
            return Err(unsupported("a palette for 16 bits"));
        }
        // OpenCV's libtiff takes pixels of the last tile from the wrong columns.
        ColorType::Gray(16) if in_tiles && !width.is_multiple_of(decoder.chunk_dimensions().0) => {
            return Err(unsupported("16-bit grey in tiles beyond the edge"));
        }
        ColorType::Gray(8 | 16) => 1,
        ColorType::RGB(8 | 16) => 3,
        ColorType::RGBA(8 | 16) => 4,
        _ => return Err(unsupported("unusual colours or bits per sample")),
    };
    let in_planes = decoder.image_buffer_layout().map_err(refusal)?.planes > 1;
    // The decoder mistakes the tiles of the second plane for others.
    if in_planes && (channels != 3 || in_tiles) {
        return Err(unsupported("planes of tiles, or of transparency"));
    }
    let mut numbers = |tag| decoder.find_tag_unsigned_vec::<u16>(tag).map_err(refusal);
    let palette = match palette_at {
        Some(_) => Some(palette(&numbers(Tag::ColorMap)?.unwrap_or_default())?),
        None => None,
    };
    let is_unassociated = numbers(Tag::ExtraSamples)?.is_some_and(|kinds| kinds == [UNASSOCIATED]);
    let turned = numbers(Tag::Orientation)?.and_then(|value| value.first().copied());

    let mut samples = DecodingResult::U8(Vec::new());
    decoder
        .read_image_to_buffer(&mut samples)
        .map_err(refusal)?;
    let samples: Vec<u8> = match samples {
        DecodingResult::U8(bytes) => bytes,
        // Grey values are cut off, colours rounded.
        DecodingResult::U16(words) if channels == 1 => {
            words.into_iter().map(|word| (word >> 8) as u8).collect()
        }
        DecodingResult::U16(words) => {
            let rounded = |word| ((u32::from(word) + 128) / 257) as u8;
            words.into_iter().map(rounded).collect()
        }
        _ => return Err(unsupported("signed or fractional samples")),
    };
    if samples.len() != pixels * channels {
        return Err(unsupported("unusual samples"));
    }
    let buffer = sized(&mut buffers.pixels, pixels * 3);
    match (channels, palette) {
        (1, None) => repeat_grey(&samples, buffer),
        (1, Some(colours)) => {
            for (pixel, number) in buffer.as_chunks_mut::<3>().0.iter_mut().zip(samples) {
                *pixel = colours[usize::from(number)];
            }
        }
        (3, _) if in_planes => {
            for (colour, plane) in samples.chunks_exact(pixels).enumerate() {
                for (pixel, sample) in buffer.as_chunks_mut::<3>().0.iter_mut().zip(plane) {
                    pixel[colour] = *sample;
                }
            }
        }
        (3, _) => buffer.copy_from_slice(&samples),
        _ => {
            let rgba = samples.as_chunks::<4>().0;
            for (pixel, [red, green, blue, alpha]) in
                buffer.as_chunks_mut::<3>().0.iter_mut().zip(rgba)
            {
                *pixel = [*red, *green, *blue];
                if is_unassociated {
                    *pixel = pixel.map(|colour| multiplied(colour, *alpha));
                }
            }
        }
    }
    let orientation = turned.filter(|turned| (2..=8).contains(turned));
    let size = match orientation {
        Some(orientation) => orientation::turn(buffers, size, orientation as u8),
        None => size,
    };
    Ok(Decoded {
        size,
        orientation: 1,
    })
}

/// The kind of extra sample that is an alpha which the colours were not multiplied by.
const UNASSOCIATED: u16 = 2;

/// A colour times such an alpha, which OpenCV gives.
fn multiplied(colour: u8, alpha: u8) -> u8 {
    ((u16::from(colour) * u16::from(alpha) + 127) / 255) as u8
}

/// The colours of a palette, which is stored as three lists.
fn palette(values: &[u16]) -> Result<[[u8; 3]; 256], Error> {
    // Some writers store 8 bits.
    let shift = if values.iter().any(|value| *value > 255) {
        8
    } else {
        0
    };
    let mut colours = [[0; 3]; 256];
    if values.len() != 3 * colours.len() {
        return Err(Error::Damaged {
            format: FORMAT,
            what: "its palette has not 256 colours",
        });
    }
    for (colour, list) in values.chunks_exact(256).enumerate() {
        for (place, value) in colours.iter_mut().zip(list) {
            place[colour] = (value >> shift) as u8;
        }
    }
    Ok(colours)
}

/// A copy that says that it is grey, black being 0, instead of having a palette: the decoder does not read
/// palettes, and so it reads the numbers of the colours.
fn as_grey(image: &[u8], photometric_at: usize) -> Vec<u8> {
    let mut grey = image.to_vec();
    let value = if image.starts_with(b"II") {
        [1, 0]
    } else {
        [0, 1]
    };
    grey[photometric_at..photometric_at + 2].copy_from_slice(&value);
    grey
}

/// Values that a tag may have, such as the offsets of an image's strips.
const MAX_VALUES: u64 = 1 << 20;

/// The tags that the decoder reads are below this one. Larger ones are texts and profiles.
const FIRST_UNREAD_TAG: u64 = 700;

/// The tag of what the samples mean, and its value where they are numbers of colours in a palette.
const PHOTOMETRIC: u64 = 262;
const PALETTE: u64 = 3;

/// Refuses tags that announce more values than the file can have: the decoder takes up to 256 MiB for
/// them before it is told of limits, and before it looks whether they are there. Returns where it says that
/// the image has a palette, if it does.
fn check_tags(image: &[u8]) -> Result<Option<usize>, Error> {
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
    let mut palette_at = None;
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
        if (tag, kind, number(at + 8, 2)) == (PHOTOMETRIC, 3, Some(PALETTE)) {
            palette_at = Some(at + 8);
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
    Ok(palette_at)
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
            unsupported("a compression other than deflate, LZW and PackBits")
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
        assert_eq!(check_tags(&file(273, 4, 10, 40)), Ok(None));
        assert_eq!(check_tags(&file(273, 4, 11, 40)), truncated);
        assert_eq!(check_tags(&file(273, 4, u32::MAX, 40)), truncated);
        assert_eq!(check_tags(&file(34_675, 7, u32::MAX, 40)), Ok(None));
        assert_eq!(check_tags(&file(273, 1, 40, 17)), truncated);
        let many = check_tags(&file(347, 7, 1 << 21, 1 << 21)).unwrap_err();
        assert!(many.to_string().contains("too many values"), "{many}");
    }
}
