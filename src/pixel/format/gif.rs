//! GIF: the first frame, if it has a colour for every pixel.

use std::io::Cursor;

use image::ImageDecoder;
use image::codecs::gif::GifDecoder;

use super::refusal;
use crate::pixel::buffer::{Buffers, Decoded, Size, drop_alpha, sized};
use crate::pixel::error::Error;
use crate::pixel::options::Options;

const FORMAT: &str = "GIF";

/// Decodes into `buffers.pixels`.
pub(in crate::pixel) fn decode(
    image: &[u8],
    options: &Options,
    buffers: &mut Buffers,
) -> Result<Decoded, Error> {
    let refusal = |error| refusal(FORMAT, error);
    let decoder = GifDecoder::new(Cursor::new(image)).map_err(refusal)?;
    let (width, height) = decoder.dimensions();
    let size = Size::check(FORMAT, width.into(), height.into(), options)?;
    let buffer = sized(&mut buffers.pixels, size.pixels() * 4);
    decoder.read_image(buffer).map_err(refusal)?;
    // What lies behind them depends on the program.
    if buffer
        .as_chunks::<4>()
        .0
        .iter()
        .any(|[_, _, _, alpha]| *alpha != 255)
    {
        return Err(Error::Unsupported {
            format: FORMAT,
            what: "transparent pixels",
        });
    }
    drop_alpha(buffer, size.pixels());
    Ok(Decoded {
        size,
        orientation: 1,
    })
}
