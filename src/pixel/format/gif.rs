//! GIF: the first frame, if it has a colour for every pixel.

use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::{ImageDecoder, Limits};

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
    let mut decoder = GifDecoder::new(Cursor::new(image)).map_err(refusal)?;
    let (width, height) = decoder.dimensions();
    let size = Size::check(FORMAT, width.into(), height.into(), options)?;
    // A frame has a size of its own, for which memory is taken if it is not the image's.
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(size.pixels() as u64 * 4);
    decoder.set_limits(limits).map_err(refusal)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixel::Formats;
    use crate::pixel::options::ExifOrientation;

    #[test]
    fn a_frame_larger_than_the_image_is_refused_before_memory_is_taken() {
        let mut file = b"GIF89a\x03\0\x02\0\x80\0\0\0\0\0\xFF\xFF\xFF".to_vec();
        file.extend(b",\0\0\0\0\xFF\xFF\xFF\xFF\0\x02\x02\x44\x01\0;");
        let options = Options {
            max_pixels: 100,
            exif_orientation: ExifOrientation::Ignore,
            formats: Formats::ALL,
        };
        let error = decode(&file, &options, &mut Buffers::default()).unwrap_err();
        assert!(
            error.to_string().contains("larger than the image"),
            "{error}"
        );
    }
}
