//! What went wrong, as its receiver sees it: a closed list of kinds, the one table from kind to REST
//! status and gRPC code, and where the failure comes from.
//!
//! Modules raise their own error types; only here are they classified.

use http::StatusCode;
use tonic::Code;

use crate::observe::reason::{Origin, Reason};
use crate::quote::{quote, truncate};
use crate::wire::v1::response::Failed;
use crate::{admission, item, pixel, predictor, transport, wire, workers};

/// The kinds of failure a caller can meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A malformed request, a bad image, a refused item, a limit on counts or pixels.
    Invalid,
    /// An unknown model or route.
    NotFound,
    /// A route that takes only the method named here.
    WrongMethod(&'static str),
    /// A body or image above its byte limit.
    TooLarge,
    /// A body that did not arrive in time.
    SlowBody,
    /// An unknown content-encoding.
    UnsupportedEncoding,
    /// Too many images in flight, or no bytes came free in time.
    Overloaded,
    /// The predictor does not know the caller.
    Unauthenticated,
    /// The predictor does not let the caller.
    PermissionDenied,
    /// The predictor answered an error of its own, or an invalid response.
    BadGateway,
    /// The URL of an item could not be fetched.
    ItemUnreachable,
    /// The predictor cannot be reached or is not ready, or this service shuts down.
    Unavailable,
    /// The request's time is up.
    Deadline,
    /// Part of the protocol, but not of this service.
    Unimplemented,
    /// A defect of this service.
    Internal,
}

impl Kind {
    /// All kinds.
    pub(crate) const ALL: [Self; 15] = [
        Self::Invalid,
        Self::NotFound,
        Self::WrongMethod("GET"),
        Self::TooLarge,
        Self::SlowBody,
        Self::UnsupportedEncoding,
        Self::Overloaded,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::BadGateway,
        Self::ItemUnreachable,
        Self::Unavailable,
        Self::Deadline,
        Self::Unimplemented,
        Self::Internal,
    ];

    /// The table: REST status and gRPC code of each kind.
    fn codes(self) -> (StatusCode, Code) {
        match self {
            Self::Invalid => (StatusCode::BAD_REQUEST, Code::InvalidArgument),
            Self::NotFound => (StatusCode::NOT_FOUND, Code::NotFound),
            Self::WrongMethod(_) => (StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted),
            Self::SlowBody => (StatusCode::REQUEST_TIMEOUT, Code::DeadlineExceeded),
            Self::UnsupportedEncoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unimplemented),
            Self::Overloaded => (StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, Code::Unauthenticated),
            Self::PermissionDenied => (StatusCode::FORBIDDEN, Code::PermissionDenied),
            Self::BadGateway => (StatusCode::BAD_GATEWAY, Code::Internal),
            Self::ItemUnreachable => (StatusCode::BAD_GATEWAY, Code::FailedPrecondition),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
            Self::Deadline => (StatusCode::GATEWAY_TIMEOUT, Code::DeadlineExceeded),
            Self::Unimplemented => (StatusCode::NOT_IMPLEMENTED, Code::Unimplemented),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal),
        }
    }

    /// The status of a REST response.
    pub fn http_status(self) -> StatusCode {
        self.codes().0
    }

    /// The status code of a gRPC response.
    pub fn grpc_code(self) -> Code {
        self.codes().1
    }

    /// Seconds after which a caller may try again, where trying again makes sense.
    pub fn retry_after(self) -> Option<u32> {
        matches!(self, Self::Overloaded | Self::Unavailable).then_some(1)
    }

    /// Why requests fail with this kind, unless the error knows better.
    fn reason(self) -> Reason {
        match self {
            Self::Invalid => Reason::Invalid,
            Self::NotFound => Reason::NotFound,
            Self::WrongMethod(_) => Reason::WrongMethod,
            Self::TooLarge => Reason::TooLarge,
            Self::SlowBody => Reason::SlowBody,
            Self::UnsupportedEncoding => Reason::UnsupportedEncoding,
            Self::Overloaded => Reason::QueueFull,
            Self::Unauthenticated => Reason::Unauthenticated,
            Self::PermissionDenied => Reason::PermissionDenied,
            Self::BadGateway => Reason::PredictorError,
            Self::ItemUnreachable => Reason::ItemUnreachable,
            Self::Unavailable => Reason::PredictorUnavailable,
            Self::Deadline => Reason::Deadline,
            Self::Unimplemented => Reason::Unimplemented,
            Self::Internal => Reason::Internal,
        }
    }
}

