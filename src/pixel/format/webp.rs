//! WebP: lossy and lossless, of an animation the first image.

use std::io::{Cursor, ErrorKind};

use image_webp::{DecodingError, WebPDecoder};

use crate::pixel::buffer::{Buffers, Decoded, Size, drop_alpha, sized};
use crate::pixel::error::Error;
use crate::pixel::options::{ExifOrientation, Options};
use crate::pixel::orientation;

const FORMAT: &str = "WebP";

/// Decodes into `buffers.pixels`.
pub(in crate::pixel) fn decode(
    image: &[u8],
    options: &Options,
    buffers: &mut Buffers,
) -> Result<Decoded, Error> {
    // The outer chunk's length, which the decoder does not look at.
    let length = image.get(4..8).and_then(<[u8]>::first_chunk);
    let end = length.map(|length| (u32::from_le_bytes(*length) as usize).saturating_add(8));
    let image = end.and_then(|end| image.get(..end));
    let image = image.ok_or(Error::Truncated { format: FORMAT })?;
    let mut decoder = WebPDecoder::new(Cursor::new(image)).map_err(refusal)?;
    let (width, height) = decoder.dimensions();
    let size = Size::check(FORMAT, width.into(), height.into(), options)?;
    check_frames(image.get(12..).unwrap_or_default(), width, height)?;
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let buffer = sized(&mut buffers.pixels, size.pixels() * channels);
    decoder.read_image(buffer).map_err(refusal)?;
    if channels == 4 {
        drop_alpha(buffer, size.pixels());
    }
    let orientation = match options.exif_orientation {
        ExifOrientation::Ignore => 1,
        ExifOrientation::Apply => match decoder.exif_metadata() {
            Ok(Some(exif)) => {
                orientation::orientation(exif.strip_prefix(b"Exif\0\0").unwrap_or(&exif))
            }
            Ok(None) | Err(_) => 1,
        },
    };
    Ok(Decoded { size, orientation })
}

/// Checks that the lossy frames among `chunks` have the size of what holds them: the decoder takes
/// memory by a frame's own header and compares sizes after that.
fn check_frames(mut chunks: &[u8], width: u32, height: u32) -> Result<(), Error> {
    const ANIMATION_FRAME_BYTES: usize = 16;
    while let Some((header, rest)) = chunks.split_first_chunk::<8>() {
        let [a, b, c, d, length @ ..] = *header;
        let length = u32::from_le_bytes(length) as usize;
        let body = &rest[..length.min(rest.len())];
        let own_size = match (&[a, b, c, d], body) {
            (b"VP8 ", [_, _, _, _, _, _, w0, w1, h0, h1, ..]) => {
                let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3FFF);
                Some((side(*w0, *w1), side(*h0, *h1)))
            }
            (b"ANMF", [_, _, _, _, _, _, w0, w1, w2, h0, h1, h2, ..])
                if body.len() >= ANIMATION_FRAME_BYTES =>
            {
                let frame_width = u32::from_le_bytes([*w0, *w1, *w2, 0]) + 1;
                let frame_height = u32::from_le_bytes([*h0, *h1, *h2, 0]) + 1;
                check_frames(&body[ANIMATION_FRAME_BYTES..], frame_width, frame_height)?;
                None
            }
            _ => None,
        };
        if own_size.is_some_and(|size| size != (width, height)) {
            return Err(Error::Damaged {
                format: FORMAT,
                what: "a frame has another size than its header says",
            });
        }
        // Chunks start at even places.
        let next = length.saturating_add(length % 2).min(rest.len());
        chunks = &rest[next..];
    }
    Ok(())
}

fn refusal(error: DecodingError) -> Error {
    let format = FORMAT;
    match error {
        DecodingError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Error::Truncated { format }
        }
        _ => Error::Damaged {
            format,
            what: "a chunk or the compressed pixels are not as they must be",
        },
    }
}
