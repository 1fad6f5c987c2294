//! The formats besides JPEG, one file each.

pub(super) mod bmp;
pub(super) mod png;
pub(super) mod webp;
