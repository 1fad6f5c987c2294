//! Health and metrics.

use http::header::ACCEPT;
use http::{HeaderMap, Response, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use super::response;
use crate::error::Error;
use crate::observe::metrics::Metrics;
use crate::oip::InferenceService;
use crate::transport::Body;

/// The media type that stands in `Accept` of those who take OpenMetrics.
const OPENMETRICS: &str = "application/openmetrics-text";

/// The process responds.
#[derive(JsonSchema, Serialize)]
pub(super) struct Live {
    live: bool,
}

/// Whether all models take requests.
#[derive(JsonSchema, Serialize)]
pub(super) struct Ready {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Why some model takes none.
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

/// `/metrics`: OpenMetrics for those who ask for it, as Prometheus does when it wants exemplars; else
/// Prometheus' text format.
pub(super) fn metrics(metrics: &Metrics, headers: &HeaderMap) -> Result<Response<Body>, Error> {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let (content_type, text) = if accept.is_some_and(|accept| accept.contains(OPENMETRICS)) {
        let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        (content_type, metrics.openmetrics())
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", metrics.text())
    };
    let text = text.map_err(Error::internal)?;
    Ok(response::bytes(StatusCode::OK, content_type, text))
}
