//! Why an image was refused, in words for its sender.

/// Why an image was refused. Texts name the format and the fault, never content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The first bytes are of no format that is read here.
    #[error("unrecognised image format: expected JPEG, PNG, WebP or BMP")]
    NotAnImage,
    /// A format that nobody reads here.
    #[error("a {format} image: expected JPEG, PNG, WebP or BMP")]
    NotRead {
        /// The format's name.
        format: &'static str,
    },
    /// A format that is not among `--formats`.
    #[error("a {format} image: the format is not among --formats")]
    NotAllowed {
        /// The format's name.
        format: &'static str,
    },
    /// More pixels than `--max_pixels`, by the header.
    #[error("the {format} image has {width} x {height} pixels, more than --max_pixels {limit}")]
    TooManyPixels {
        /// The format's name.
        format: &'static str,
        /// Width in pixels.
        width: u64,
        /// Height in pixels.
        height: u64,
        /// `--max_pixels`.
        limit: u64,
    },
    /// A JPEG made to be slow: every scan is a pass over all pixels.
    #[error("the JPEG image has more than {limit} scans")]
    TooManyScans {
        /// Scans that are still read.
        limit: usize,
    },
    /// The file ends before its image does.
    #[error("the {format} image is truncated")]
    Truncated {
        /// The format's name.
        format: &'static str,
    },
    /// The bytes break the format's rules.
    #[error("the {format} image is damaged: {what}")]
    Damaged {
        /// The format's name.
        format: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// The format knows it, we do not.
    #[error("the {format} image uses {what}, which is not supported")]
    Unsupported {
        /// The format's name.
        format: &'static str,
        /// The feature.
        what: &'static str,
    },
}
