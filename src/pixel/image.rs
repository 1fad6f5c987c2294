//! A decoded image, borrowed from the buffer that holds its pixels.

/// A rectangle of pixels, from the upper left corner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rect {
    /// Of the leftmost column.
    pub x: usize,
    /// Of the uppermost row.
    pub y: usize,
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
}

/// Where the rows of an image are in its buffer.
#[derive(Clone, Copy)]
enum Layout<'a> {
    /// All of them, one behind the other.
    Whole,
    /// For each row its place; only some rows are there.
    Places(&'a [u32]),
}

/// 8-bit RGB pixels: rows of `width` × 3 bytes, `stride` bytes apart.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    rgb: &'a [u8],
    layout: Layout<'a>,
    stride: usize,
    width: usize,
    height: usize,
}

impl<'a> Image<'a> {
    /// An image over rows without gaps; `None` unless `rgb` is `width` × `height` × 3 bytes and
    /// neither side is 0.
    pub fn new(rgb: &'a [u8], width: usize, height: usize) -> Option<Self> {
        let stride = width.checked_mul(3)?;
        let whole = stride.checked_mul(height)? == rgb.len() && !rgb.is_empty();
        whole.then(|| Self::of_whole_rows(rgb, width, height))
    }

    /// The same over rows that were counted before.
    pub(super) fn of_whole_rows(rgb: &'a [u8], width: usize, height: usize) -> Self {
        debug_assert_eq!(rgb.len(), width * height * 3);
        Self {
            rgb,
            layout: Layout::Whole,
            stride: width * 3,
            width,
            height,
        }
    }

    /// An image of which `rgb` has only some rows: `places` says of each row where it is. Of the
    /// others [`Image::row`] must not be asked, so that this stays inside the decoder and the resize.
    pub(super) fn of_some_rows(rgb: &'a [u8], width: usize, places: &'a [u32]) -> Option<Self> {
        let stride = width.checked_mul(3)?;
        let whole = stride != 0 && rgb.len().is_multiple_of(stride) && !places.is_empty();
        whole.then_some(Self {
            rgb,
            layout: Layout::Places(places),
            stride,
            width,
            height: places.len(),
        })
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The `width` × 3 bytes of row `y`, which must be below `height`.
    pub fn row(&self, y: usize) -> &'a [u8] {
        debug_assert!(y < self.height, "row {y} of {}", self.height);
        let place = match self.layout {
            Layout::Whole => y,
            Layout::Places(places) => places[y] as usize,
        };
        &self.rgb[place * self.stride..][..self.width * 3]
    }

    /// The part of the image inside a rectangle, without a copy; `None` when nothing of the
    /// rectangle is inside.
    pub fn crop(&self, rect: Rect) -> Option<Self> {
        let Rect { x, y, .. } = rect;
        let width = rect.width.min(self.width.saturating_sub(x));
        let height = rect.height.min(self.height.saturating_sub(y));
        if width == 0 || height == 0 {
            return None;
        }
        let (above, layout) = match self.layout {
            Layout::Whole => (y * self.stride, Layout::Whole),
            Layout::Places(places) => (0, Layout::Places(&places[y..y + height])),
        };
        Some(Self {
            rgb: &self.rgb[above + x * 3..],
            layout,
            stride: self.stride,
            width,
            height,
        })
    }
}

/// Sizes only: pixels do not belong in a log.
impl std::fmt::Debug for Image<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({}x{})", self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect([x, y, width, height]: [usize; 4]) -> Rect {
        Rect {
            x,
            y,
            width,
            height,
        }
    }

    #[test]
    fn a_crop_is_clamped_to_the_image() {
        let rgb: Vec<u8> = (0..4 * 3 * 3).collect();
        let image = Image::new(&rgb, 4, 3).unwrap();
        let crop = image.crop(rect([2, 1, 10, 10])).unwrap();
        assert_eq!((crop.width(), crop.height()), (2, 2));
        assert_eq!(crop.row(0), &rgb[18..24]);
        assert_eq!(crop.row(1), &rgb[30..36]);
        assert!(image.crop(rect([4, 0, 1, 1])).is_none());
        assert!(Image::new(&rgb, 4, 4).is_none());
        assert!(Image::new(&[], 0, 0).is_none());
    }

    #[test]
    fn rows_are_where_their_places_say() {
        let rgb: Vec<u8> = (0..2 * 2 * 3).collect();
        let image = Image::of_some_rows(&rgb, 2, &[1, u32::MAX, 0]).unwrap();
        assert_eq!(image.height(), 3);
        assert_eq!((image.row(0), image.row(2)), (&rgb[6..], &rgb[..6]));
        let crop = image.crop(rect([1, 2, 1, 1])).unwrap();
        assert_eq!(crop.row(0), &rgb[3..6]);
        assert!(Image::of_some_rows(&rgb, 5, &[0]).is_none());
        assert!(Image::of_some_rows(&rgb, 2, &[]).is_none());
    }
}
