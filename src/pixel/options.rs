//! How images are decoded.

use super::formats::Formats;

/// What to do with an image's EXIF orientation (`--exif_orientation`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ExifOrientation {
    /// Use the pixels as they are stored, as the predecessor did
    #[default]
    Ignore,
    /// Turn the image upright
    Apply,
}

/// How images are decoded.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Images with more pixels are refused from their header (`--max_pixels`).
    pub max_pixels: u64,
    /// `--exif_orientation`.
    pub exif_orientation: ExifOrientation,
    /// `--formats`.
    pub formats: Formats,
}

impl Options {
    /// As the flags are unless given.
    pub const DEFAULT: Self = Self {
        max_pixels: 40_000_000,
        exif_orientation: ExifOrientation::Ignore,
        formats: Formats::DEFAULT,
    };

    /// Whether an image of this EXIF orientation is turned.
    pub(super) fn turns(&self, orientation: u8) -> bool {
        self.exif_orientation == ExifOrientation::Apply && orientation > 1
    }
}
