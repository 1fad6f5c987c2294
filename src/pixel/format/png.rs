//! PNG: every depth, colour type and interlacing to 8-bit RGB.

use std::io::{Cursor, ErrorKind};

use png::{ColorType, DecodeOptions, DecodingError, Transformations};

use crate::pixel::buffer::{
    Buffers, Decoded, Rows, Size, drop_alpha, grey_to_rgb, repeat_grey, sized, without_alpha,
};
use crate::pixel::error::Error;
use crate::pixel::options::{ExifOrientation, Options};
use crate::pixel::orientation;

const FORMAT: &str = "PNG";

/// Rows of an image of which some may be left out.
const MAX_LISTED_ROWS: usize = 1 << 16;

/// Decodes into `buffers.pixels`; unless it is interlaced only those of `rows`.
pub(in crate::pixel) fn decode(
    image: &[u8],
    options: &Options,
    rows: Rows,
    buffers: &mut Buffers,
) -> Result<Decoded, Error> {
    let Buffers {
        pixels,
        stage,
        rows: kept,
    } = buffers;
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
    let first_frame = reader.info().frame_control();
    if first_frame.is_some_and(|frame| (frame.width, frame.height) != reader.info().size()) {
        return Err(damaged("its first frame is smaller than the image"));
    }
    let colours = reader.output_color_type().0;
    if reader.info().interlaced {
        let bytes = reader.output_buffer_size();
        let bytes = bytes.ok_or(damaged("its size overflows"))?;
        let buffer = sized(pixels, bytes.max(size.pixels() * 3));
        reader.next_frame(&mut buffer[..bytes]).map_err(refusal)?;
        match colours {
            ColorType::Rgb => {}
            ColorType::Rgba => drop_alpha(buffer, size.pixels()),
            ColorType::Grayscale => grey_to_rgb(buffer, size.pixels()),
            ColorType::GrayscaleAlpha => {
                for at in 0..size.pixels() {
                    buffer[at] = buffer[at * 2];
                }
                grey_to_rgb(buffer, size.pixels());
            }
            ColorType::Indexed => return Err(NO_PALETTE),
        }
    } else {
        // Where the image is to be turned, which may be said behind its pixels, all are needed; and a list of
        // very many rows takes more than they.
        let turns = options.exif_orientation == ExifOrientation::Apply;
        if !turns && size.height <= MAX_LISTED_ROWS {
            kept.keep(size, rows);
        }
        let wanted = kept.wanted();
        let count = if wanted.is_empty() {
            size.height
        } else {
            kept.kept()
        };
        let mut out = sized(pixels, count * size.width * 3).chunks_exact_mut(size.width * 3);
        for y in 0..size.height {
            let row = reader.next_row().map_err(refusal)?;
            let row = row.ok_or(Error::Truncated { format: FORMAT })?;
            if wanted.get(y).is_none_or(|wanted| *wanted)
                && let Some(out) = out.next()
            {
                to_rgb(row.data(), colours, out)?;
            }
        }
    }
    // A file without its last chunk is truncated, even if all pixels are there.
    reader.finish().map_err(refusal)?;
    let exif = reader.info().exif_metadata.as_deref();
    Ok(Decoded {
        size,
        orientation: exif.map_or(1, orientation::orientation),
    })
}

/// Converts a row of 8 bits per sample.
fn to_rgb(row: &[u8], colours: ColorType, rgb: &mut [u8]) -> Result<(), Error> {
    match colours {
        ColorType::Rgb => rgb.copy_from_slice(row),
        ColorType::Rgba => without_alpha(row, rgb),
        ColorType::Grayscale => repeat_grey(row, rgb),
        ColorType::GrayscaleAlpha => {
            let pixels = rgb.as_chunks_mut::<3>().0.iter_mut();
            for (pixel, [grey, _]) in pixels.zip(row.as_chunks::<2>().0) {
                *pixel = [*grey; 3];
            }
        }
        ColorType::Indexed => return Err(NO_PALETTE),
    }
    Ok(())
}

const NO_PALETTE: Error = damaged("its palette is missing");

const fn damaged(what: &'static str) -> Error {
    Error::Damaged {
        format: FORMAT,
        what,
    }
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
                return Err(damaged("its palette has an invalid length"));
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
    match error {
        DecodingError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Error::Truncated { format: FORMAT }
        }
        DecodingError::LimitsExceeded => damaged("a chunk is too large"),
        _ => damaged("a chunk or the compressed pixels are not as they must be"),
    }
}
