//! A request's failure, told to the log and to whoever counts the request.

use crate::error::Error;
use crate::observe::facts::Facts;
use crate::observe::observer::Observer;
use crate::observe::reason::{Origin, Reason};

/// Notes why a request fails, and writes it to the log: the service's and the predictor's failures as
/// warnings, what callers do wrong as information. Any caller could fill the log with either, so of each
/// reason one line is written in a second; the others are for debugging only, and the metrics count
/// them.
pub(super) fn note(error: &Error, facts: &Facts, observer: &Observer) {
    facts.set_reason(error.reason);
    let (status, reason) = (error.kind.http_status().as_u16(), error.reason.name());
    let (origin, text) = (error.origin().name(), error.text.as_str());
    let is_ours = error.kind.http_status().is_server_error() || is_overload(error.reason);
    match observer.sampler.admit(error.reason) {
        Some(left_out) if is_ours => {
            tracing::warn!(
                status,
                origin,
                reason,
                error = text,
                left_out,
                "request failed"
            );
        }
        Some(left_out) => {
            tracing::info!(
                status,
                origin,
                reason,
                error = text,
                left_out,
                "request refused"
            );
        }
        None if is_ours => {
            tracing::debug!(status, origin, reason, error = text, "request failed");
        }
        None => tracing::debug!(status, origin, reason, error = text, "request refused"),
    }
}

fn is_overload(reason: Reason) -> bool {
    reason.is_refusal() && reason.origin() == Origin::Internal
}
