//! A decoded image, borrowed from whoever holds its pixels.

/// 8-bit RGB pixels: rows of `width` × 3 bytes, `stride` bytes apart.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    rgb: &'a [u8],
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
        whole.then_some(Self {
            rgb,
            stride,
            width,
            height,
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
        &self.rgb[y * self.stride..][..self.width * 3]
    }

    /// The part of the image inside a rectangle, without a copy; `None` when nothing of the
    /// rectangle is inside.
    pub fn crop(&self, x: usize, y: usize, width: usize, height: usize) -> Option<Self> {
        let width = width.min(self.width.saturating_sub(x));
        let height = height.min(self.height.saturating_sub(y));
        if width == 0 || height == 0 {
            return None;
        }
        Some(Self {
            rgb: &self.rgb[y * self.stride + x * 3..],
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

    #[test]
    fn a_crop_is_clamped_to_the_image() {
        let rgb: Vec<u8> = (0..4 * 3 * 3).collect();
        let image = Image::new(&rgb, 4, 3).unwrap();
        let crop = image.crop(2, 1, 10, 10).unwrap();
        assert_eq!((crop.width(), crop.height()), (2, 2));
        assert_eq!(crop.row(0), &rgb[18..24]);
        assert_eq!(crop.row(1), &rgb[30..36]);
        assert!(image.crop(4, 0, 1, 1).is_none());
        assert!(Image::new(&rgb, 4, 4).is_none());
        assert!(Image::new(&[], 0, 0).is_none());
    }
}
