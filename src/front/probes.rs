//! Health and metrics.

use http::{Response, StatusCode};
use serde::Serialize;

use super::response;
use crate::error::Error;
use crate::observe::metrics::Metrics;
use crate::oip::InferenceService;
use crate::transport::Body;

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

/// `/v2/health/live`: the process responds. KServe's client reads the body, Triton's the status.
pub(super) fn live() -> Result<Response<Body>, Error> {
    response::json(&Live { live: true })
}

/// `/v2/health/ready`: 503 with the reason while some model takes no requests.
pub(super) fn ready(service: &dyn InferenceService) -> Result<Response<Body>, Error> {
    let reason = service.not_ready();
    let status = if reason.is_none() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
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
pub(super) fn metrics(metrics: &Metrics) -> Result<Response<Body>, Error> {
    let text = metrics.text().map_err(Error::internal)?;
    Ok(response::bytes(
        StatusCode::OK,
        "text/plain; version=0.0.4",
        text,
    ))
}
