//! Why a request was answered with an error, and whose doing it was: the words of the metrics and of
//! the log. A closed list; what the callers are told is in `error.rs`.

/// Where a failure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The caller.
    Caller,
    /// The host of an item's URL.
    Item,
    /// The predictor.
    Predictor,
    /// This service.
    Internal,
}

impl Origin {
    /// Its name in log lines and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Item => "item",
            Self::Predictor => "predictor",
            Self::Internal => "internal",
        }
    }
}

/// Why a request was answered with an error: finer than the status that its caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A malformed request, a bad image, a refused item, a limit on counts or pixels.
    Invalid,
    /// An unknown model or route.
    NotFound,
    /// A route that does not take the method.
    WrongMethod,
    /// A body or image above its byte limit.
    TooLarge,
    /// A body that did not arrive in time.
    SlowBody,
    /// An unknown content-encoding.
    UnsupportedEncoding,
    /// Part of the protocol, but not of this service.
    Unimplemented,
    /// What the operator has not allowed.
    Forbidden,
    /// The URL of an item could not be fetched.
    ItemUnreachable,
    /// The predictor does not know the caller.
    Unauthenticated,
    /// The predictor does not let the caller.
    PermissionDenied,
    /// The predictor limits the rate of calls.
    PredictorOverloaded,
    /// The predictor responded with an error, or with an invalid response.
    PredictorError,
    /// The predictor cannot be reached or is not ready.
    PredictorUnavailable,
    /// The predictor did not answer in time.
    PredictorDeadline,
    /// Too many images in flight (`--queue`).
    QueueFull,
    /// The request could not begin in time (`--queue_timeout_ms`).
    QueueWait,
    /// No bytes came free in time (`--max_bytes_in_flight`).
    NoBytes,
    /// Too many pixels in flight (`--max_pixels_in_flight`).
    NoPixels,
    /// No call to the predictor came free in time (`--concurrency`).
    NoPermit,
    /// The request's time was up before the predictor was called.
    Deadline,
    /// A defect of this service.
    Internal,
}

impl Reason {
    /// All of them, in the order of their declaration.
    pub(crate) const ALL: [Self; 22] = [
        Self::Invalid,
        Self::NotFound,
        Self::WrongMethod,
        Self::TooLarge,
        Self::SlowBody,
        Self::UnsupportedEncoding,
        Self::Unimplemented,
        Self::Forbidden,
        Self::ItemUnreachable,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::PredictorOverloaded,
        Self::PredictorError,
        Self::PredictorUnavailable,
        Self::PredictorDeadline,
        Self::QueueFull,
        Self::QueueWait,
        Self::NoBytes,
        Self::NoPixels,
        Self::NoPermit,
        Self::Deadline,
        Self::Internal,
    ];

    /// Its name in log lines and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::WrongMethod => "wrong_method",
            Self::TooLarge => "too_large",
            Self::SlowBody => "slow_body",
            Self::UnsupportedEncoding => "unsupported_encoding",
            Self::Unimplemented => "unimplemented",
            Self::Forbidden => "forbidden",
            Self::ItemUnreachable => "item_unreachable",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::PredictorOverloaded => "predictor_overloaded",
            Self::PredictorError => "predictor_error",
            Self::PredictorUnavailable => "predictor_unavailable",
            Self::PredictorDeadline => "predictor_deadline",
            Self::QueueFull => "queue_full",
            Self::QueueWait => "queue_wait",
            Self::NoBytes => "no_bytes",
            Self::NoPixels => "no_pixels",
            Self::NoPermit => "no_permit",
            Self::Deadline => "deadline",
            Self::Internal => "internal",
        }
    }

    /// Whose doing it was.
    pub fn origin(self) -> Origin {
        match self {
            Self::Invalid
            | Self::NotFound
            | Self::WrongMethod
            | Self::TooLarge
            | Self::SlowBody
            | Self::UnsupportedEncoding
            | Self::Unimplemented
            | Self::Forbidden => Origin::Caller,
            Self::ItemUnreachable => Origin::Item,
            Self::Unauthenticated
            | Self::PermissionDenied
            | Self::PredictorOverloaded
            | Self::PredictorError
            | Self::PredictorUnavailable
            | Self::PredictorDeadline => Origin::Predictor,
            Self::QueueFull
            | Self::QueueWait
            | Self::NoBytes
            | Self::NoPixels
            | Self::NoPermit
            | Self::Deadline
            | Self::Internal => Origin::Internal,
        }
    }

    /// Whether the request was turned away, for the caller's own doing or for want of room; the
    /// others failed.
    pub(crate) fn is_refusal(self) -> bool {
        self.origin() == Origin::Caller
            || matches!(
                self,
                Self::QueueFull | Self::QueueWait | Self::NoBytes | Self::NoPixels
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_stands_at_its_place_in_the_list_under_a_name_of_its_own() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
            let same = Reason::ALL
                .iter()
                .filter(|other| other.name() == reason.name());
            assert_eq!(same.count(), 1, "{}", reason.name());
        }
        assert_eq!(Reason::ALL.len(), Reason::Internal as usize + 1);
    }
}
