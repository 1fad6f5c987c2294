//! Health and metrics.

use http::{Response, StatusCode};
use serde::Serialize;

use super::http::Body;
use super::reply;
use super::served::Served;
use crate::error::{Error, Kind};
use crate::metrics::Metrics;

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
    reply::json(&Live { live: true })
}

/// `/v2/health/ready`: 503 with the reason while some model takes no requests.
///
/// # Errors
///
/// None but defects.
pub fn ready(served: &dyn Served) -> Result<Response<Body>, Error> {
    let reason = served.not_ready();
    let status = match reason {
        None => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    reply::json_with(
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
    let text = metrics
        .text()
        .map_err(|error| Error::new(Kind::Bug, error.to_string()))?;
    Ok(reply::bytes(
        StatusCode::OK,
        "text/plain; version=0.0.4",
        text,
    ))
}
