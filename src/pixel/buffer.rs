//! What all decoders share: the size of an image, the rows that are kept of it, the buffers it is
//! written into, and the two conversions to RGB.

use super::error::Error;
use super::options::Options;
use super::resize;

/// Bytes of each buffer that are kept between images.
const KEPT_BYTES: usize = 16 << 20;

/// What decoding writes into.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// The kept rows of the decoded image, RGB; only the first bytes belong to the current one.
    pub(super) pixels: Vec<u8>,
    /// What is not upright yet.
    pub(super) stage: Vec<u8>,
    /// Which rows of the current image are in `pixels`.
    pub(super) rows: KeptRows,
}

impl Buffers {
    /// Gives back what a large image took.
    pub(super) fn shrink(&mut self) {
        for buffer in [&mut self.pixels, &mut self.stage] {
            if buffer.capacity() > KEPT_BYTES {
                *buffer = Vec::new();
            }
        }
    }
}

/// The first `len` bytes of a buffer, which grows when it must and is not cleared: the decoder
/// writes all of it.
pub(super) fn sized(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buffer.len() < len {
        if buffer.capacity() < len {
            // What would be copied is not wanted, and new memory is clear already.
            *buffer = vec![0; len];
        } else {
            buffer.resize(len, 0);
        }
    }
    &mut buffer[..len]
}

/// Size of an image in pixels, within the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Size {
    /// The most bytes per pixel that a decoder asks for at once: 16-bit RGBA.
    const MAX_PIXEL_BYTES: usize = 8;

    /// Checks what a header says against `--max_pixels`, before memory is taken.
    pub(super) fn check(
        format: &'static str,
        width: u64,
        height: u64,
        options: &Options,
    ) -> Result<Self, Error> {
        if width == 0 || height == 0 {
            let what = "it has no pixels";
            return Err(Error::Damaged { format, what });
        }
        let allowed = width
            .checked_mul(height)
            .is_some_and(|pixels| pixels <= options.max_pixels);
        let fits = |side: u64| usize::try_from(side).ok().filter(|_| allowed);
        match (fits(width), fits(height)) {
            (Some(width), Some(height))
                if width
                    .checked_mul(height)
                    .and_then(|pixels| pixels.checked_mul(Self::MAX_PIXEL_BYTES))
                    .is_some() =>
            {
                Ok(Self { width, height })
            }
            _ => Err(Error::TooManyPixels {
                format,
                width,
                height,
                limit: options.max_pixels,
            }),
        }
    }

    /// Number of pixels.
    pub(super) fn pixels(self) -> usize {
        self.width * self.height
    }
}

/// Which rows of a decoded image are looked at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rows {
    All,
    /// Those that a resize to this width and height reads.
    OfResize([usize; 2]),
}

/// Which rows of an image are kept, one behind the other, and where. A resize to 112 rows reads at
/// most 224, however high the image is, so that a decoder that can leave the others out needs no
/// memory for them.
#[derive(Debug, Default)]
pub(super) struct KeptRows {
    /// For each row of the image its place among the kept ones, or [`KeptRows::LEFT_OUT`].
    places: Vec<u32>,
    kept: usize,
    wanted: Vec<bool>,
}

impl KeptRows {
    /// The place of a row that is not kept.
    pub(super) const LEFT_OUT: u32 = u32::MAX;

    /// Keeps all rows of an image, which needs no list.
    pub(super) fn keep_all(&mut self) {
        self.places.clear();
        self.kept = 0;
    }

    /// Keeps the rows of an image of this size that are looked at. Returns whether any are left out.
    pub(super) fn keep(&mut self, size: Size, rows: Rows) {
        self.wanted.clear();
        match rows {
            Rows::All => self.wanted.resize(size.height, true),
            Rows::OfResize(to) => {
                resize::rows_read(size.width, size.height, to, &mut self.wanted);
            }
        }
        self.places.clear();
        self.kept = 0;
        for wanted in &self.wanted {
            self.places.push(if *wanted {
                self.kept as u32
            } else {
                Self::LEFT_OUT
            });
            self.kept += usize::from(*wanted);
        }
    }

