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
    check_palette(image)?;
    let mut checks = DecodeOptions::default();
    checks.set_ignore_adler32(false);
    let mut decoder = png::Decoder::new_with_options(Cursor::new(image), checks);
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
    let pixels = size.pixels();
    let buffer = sized(&mut buffers.pixels, bytes.max(pixels * 3));
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
        ColorType::Rgba => drop_alpha(buffer, pixels),
        ColorType::Grayscale => grey_to_rgb(buffer, pixels),
        ColorType::GrayscaleAlpha => {
            for at in 0..pixels {
                buffer[at] = buffer[at * 2];
            }
            grey_to_rgb(buffer, pixels);
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

/// Checks that the palette has three bytes per colour, of which the decoder makes sure too late.
fn check_palette(image: &[u8]) -> Result<(), Error> {
    let mut chunks = image.get(8..).unwrap_or_default();
    while let Some((&[l3, l2, l1, l0, name @ ..], rest)) = chunks.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([l3, l2, l1, l0]) as usize;
        match &name {
            b"PLTE" if length % 3 != 0 || length == 0 => {
                return Err(Error::Damaged {
                    format: FORMAT,
                    what: "its palette has an invalid length",
                });
            }
            b"PLTE" | b"IDAT" | b"IEND" => break,
            _ => chunks = rest.get(length.saturating_add(4)..).unwrap_or_default(),
        }
    }
    Ok(())
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
