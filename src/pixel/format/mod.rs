//! The formats besides JPEG, one file each.

pub(super) mod bmp;
pub(super) mod gif;
pub(super) mod png;
pub(super) mod pnm;
pub(super) mod tiff;
pub(super) mod webp;
