//! What went wrong, as the one who receives it sees it: a closed list of kinds, the one table from
//! kind to REST status and gRPC code, and who is to blame.
//!
//! Modules raise their own error types; only here are they classified.

use http::StatusCode;
use tonic::Code;

use crate::{admission, item, pixel, predictor, wire};

/// The kinds of failure a caller can meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A malformed request, a bad picture, a refused item, a limit on counts or pixels.
    Invalid,
    /// An unknown model or route.
    NotFound,
    /// A route that takes only the method named here.
    WrongMethod(&'static str),
    /// A body or picture above its byte limit.
    TooLarge,
    /// A content-encoding that is not understood.
    Encoding,
    /// The house is full, or bytes did not come free in time.
    Overloaded,
    /// The predictor answered nonsense or an error of its own.
    PredictorFault,
    /// The URL of an item could not be fetched.
    ItemUnreachable,
    /// The predictor cannot be reached or is not ready, or this service shuts down.
    Unavailable,
    /// The request's time is up.
    Deadline,
    /// Part of the protocol, but not of this service.
    NotBuiltIn,
    /// A defect of this service.
    Bug,
}

impl Kind {
    /// All kinds, for tests that read the table.
    pub const ALL: [Self; 12] = [
        Self::Invalid,
        Self::NotFound,
        Self::WrongMethod("GET"),
        Self::TooLarge,
        Self::Encoding,
        Self::Overloaded,
        Self::PredictorFault,
        Self::ItemUnreachable,
        Self::Unavailable,
        Self::Deadline,
        Self::NotBuiltIn,
        Self::Bug,
    ];

    /// The table: REST status and gRPC code of each kind.
    pub fn codes(self) -> (StatusCode, Code) {
        match self {
            Self::Invalid => (StatusCode::BAD_REQUEST, Code::InvalidArgument),
            Self::NotFound => (StatusCode::NOT_FOUND, Code::NotFound),
            Self::WrongMethod(_) => (StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted),
            Self::Encoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unimplemented),
            Self::Overloaded => (StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted),
            Self::PredictorFault => (StatusCode::BAD_GATEWAY, Code::Internal),
            Self::ItemUnreachable => (StatusCode::BAD_GATEWAY, Code::FailedPrecondition),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
            Self::Deadline => (StatusCode::GATEWAY_TIMEOUT, Code::DeadlineExceeded),
            Self::NotBuiltIn => (StatusCode::NOT_IMPLEMENTED, Code::Unimplemented),
            Self::Bug => (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal),
        }
    }

    /// Seconds after which a caller may try again, where trying again makes sense.
    pub fn retry_after(self) -> Option<u32> {
        matches!(self, Self::Overloaded | Self::Unavailable).then_some(1)
    }
}

/// Whose doing a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// The one who asked.
    Caller,
    /// The host of an item's URL.
    Item,
    /// The predictor.
    Predictor,
    /// This service.
    Us,
}

impl Hop {
    /// Its name in log lines and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Item => "item",
            Self::Predictor => "predictor",
            Self::Us => "us",
        }
    }
}

/// A failure, ready to be answered.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    /// What kind.
    pub kind: Kind,
    /// Whose doing.
    pub hop: Hop,
    /// What, where, and what to do.
    pub text: String,
    /// The picture of the request that it is about, from 0.
    pub picture: Option<usize>,
}

impl Error {
    /// A failure of this kind, blamed on the caller or on us as the kind implies.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        let hop = match kind {
            Kind::PredictorFault => Hop::Predictor,
            Kind::ItemUnreachable => Hop::Item,
            Kind::Overloaded | Kind::Unavailable | Kind::Deadline | Kind::Bug => Hop::Us,
            _ => Hop::Caller,
        };
        Self {
            kind,
            hop,
            text: text.into(),
            picture: None,
        }
    }

    /// The same, about a picture of the request.
    pub fn of_picture(mut self, index: usize) -> Self {
        self.picture = Some(index);
        self
    }

    /// The same, at a place in the request.
    pub fn at(mut self, place: &str) -> Self {
        self.text = format!("{place}: {}", self.text);
        self
    }
}

/// How an error of a module is to be answered.
trait Classify: std::error::Error {
    fn kind(&self) -> Kind;
    fn hop(&self) -> Hop;
}

impl<E: Classify> From<E> for Error {
    fn from(error: E) -> Self {
        Self {
            kind: error.kind(),
            hop: error.hop(),
            text: error.to_string(),
            picture: None,
        }
    }
}

impl Classify for wire::common_data::ParseError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
    fn hop(&self) -> Hop {
        Hop::Caller
    }
}

impl Classify for wire::v2::ParseError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
    fn hop(&self) -> Hop {
        Hop::Caller
    }
}

impl Classify for pixel::Error {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
    fn hop(&self) -> Hop {
        Hop::Caller
    }
}

impl Classify for item::Error {
    fn kind(&self) -> Kind {
        match self.cause() {
            item::Cause::Refused => Kind::Invalid,
            item::Cause::TooLarge => Kind::TooLarge,
            item::Cause::Unreachable => Kind::ItemUnreachable,
            item::Cause::Bug => Kind::Bug,
        }
    }
    fn hop(&self) -> Hop {
        match self.cause() {
            item::Cause::Refused | item::Cause::TooLarge => Hop::Caller,
            item::Cause::Unreachable => Hop::Item,
            item::Cause::Bug => Hop::Us,
        }
    }
}

impl Classify for admission::Refusal {
    fn kind(&self) -> Kind {
        Kind::Overloaded
    }
    fn hop(&self) -> Hop {
        Hop::Us
    }
}

impl Classify for predictor::Error {
    fn kind(&self) -> Kind {
        match self {
            predictor::Error::NotReady(_)
            | predictor::Error::Unreachable { .. }
            | predictor::Error::Unavailable { .. } => Kind::Unavailable,
            predictor::Error::Deadline => Kind::Deadline,
            predictor::Error::Answered { .. } | predictor::Error::Nonsense(_) => {
                Kind::PredictorFault
            }
            predictor::Error::Bug(_) => Kind::Bug,
        }
    }
    fn hop(&self) -> Hop {
        match self {
            predictor::Error::Bug(_) => Hop::Us,
            _ => Hop::Predictor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_kinds() {
        let table: Vec<_> = Kind::ALL
            .iter()
            .map(|kind| (kind.codes().0.as_u16(), kind.codes().1))
            .collect();
        assert_eq!(
            table,
            [
                (400, Code::InvalidArgument),
                (404, Code::NotFound),
                (405, Code::Unimplemented),
                (413, Code::ResourceExhausted),
                (415, Code::Unimplemented),
                (429, Code::ResourceExhausted),
                (502, Code::Internal),
                (502, Code::FailedPrecondition),
                (503, Code::Unavailable),
                (504, Code::DeadlineExceeded),
                (501, Code::Unimplemented),
                (500, Code::Internal),
            ]
        );
    }

    #[test]
    fn a_place_stands_in_front() {
        let error = Error::new(Kind::Invalid, "not a picture").at("data.item");
        assert_eq!(error.to_string(), "data.item: not a picture");
        assert_eq!(error.hop, Hop::Caller);
    }
}
