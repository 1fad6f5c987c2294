//! Health and metrics.

use http::{Response, StatusCode};
use serde::Serialize;

use super::response;
use crate::error::Error;
use crate::observe::metrics::Metrics;
use crate::oip::InferenceService;
use crate::transport::listener::Body;

#[derive(Serialize)]
struct Live {
    live: bool,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// `/v2/health/live`: the process answers. KServe's client reads the body, Triton's the status.
///
/// # Errors
///
/// None but defects.
pub fn live() -> Result<Response<Body>, Error> {
    response::json(&Live { live: true })
}

/// `/v2/health/ready`: 503 with the reason while some model takes no requests.
///
/// # Errors
///
/// None but defects.
pub fn ready(served: &dyn InferenceService) -> Result<Response<Body>, Error> {
    let reason = served.not_ready();
    let status = match reason {
        None => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    response::json_with(
        status,
        &Ready {
            ready: reason.is_none(),
            reason,
        },
    )
}

/// `/metrics` in Prometheus' text format.
///
/// # Errors
///
/// None but defects.
pub fn metrics(metrics: &Metrics) -> Result<Response<Body>, Error> {
    let text = metrics.text().map_err(Error::internal)?;
    Ok(response::bytes(
        StatusCode::OK,
        "text/plain; version=0.0.4",
        text,
    ))
}
