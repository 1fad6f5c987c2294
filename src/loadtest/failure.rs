//! What can go wrong with one request, as the load test counts it.

use std::fmt;

use serde::{Serialize, Serializer};
use tonic::Code;

use crate::wire::grpc::code_name;

/// The kinds of failure, one line of the report each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// An HTTP status other than 200.
    Http(u16),
    /// A gRPC status other than OK.
    Grpc(u16),
    /// An error message on a stream that goes on.
    StreamError,
    /// No connection.
    Connect,
    /// The connection ended before the response was complete.
    Broken,
    /// No response within `--timeout`.
    Timeout,
    /// It waited for a free connection until its time was up, and was never sent.
    NeverSent,
    /// The response was not what the protocol says.
    Malformed,
    /// The response reports an image that could not be scored.
    ImageError,
    /// The score is another than before, or than the expected one.
    WrongScore,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(status) => write!(f, "http {status}"),
            Self::Grpc(code) => {
                let name = code_name(Code::from_i32(i32::from(*code)));
                write!(f, "grpc {code} {name}")
            }
            Self::StreamError => f.write_str("stream error"),
            Self::Connect => f.write_str("no connection"),
            Self::Broken => f.write_str("connection broken"),
            Self::Timeout => f.write_str("timeout"),
            Self::NeverSent => f.write_str("timeout before sending"),
            Self::Malformed => f.write_str("malformed response"),
            Self::ImageError => f.write_str("image error"),
            Self::WrongScore => f.write_str("wrong score"),
        }
    }
}

impl Serialize for FailureKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Characters kept of a target's error text.
const TEXT_CHARS: usize = 160;

/// A failure with the target's own words, of which the report shows the first of each kind.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS) {
            text.truncate(end);
            text.push('…');
        }
        Self { kind, text }
    }
}
