//! PNG: every depth, colour type and interlacing to 8-bit RGB.

use std::io::{Cursor, ErrorKind};

use png::{ColorType, DecodeOptions, DecodingError, Transformations};

use crate::pixel::buffer::{Buffers, Decoded, Size, drop_alpha, grey_to_rgb, sized};
use crate::pixel::error::Error;
use crate::pixel::options::Options;
use crate::pixel::orientation;

const FORMAT: &str = "PNG";

/// Decodes into `buffers.pixels`.
pub(in crate::pixel) fn decode(
    image: &[u8],
    options: &Options,
    buffers: &mut Buffers,
) -> Result<Decoded, Error> {
    let Buffers { pixels, stage, .. } = buffers;
    prepare(image, stage)?;
    let mut checks = DecodeOptions::default();
    checks.set_ignore_adler32(false);
    let mut decoder = png::Decoder::new_with_options(Cursor::new(stage.as_slice()), checks);
    // 16 bits lose their lower 8; fewer than 8 are scaled up; palettes become colours.
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    // Colour profiles and texts are not used, and inflating them would cost.
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let header = decoder.read_header_info().map_err(refusal)?;
    let size = Size::check(FORMAT, header.width.into(), header.height.into(), options)?;
    let mut reader = decoder.read_info().map_err(refusal)?;
    let bytes = reader.output_buffer_size().ok_or(Error::Damaged {
        format: FORMAT,
        what: "its size overflows",
    })?;
    let count = size.pixels();
    let buffer = sized(pixels, bytes.max(count * 3));
    let frame = reader.next_frame(&mut buffer[..bytes]).map_err(refusal)?;
    if (frame.width as usize, frame.height as usize) != (size.width, size.height) {
        return Err(Error::Damaged {
            format: FORMAT,
            what: "its first frame is smaller than the image",
        });
    }
    // A file without its last chunk is truncated, even if all pixels are there.
    reader.finish().map_err(refusal)?;
    match frame.color_type {
        ColorType::Rgb => {}
        ColorType::Rgba => drop_alpha(buffer, count),
        ColorType::Grayscale => grey_to_rgb(buffer, count),
        ColorType::GrayscaleAlpha => {
            for at in 0..count {
                buffer[at] = buffer[at * 2];
            }
            grey_to_rgb(buffer, count);
        }
        ColorType::Indexed => {
            let what = "its palette is missing";
            return Err(Error::Damaged {
                format: FORMAT,
                what,
            });
        }
    }
    let exif = reader.info().exif_metadata.as_deref();
    Ok(Decoded {
        size,
        orientation: exif.map_or(1, orientation::orientation),
    })
}

/// Put behind the pixels. To a zlib stream that has ended these are spare bytes, which are passed over;
/// where the end is missing they are an invalid block and a wrong checksum. The decoder does not look
/// for the end once it has all pixels, but libpng and OpenCV refuse such files.
const END_CHECK: [u8; 32] = [0; 32];

/// How a deflate stream ends that was flushed and not finished. No checksum of a whole one is the same.
const SYNC_FLUSH: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// Copies the file with [`END_CHECK`] at the end of its last IDAT chunk, and checks what the decoder
/// does not.
fn prepare(image: &[u8], prepared: &mut Vec<u8>) -> Result<(), Error> {
    prepared.clear();
    prepared.reserve(image.len() + END_CHECK.len());
    let mut at = 8;
    // Where the last IDAT chunk starts, and its length.
    let mut pixels = None;
    while let Some(head) = image.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let [l3, l2, l1, l0, name @ ..] = *head;
        let length = u32::from_be_bytes([l3, l2, l1, l0]);
        match &name {
            // The decoder panics where such a palette is used.
            b"PLTE" if length == 0 || !length.is_multiple_of(3) => {
                return Err(Error::Damaged {
                    format: FORMAT,
                    what: "its palette has an invalid length",
                });
            }
            b"IDAT" => pixels = Some((at, length)),
            _ if pixels.is_some() => break,
            _ => {}
        }
        at = at.saturating_add(length as usize).saturating_add(12);
    }
    let last = pixels.and_then(|(at, length)| image.get(at + 8..)?.get(..length as usize));
    if last.is_some_and(|pixels| pixels.ends_with(&SYNC_FLUSH)) {
        return Err(Error::Truncated { format: FORMAT });
    }
    let extended = pixels.and_then(|(at, length)| extend(image, at, length, prepared));
    if extended.is_none() {
        // Truncated, as the decoder will say.
        prepared.clear();
        prepared.extend_from_slice(image);
    }
    Ok(())
}

/// Copies the file with a longer chunk, whose length and checksum are mended.
fn extend(image: &[u8], at: usize, length: u32, to: &mut Vec<u8>) -> Option<()> {
    let end = at.checked_add(8)?.checked_add(length as usize)?;
    let (stored, rest) = image.get(end..)?.split_first_chunk()?;
    to.extend_from_slice(&image[..at]);
    to.extend_from_slice(&length.checked_add(END_CHECK.len() as u32)?.to_be_bytes());
    to.extend_from_slice(&image[at + 4..end]);
    to.extend_from_slice(&END_CHECK);
    to.extend_from_slice(&crc_of_more(u32::from_be_bytes(*stored)).to_be_bytes());
    to.extend_from_slice(rest);
    Some(())
}

/// The CRC-32 of a chunk and [`END_CHECK`] behind it: invalid if the chunk's own is.
fn crc_of_more(of_chunk: u32) -> u32 {
    let mut crc = !of_chunk;
    for byte in END_CHECK {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 0 { 0 } else { 0xEDB8_8320 };
        }
    }
    !crc
}

fn refusal(error: DecodingError) -> Error {
    let format = FORMAT;
    match error {
        DecodingError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Error::Truncated { format }
        }
        DecodingError::LimitsExceeded => Error::Damaged {
            format,
            what: "a chunk is too large",
        },
        _ => Error::Damaged {
            format,
            what: "a chunk or the compressed pixels are not as they must be",
        },
    }
}
