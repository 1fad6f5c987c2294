//! What can be wrong with a JPEG, in words for its sender.

use crate::pixel::error::Error;

pub(super) const FORMAT: &str = "JPEG";

/// The file ends before its image does.
pub(super) const TRUNCATED: Error = Error::Truncated { format: FORMAT };

/// A segment breaks the rules.
pub(super) fn damaged(what: &'static str) -> Error {
    Error::Damaged {
        format: FORMAT,
        what,
    }
}

/// The standard knows it, this decoder does not.
pub(super) fn unsupported(what: &'static str) -> Error {
    Error::Unsupported {
        format: FORMAT,
        what,
    }
}

/// What is wrong with the compressed pixels. libjpeg makes grey or shifted areas of all of these;
/// here they are refused, since a score for such pixels would be worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The bits are not a code of the table, or a code that cannot stand at this place.
    BadCode,
    /// The bits of a scan or of a restart interval end before its blocks do.
    MissingData,
    /// A coefficient is larger than any encoder's. Beyond 16 bits the decoders differ.
    OutOfRange,
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        damaged(match fault {
            Fault::BadCode => "its compressed pixels have an invalid code",
            Fault::MissingData => "some of its compressed pixels are missing",
            Fault::OutOfRange => "a coefficient is out of range",
        })
    }
}