/// A failure, ready to be sent as a response.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    /// What kind.
    pub kind: Kind,
    /// Why, for metrics and log.
    pub reason: Reason,
    /// What, where, and what to do.
    pub text: String,
    /// The image of the request that it is about, from 0.
    pub image: Option<usize>,
    /// Seconds after which the caller may try again, where trying again makes sense.
    pub retry_after: Option<u32>,
}

impl Error {
    /// A failure of this kind, for the kind's reason.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self {
            kind,
            reason: kind.reason(),
            text: truncate(text.into()),
            image: None,
            retry_after: kind.retry_after(),
        }
    }

    /// A defect of this service.
    pub fn internal(what: impl std::fmt::Display) -> Self {
        Self::new(Kind::Internal, format!("internal error: {what}"))
    }

    /// Where it comes from.
    pub fn origin(&self) -> Origin {
        self.reason.origin()
    }

    /// The same, for another reason than its kind's.
    pub fn with_reason(self, reason: Reason) -> Self {
        Self { reason, ..self }
    }

    /// The same, about an image of the request.
    pub fn with_image(mut self, index: usize) -> Self {
        self.image = Some(index);
        self
    }

    /// There is no model of this name.
    pub(crate) fn unknown_model<'a>(name: &str, available: impl Iterator<Item = &'a str>) -> Self {
        let available = available.collect::<Vec<_>>().join(", ");
        let text = format!("unknown model {}; available: {available}", quote(name));
        Self::new(Kind::NotFound, text)
    }

    /// The same, at a place in the request.
    pub fn with_location(mut self, place: &str) -> Self {
        self.text = truncate(format!("{place}: {}", self.text));
        self
    }
}

impl From<&Error> for Failed {
    /// As the error of one image among others that succeed.
    fn from(error: &Error) -> Self {
        Self {
            error: error.text.clone(),
            status: error.kind.http_status().as_u16(),
        }
    }
}

/// How an error of a module is sent as a response.
trait Classify: std::error::Error {
    fn kind(&self) -> Kind;

    fn reason(&self) -> Reason {
        self.kind().reason()
    }

    fn retry_after(&self) -> Option<u32> {
        self.kind().retry_after()
    }
}

impl<E: Classify> From<E> for Error {
    fn from(error: E) -> Self {
        Self {
            kind: error.kind(),
            reason: error.reason(),
            text: truncate(error.to_string()),
            image: None,
            retry_after: error.retry_after(),
        }
    }
}

impl Classify for wire::v1::request::ParseError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

impl Classify for wire::v2::ParseError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

impl Classify for pixel::Error {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

impl Classify for item::Error {
    fn kind(&self) -> Kind {
        match item::Error::kind(self) {
            item::ErrorKind::Refused => Kind::Invalid,
            item::ErrorKind::TooLarge => Kind::TooLarge,
            item::ErrorKind::Unreachable => Kind::ItemUnreachable,
            item::ErrorKind::Internal => Kind::Internal,
        }
    }
}

impl Classify for admission::Refusal {
    fn kind(&self) -> Kind {
        Kind::Overloaded
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Full { .. } => Reason::QueueFull,
            Self::NoBytes { .. } => Reason::NoBytes,
            Self::NoPixels { .. } => Reason::NoPixels,
            Self::TooLate { .. } | Self::Waited { .. } => Reason::QueueWait,
        }
    }

