//! JPEG: what the segments say, and which decoder makes pixels of it.
//!
//! The segments are walked here first, the same way for all decoders: size and scans are checked
//! before memory is taken, a file without its end is refused, bytes after the end are cut off, and
//! the colours are what libjpeg takes them for. The common files are then decoded by [`baseline`],
//! with libjpeg-turbo's bits. What that does not take goes to the backend, one of two, whose pixels
//! or refusal count.

#[cfg(feature = "turbojpeg")]
#[path = "turbo.rs"]
mod backend;
#[cfg(not(feature = "turbojpeg"))]
#[path = "zune.rs"]
mod backend;
mod baseline;
mod header;

use super::buffer::{Buffers, Decoded, Rows, Size, sized};
use super::error::Error;
use super::options::Options;
use super::orientation;
use baseline::Baseline;
use header::Header;

const FORMAT: &str = "JPEG";

/// The decoders, with what they keep from image to image.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    baseline: Baseline,
    backend: backend::Decoder,
}

impl Decoder {
    /// Decodes into `buffers.pixels`, of the common files the rows that will be looked at only.
    pub(super) fn decode(
        &mut self,
        image: &[u8],
        options: &Options,
        rows: Rows,
        buffers: &mut Buffers,
    ) -> Result<Decoded, Error> {
        let header = header::read(image)?;
        let size = Size::check(FORMAT, header.width.into(), header.height.into(), options)?;
        let image = &image[..header.end];
        let orientation = header.exif.map_or(1, orientation::orientation);
        // The rows of an image that is turned are not the rows that are read.
        let turned = options.turns(orientation);
        buffers
            .rows
            .keep(size, if turned { Rows::All } else { rows });
        let wanted = buffers.rows.wanted();
        let rgb = sized(&mut buffers.pixels, size.pixels() * 3);
        if header.colours.count() == 4 {
            let cmyk = sized(&mut buffers.stage, size.pixels() * 4);
            self.backend.decode(image, size, &header, cmyk)?;
            let pixels = rgb.as_chunks_mut::<3>().0.iter_mut();
            for (rgb, cmyk) in pixels.zip(cmyk.as_chunks::<4>().0) {
                *rgb = cmyk_to_rgb(*cmyk);
            }
        } else if self
            .baseline
            .decode(image, size, &header, wanted, rgb)
            .is_none()
        {
            self.backend.decode(image, size, &header, rgb)?;
        }
        buffers.rows.keep_all();
        Ok(Decoded { size, orientation })
    }
}

/// RGB of an inverted CMYK pixel, which is what all programs write; OpenCV takes all for inverted.
fn cmyk_to_rgb([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    let k = i32::from(black);
    [cyan, magenta, yellow].map(|colour| (k - (((255 - i32::from(colour)) * k) >> 8)) as u8)
}
