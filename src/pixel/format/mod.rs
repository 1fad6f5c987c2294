//! The formats besides JPEG, one file each.

pub(super) mod bmp;
pub(super) mod gif;
pub(super) mod png;
pub(super) mod pnm;
pub(super) mod tiff;
pub(super) mod webp;

use image::ImageError;

use super::error::Error;

/// Why a decoder of the crate `image` gave up.
fn refusal(format: &'static str, error: ImageError) -> Error {
    match error {
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Error::Truncated { format }
        }
        ImageError::Unsupported(_) => Error::Unsupported {
            format,
            what: "a feature that few writers use",
        },
        ImageError::Limits(_) => Error::Damaged {
            format,
            what: "a frame is larger than the image",
        },
        _ => Error::Damaged {
            format,
            what: "a header or the pixels are not as they must be",
        },
    }
}