    /// How many rows are kept; 0 means all.
    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    /// For each row of the image whether it is kept. Empty after [`KeptRows::keep_all`].
    pub(super) fn wanted(&self) -> &[bool] {
        &self.wanted
    }

    /// For each row of the image its place among the kept ones; empty if all are kept.
    pub(super) fn places(&self) -> &[u32] {
        if self.kept == self.places.len() {
            &[]
        } else {
            &self.places
        }
    }
}

/// An image within its decoder: its size, and how it is to be turned (EXIF 1–8).
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoded {
    pub(super) size: Size,
    pub(super) orientation: u8,
}

/// Repeats each of the first `pixels` grey bytes to RGB, in place.
pub(super) fn grey_to_rgb(buffer: &mut [u8], pixels: usize) {
    debug_assert!(buffer.len() >= pixels * 3);
    // From the end, in steps whose bytes are read before any of them is written over.
    const STEP: usize = 64;
    let mut end = pixels;
    while let Some(start) = end.checked_sub(STEP) {
        let mut grey = [0; STEP];
        grey.copy_from_slice(&buffer[start..end]);
        let rgb = buffer[start * 3..end * 3].as_chunks_mut::<3>().0;
        for (rgb, grey) in rgb.iter_mut().zip(grey) {
            *rgb = [grey; 3];
        }
        end = start;
    }
    for at in (0..end).rev() {
        let grey = buffer[at];
        buffer[at * 3..][..3].fill(grey);
    }
}

/// Keeps the higher byte of each of the first `samples` numbers of 16 bits (in the machine's order),
/// in place.
pub(super) fn high_bytes(buffer: &mut [u8], samples: usize) {
    debug_assert!(buffer.len() >= samples * 2);
    let high = usize::from(cfg!(target_endian = "little"));
    for at in 0..samples {
        buffer[at] = buffer[at * 2 + high];
    }
}

/// Drops the last byte of each of the first `pixels` pixels of four bytes, in place: RGBA to RGB.
pub(super) fn drop_alpha(buffer: &mut [u8], pixels: usize) {
    debug_assert!(buffer.len() >= pixels * 4);
    // From the start, in steps whose bytes are read before any of them is written over.
    const STEP: usize = 64;
    let mut start = 0;
    while start + STEP <= pixels {
        let mut rgba = [0; STEP * 4];
        rgba.copy_from_slice(&buffer[start * 4..][..STEP * 4]);
        let rgb = buffer[start * 3..][..STEP * 3].as_chunks_mut::<3>().0;
        for (rgb, [red, green, blue, _]) in rgb.iter_mut().zip(rgba.as_chunks::<4>().0) {
            *rgb = [*red, *green, *blue];
        }
        start += STEP;
    }
    for at in start..pixels {
        buffer.copy_within(at * 4..at * 4 + 3, at * 3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_in_place_are_those_of_single_pixels() {
        for pixels in [0, 1, 63, 64, 65, 200] {
            let bytes: Vec<u8> = (0..pixels * 4).map(|i| (i * 7 % 251) as u8).collect();
            let mut grey = bytes.clone();
            grey_to_rgb(&mut grey, pixels);
            let expected = bytes[..pixels].iter().flat_map(|grey| [*grey; 3]);
            assert!(grey[..pixels * 3].iter().copied().eq(expected), "{pixels}");
            let mut alpha = bytes.clone();
            drop_alpha(&mut alpha, pixels);
            let expected = bytes
                .as_chunks::<4>()
                .0
                .iter()
                .flat_map(|p| [p[0], p[1], p[2]]);
            assert!(alpha[..pixels * 3].iter().copied().eq(expected), "{pixels}");
        }
    }

    #[test]
    fn the_rows_of_a_resize_have_their_places() {
        let mut rows = KeptRows::default();
        let size = Size {
            width: 9,
            height: 1000,
        };
        rows.keep(size, Rows::OfResize([112, 112]));
        assert!(rows.kept() <= 224);
        let kept: Vec<u32> = rows
            .places()
            .iter()
            .copied()
            .filter(|p| *p != KeptRows::LEFT_OUT)
            .collect();
        assert!(kept.iter().copied().eq(0..rows.kept() as u32));
        rows.keep(size, Rows::All);
        assert_eq!((rows.kept(), rows.places().len()), (1000, 0));
    }
}
