//! GIF: the first frame, on the background that OpenCV puts behind it.

use std::io::ErrorKind;

use gif::{DecodeOptions, DecodingError};

use crate::pixel::buffer::{Buffers, Decoded, Size, sized};
use crate::pixel::error::Error;
use crate::pixel::options::Options;

const FORMAT: &str = "GIF";

/// Decodes into `buffers.pixels`.
pub(in crate::pixel) fn decode(
    image: &[u8],
    options: &Options,
    buffers: &mut Buffers,
) -> Result<Decoded, Error> {
    check_blocks(image)?;
    let mut checks = DecodeOptions::new();
    checks.check_frame_consistency(true);
    let mut decoder = checks.read_info(image).map_err(refusal)?;
    let size = Size::check(
        FORMAT,
        decoder.width().into(),
        decoder.height().into(),
        options,
    )?;
    let shared = decoder.global_palette().unwrap_or_default();
    let shared = shared.as_chunks::<3>().0.to_vec();
    let background = match shared.get(usize::from(image[BACKGROUND])) {
        Some(colour) => *colour,
        None if shared.is_empty() => [0; 3],
        None => return Err(damaged("its background is not in its palette")),
    };
    let frame = decoder.next_frame_info().map_err(refusal)?;
    let frame = frame.ok_or(damaged("it has no frame"))?;
    // Numbers beyond the frame's own palette are looked up in the shared one, as OpenCV does.
    let own = frame.palette.as_deref().unwrap_or_default();
    let mut colours = own.as_chunks::<3>().0.to_vec();
    colours.extend(shared.iter().skip(colours.len()));
    let transparent = frame.transparent;
    let [left, top, width, height] =
        [frame.left, frame.top, frame.width, frame.height].map(usize::from);
    if width == 0 || height == 0 {
        return Err(damaged("its first frame has no pixels"));
    }
    let numbers = sized(&mut buffers.stage, width * height);
    decoder.read_into_buffer(numbers).map_err(refusal)?;

    let pixels = sized(&mut buffers.pixels, size.pixels() * 3);
    let pixels = pixels.as_chunks_mut::<3>().0;
    pixels.fill(background);
    for (y, numbers) in numbers.chunks_exact(width).enumerate() {
        let row = &mut pixels[(top + y) * size.width + left..][..width];
        for (pixel, number) in row.iter_mut().zip(numbers) {
            if transparent == Some(*number) {
                continue;
            }
            let colour = colours.get(usize::from(*number));
            *pixel = *colour.ok_or(damaged("a colour is not in its palette"))?;
        }
    }
    Ok(Decoded {
        size,
        orientation: 1,
    })
}

/// Where the header has the number of the background's colour.
const BACKGROUND: usize = 11;

/// Where the header ends.
const SCREEN_END: usize = 13;

/// Passes over all blocks to the trailer: of a file that ends before it, or within a later frame, OpenCV
/// takes no frame.
fn check_blocks(image: &[u8]) -> Result<(), Error> {
    let byte = |at: usize| image.get(at).ok_or(Error::Truncated { format: FORMAT });
    // The bytes of the palette that flags announce.
    let palette = |flags: &u8| match flags & 0x80 {
        0 => 0,
        _ => 6 << (flags & 7),
    };
    let mut at = SCREEN_END + palette(byte(10)?);
    loop {
        match byte(at)? {
            b';' => return Ok(()),
            b'!' => at += 2,
            b',' => {
                at += 10 + palette(byte(at + 9)?);
                if !(2..=11).contains(byte(at)?) {
                    return Err(damaged("its codes have an invalid length"));
                }
                at += 1;
            }
            _ => return Err(damaged("it has an unknown block")),
        }
        while *byte(at)? != 0 {
            at += 1 + usize::from(*byte(at)?);
        }
        at += 1;
    }
}

fn damaged(what: &'static str) -> Error {
    Error::Damaged {
        format: FORMAT,
        what,
    }
}

fn refusal(error: DecodingError) -> Error {
    match error {
        DecodingError::UnexpectedEof => Error::Truncated { format: FORMAT },
        DecodingError::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Error::Truncated { format: FORMAT }
        }
        _ => damaged("a block or the compressed pixels are not as they must be"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixel::Formats;

    #[test]
    fn a_frame_larger_than_the_image_is_refused_before_memory_is_taken() {
        let mut file = b"GIF89a\x03\0\x02\0\x80\0\0\0\0\0\xFF\xFF\xFF".to_vec();
        file.extend(b",\0\0\0\0\xFF\xFF\xFF\xFF\0\x02\x02\x44\x01\0;");
        let options = Options {
            max_pixels: 100,
            formats: Formats::ALL,
            ..Options::DEFAULT
        };
        let mut buffers = Buffers::default();
        assert!(decode(&file, &options, &mut buffers).is_err());
        assert_eq!(buffers.stage.capacity(), 0);
    }
}
