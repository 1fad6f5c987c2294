//! REST answers: JSON, and errors always as `{"error":"…"}`.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::{Either, Full};
use serde::Serialize;

use crate::error::{Error, Kind};
use crate::transport::listener::Body;
use crate::wire::error_body;

/// An answer with a body that is there already.
pub fn bytes(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut answer = Response::new(Either::Left(Full::new(body.into())));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// A JSON answer with a status.
///
/// # Errors
///
/// When the value cannot be JSON: a defect.
pub fn json_with(status: StatusCode, value: &impl Serialize) -> Result<Response<Body>, Error> {
    let body = serde_json::to_vec(value).map_err(Error::internal)?;
    Ok(bytes(status, "application/json", body))
}

/// A JSON answer with status 200.
///
/// # Errors
///
/// When the value cannot be JSON: a defect.
pub fn json(value: &impl Serialize) -> Result<Response<Body>, Error> {
    json_with(StatusCode::OK, value)
}

/// The answer of a route that takes GET only.
///
/// # Errors
///
/// The route's own, and that of another method.
pub fn get(
    method: &Method,
    answer: impl FnOnce() -> Result<Response<Body>, Error>,
) -> Result<Response<Body>, Error> {
    only(method, &Method::GET)?;
    answer()
}

/// Refuses other methods than the route's one.
///
/// # Errors
///
/// Another method.
pub fn only(method: &Method, allowed: &Method) -> Result<(), Error> {
    if method == allowed {
        return Ok(());
    }
    let text = format!("this route takes {allowed}, not {method}");
    Err(Error::new(
        Kind::WrongMethod(if allowed == Method::GET {
            "GET"
        } else {
            "POST"
        }),
        text,
    ))
}

/// The answer to a failure.
pub fn error(error: &Error) -> Response<Body> {
    let body = error_body::to_json(&error.text);
    let mut answer = bytes(error.kind.http_status(), "application/json", body);
    let headers = answer.headers_mut();
    if let Kind::WrongMethod(allowed) = error.kind {
        headers.insert(ALLOW, HeaderValue::from_static(allowed));
    }
    if error.kind == Kind::UnsupportedEncoding {
        headers.insert("accept-encoding", HeaderValue::from_static("gzip, deflate"));
    }
    if let Some(seconds) = error.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

/// Writes a failure to the log: ours and the predictor's as warnings, the caller's for those who
/// look.
pub fn log(error: &Error) {
    let status = error.kind.http_status();
    let origin = error.origin.name();
    if status.is_server_error() {
        tracing::warn!(
            status = status.as_u16(),
            origin,
            error = error.text,
            "request failed"
        );
    } else {
        tracing::info!(
            status = status.as_u16(),
            origin,
            error = error.text,
            "request refused"
        );
    }
}