    fn retry_after(&self) -> Option<u32> {
        let seconds = admission::Refusal::retry_after(self).as_secs_f64().ceil();
        Some(seconds as u32)
    }
}

impl Classify for transport::BodyError {
    fn kind(&self) -> Kind {
        match self {
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::TooSlow { .. } | Self::IdleStream { .. } => Kind::SlowBody,
            Self::CutShort(_) | Self::Damaged { .. } => Kind::Invalid,
            Self::DeadlinePassed => Kind::Deadline,
            Self::UnsupportedEncoding => Kind::UnsupportedEncoding,
            Self::Refused(refusal) => refusal.kind(),
            Self::Panicked(panicked) => panicked.kind(),
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Refused(refusal) => refusal.reason(),
            _ => self.kind().reason(),
        }
    }

    fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Refused(refusal) => Classify::retry_after(refusal),
            _ => self.kind().retry_after(),
        }
    }
}

impl Classify for workers::Panicked {
    fn kind(&self) -> Kind {
        Kind::Internal
    }
}

impl Classify for predictor::Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NotReady(_) | Self::Unreachable(_) | Self::Unavailable(_) => Kind::Unavailable,
            Self::Unauthenticated(_) => Kind::Unauthenticated,
            Self::PermissionDenied(_) => Kind::PermissionDenied,
            Self::Overloaded { .. } => Kind::Overloaded,
            Self::NoPermit | Self::Deadline | Self::DeadlineAfterWait(_) => Kind::Deadline,
            Self::ErrorResponse { .. } | Self::InvalidResponse(_) => Kind::BadGateway,
            Self::Internal(_) => Kind::Internal,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Overloaded { .. } => Reason::PredictorOverloaded,
            Self::NoPermit => Reason::NoPermit,
            Self::Deadline | Self::DeadlineAfterWait(_) => Reason::PredictorDeadline,
            _ => self.kind().reason(),
        }
    }

    fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Overloaded {
                retry_after: Some(seconds),
                ..
            } => Some(*seconds),
            _ => self.kind().retry_after(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_codes() {
        for (kind, status, code) in [
            (Kind::Invalid, 400, Code::InvalidArgument),
            (Kind::NotFound, 404, Code::NotFound),
            (Kind::WrongMethod("GET"), 405, Code::Unimplemented),
            (Kind::TooLarge, 413, Code::ResourceExhausted),
            (Kind::SlowBody, 408, Code::DeadlineExceeded),
            (Kind::UnsupportedEncoding, 415, Code::Unimplemented),
            (Kind::Overloaded, 429, Code::ResourceExhausted),
            (Kind::Unauthenticated, 401, Code::Unauthenticated),
            (Kind::PermissionDenied, 403, Code::PermissionDenied),
            (Kind::BadGateway, 502, Code::Internal),
            (Kind::ItemUnreachable, 502, Code::FailedPrecondition),
            (Kind::Unavailable, 503, Code::Unavailable),
            (Kind::Deadline, 504, Code::DeadlineExceeded),
            (Kind::Unimplemented, 501, Code::Unimplemented),
            (Kind::Internal, 500, Code::Internal),
        ] {
            assert_eq!(kind.http_status().as_u16(), status, "{kind:?}");
            assert_eq!(kind.grpc_code(), code, "{kind:?}");
        }
    }

    #[test]
    fn texts_are_bounded_wherever_they_come_from() {
        let long = Error::new(Kind::Invalid, "x".repeat(1 << 20)).with_location("data.item");
        assert!(long.text.len() <= 1024);
        let error = predictor::Error::InvalidResponse("x".repeat(1 << 20));
        assert!(Error::from(error).text.len() <= 1024);
    }

    #[test]
    fn the_location_comes_first() {
        let error = Error::new(Kind::Invalid, "not an image").with_location("data.item");
        assert_eq!(error.to_string(), "data.item: not an image");
        assert_eq!(error.origin(), Origin::Caller);
    }
}
