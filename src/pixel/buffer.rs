//! What all decoders share: the size of an image, the rows that are kept of it, the buffers it is
//! written into, and the conversions to RGB.

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
    /// Those that a resize to this width and height reads, and of them only the pixels that it reads: a
    /// decoder may leave the others as they are.
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
    columns: Vec<bool>,
}

impl KeptRows {
    /// The place of a row that is not kept.
    pub(super) const LEFT_OUT: u32 = u32::MAX;

    /// Keeps all rows of an image, which needs no list.
    pub(super) fn keep_all(&mut self) {
        self.places.clear();
        self.wanted.clear();
        self.columns.clear();
        self.kept = 0;
    }

    /// Keeps the rows of an image of this size that are looked at.
    pub(super) fn keep(&mut self, size: Size, rows: Rows) {
        self.wanted.clear();
        self.columns.clear();
        match rows {
            Rows::All => {
                self.wanted.resize(size.height, true);
                self.columns.resize(size.width, true);
            }
            Rows::OfResize(to) => {
                let from = [size.width, size.height];
                resize::lines_read(from, to, &mut self.columns, &mut self.wanted);
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

    /// For each column of the image whether it is read. Empty after [`KeptRows::keep_all`].
    pub(super) fn columns(&self) -> &[bool] {
        &self.columns
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

/// Repeats each grey byte to RGB. Four pixels at a time are three words, since single bytes would be stored
/// one by one.
pub(super) fn repeat_grey(grey: &[u8], rgb: &mut [u8]) {
    debug_assert_eq!(rgb.len(), grey.len() * 3);
    let (fours, rest) = grey.as_chunks::<4>();
    let (words, rest_of_words) = rgb.as_chunks_mut::<12>();
    for (words, four) in words.iter_mut().zip(fours) {
        let [a, b, c, d] = four.map(u32::from);
        put_words(
            words,
            [
                (a * 0x01_0101) | b << 24,
                (b * 0x0101) | (c * 0x0101_0000),
                c | (d * 0x0101_0100),
            ],
        );
    }
    let pixels = rest_of_words.as_chunks_mut::<3>().0;
    for (pixel, grey) in pixels.iter_mut().zip(rest) {
        *pixel = [*grey; 3];
    }
}

/// Drops the last byte of each pixel of four bytes: RGBA to RGB, by words as [`repeat_grey`].
pub(super) fn without_alpha(rgba: &[u8], rgb: &mut [u8]) {
    debug_assert_eq!(rgb.len() * 4, rgba.len() * 3);
    let (fours, rest) = rgba.as_chunks::<4>().0.as_chunks::<4>();
    let (words, rest_of_words) = rgb.as_chunks_mut::<12>();
    for (words, four) in words.iter_mut().zip(fours) {
        let [a, b, c, d] = four.map(|pixel| u32::from_le_bytes(pixel) & 0xFF_FFFF);
        put_words(words, [a | b << 24, b >> 8 | c << 16, c >> 16 | d << 8]);
    }
    let pixels = rest_of_words.as_chunks_mut::<3>().0;
    for (pixel, [red, green, blue, _]) in pixels.iter_mut().zip(rest) {
        *pixel = [*red, *green, *blue];
    }
}

fn put_words(bytes: &mut [u8; 12], words: [u32; 3]) {
    for (bytes, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
}

/// Pixels per step of the conversions in place, of which the bytes are read before any of them is
/// written over.
const STEP: usize = 64;

/// [`repeat_grey`] of the first `pixels` bytes, in place and so from the end.
pub(super) fn grey_to_rgb(buffer: &mut [u8], pixels: usize) {
    let mut end = pixels;
    while end > 0 {
        let start = end.saturating_sub(STEP);
        let mut grey = [0; STEP];
        let grey = &mut grey[..end - start];
        grey.copy_from_slice(&buffer[start..end]);
        repeat_grey(grey, &mut buffer[start * 3..end * 3]);
        end = start;
    }
}

/// [`without_alpha`] of the first `pixels` pixels, in place.
pub(super) fn drop_alpha(buffer: &mut [u8], pixels: usize) {
    for start in (0..pixels).step_by(STEP) {
        let end = pixels.min(start + STEP);
        let mut rgba = [0; STEP * 4];
        let rgba = &mut rgba[..(end - start) * 4];
        rgba.copy_from_slice(&buffer[start * 4..end * 4]);
        without_alpha(rgba, &mut buffer[start * 3..end * 3]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_in_place_are_those_of_single_pixels() {
        for pixels in [0, 1, 2, 3, 63, 64, 65, 200] {
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
