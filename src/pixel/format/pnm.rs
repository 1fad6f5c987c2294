//! PBM, PGM and PPM, as text or bytes, of up to 16 bits per sample.

use std::io::Cursor;

use image::codecs::pnm::PnmDecoder;
use image::{ColorType, ImageDecoder};

use super::refusal;
use crate::pixel::buffer::{Buffers, Decoded, Size, grey_to_rgb, high_bytes, sized};
use crate::pixel::error::Error;
use crate::pixel::options::Options;

const FORMAT: &str = "PNM";

/// Decodes into `buffers.pixels`.
pub(in crate::pixel) fn decode(
    image: &[u8],
    options: &Options,
    buffers: &mut Buffers,
) -> Result<Decoded, Error> {
    let refusal = |error| refusal(FORMAT, error);
    let has_maximum = !matches!(image, [b'P', b'1' | b'4', ..]);
    // OpenCV scales other maxima in text but not in bytes; the decoder scales both.
    if has_maximum && !matches!(number(image, 2), Some(b"255" | b"65535")) {
        return Err(Error::Unsupported {
            format: FORMAT,
            what: "a maximum other than 255 and 65535",
        });
    }
    let decoder = PnmDecoder::new(Cursor::new(image)).map_err(refusal)?;
    let (width, height) = decoder.dimensions();
    let size = Size::check(FORMAT, width.into(), height.into(), options)?;
    let (channels, is_wide) = match decoder.color_type() {
        ColorType::L8 => (1, false),
        ColorType::L16 => (1, true),
        ColorType::Rgb8 => (3, false),
        ColorType::Rgb16 => (3, true),
        _ => {
            return Err(Error::Unsupported {
                format: FORMAT,
                what: "unusual samples",
            });
        }
    };
    let samples = size.pixels() * channels;
    let bytes = samples * if is_wide { 2 } else { 1 };
    let buffer = sized(&mut buffers.pixels, bytes.max(size.pixels() * 3));
    decoder.read_image(&mut buffer[..bytes]).map_err(refusal)?;
    if is_wide {
        high_bytes(buffer, samples);
    }
    if channels == 1 {
        grey_to_rgb(buffer, size.pixels());
    }
    Ok(Decoded {
        size,
        orientation: 1,
    })
}

/// Number `index` of the header, as text.
fn number(image: &[u8], index: usize) -> Option<&[u8]> {
    let mut rest = image.get(2..)?;
    for left in (0..=index).rev() {
        loop {
            rest = rest.trim_ascii_start();
            match rest.strip_prefix(b"#") {
                Some(comment) => {
                    let end = comment.iter().position(|byte| *byte == b'\n')?;
                    rest = &comment[end..];
                }
                None => break,
            }
        }
        let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        if left == 0 {
            return Some(&rest[..end]);
        }
        rest = &rest[end..];
    }
    None
}
