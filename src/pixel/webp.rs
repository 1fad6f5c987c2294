//! WebP: lossy and lossless, of an animation the first picture.

use std::io::{Cursor, ErrorKind};

use image_webp::{DecodingError, WebPDecoder};

use super::decode::{Buffers, Decoded, Size, drop_alpha, first};
use super::{Error, ExifOrientation, Options, orient};

const FORMAT: &str = "WebP";

/// Decodes into `buffers.pixels`.
pub(super) fn decode(
    picture: &[u8],
    options: &Options,
    buffers: &mut Buffers,
) -> Result<Decoded, Error> {
    // The outer chunk's length, which the decoder does not look at.
    let length = picture.get(4..8).and_then(<[u8]>::first_chunk);
    if length.is_none_or(|length| picture.len() - 8 < u32::from_le_bytes(*length) as usize) {
        return Err(Error::Truncated { format: FORMAT });
    }
    let mut decoder = WebPDecoder::new(Cursor::new(picture)).map_err(refusal)?;
    let (width, height) = decoder.dimensions();
    let size = Size::check(FORMAT, width.into(), height.into(), options)?;
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let buffer = first(&mut buffers.pixels, size.pixels() * channels);
    decoder.read_image(buffer).map_err(refusal)?;
    if channels == 4 {
        drop_alpha(buffer, size.pixels());
    }
    let orientation = match options.exif_orientation {
        ExifOrientation::Ignore => 1,
        ExifOrientation::Apply => match decoder.exif_metadata() {
            Ok(Some(exif)) => orient::orientation(exif.strip_prefix(b"Exif\0\0").unwrap_or(&exif)),
            Ok(None) | Err(_) => 1,
        },
    };
    Ok(Decoded { size, orientation })
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
