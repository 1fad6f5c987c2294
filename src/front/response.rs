//! REST responses: JSON, and errors always as `{"error":"…"}`.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::{Either, Full};
use serde::Serialize;

use crate::error::{Error, Kind};
use crate::transport::Body;
use crate::wire::error_body;

/// A response whose body is there already.
pub(super) fn bytes(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(body.into())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A JSON response with a status. It fails only by a defect: a value that cannot be JSON.
pub(super) fn json_with(
    status: StatusCode,
    value: &impl Serialize,
) -> Result<Response<Body>, Error> {
    let body = serde_json::to_vec(value).map_err(Error::internal)?;
    Ok(bytes(status, "application/json", body))
}

/// A JSON response with status 200.
pub(super) fn json(value: &impl Serialize) -> Result<Response<Body>, Error> {
    json_with(StatusCode::OK, value)
}

/// The response of a route that takes GET, and HEAD with it.
pub(super) fn get(
    method: &Method,
    respond: impl FnOnce() -> Result<Response<Body>, Error>,
) -> Result<Response<Body>, Error> {
    // Its body is left out where the response is finished.
    if method != Method::HEAD {
        require_method(method, &Method::GET)?;
    }
    respond()
}

/// Refuses other methods than the route's one.
pub(super) fn require_method(method: &Method, allowed: &Method) -> Result<(), Error> {
    if method == allowed {
        return Ok(());
    }
    let allow = if allowed == Method::GET {
        "GET, HEAD"
    } else {
        "POST"
    };
    Err(wrong_method(method, allowed.as_str(), allow))
}

/// What is said of a method that a route does not take; `allow` is the header's list.
pub(super) fn wrong_method(method: &Method, takes: &str, allow: &'static str) -> Error {
    Error::new(
        Kind::WrongMethod(allow),
        format!("this route takes {takes}, not {method}"),
    )
}

/// The text for a head that HTTP itself does not take.
pub(super) fn head_text(status: StatusCode) -> &'static str {
    match status {
        StatusCode::URI_TOO_LONG => "the request's path is too long",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            "the request's path and headers are too large (--max_header_bytes)"
        }
        _ => {
            "the request is not valid HTTP/1.1; expected METHOD PATH HTTP/1.1, headers and an empty line"
        }
    }
}

/// The response to a failure that is HTTP's alone.
pub(super) fn failure(status: StatusCode, text: &str) -> Response<Body> {
    bytes(status, "application/json", error_body::to_json(text))
}

/// The response to a failure.
pub(super) fn error(error: &Error) -> Response<Body> {
    let body = error_body::to_json(&error.text);
    let mut response = bytes(error.kind.http_status(), "application/json", body);
    let headers = response.headers_mut();
    if let Kind::WrongMethod(allowed) = error.kind {
        headers.insert(ALLOW, HeaderValue::from_static(allowed));
    }
    if error.kind == Kind::UnsupportedEncoding {
        headers.insert("accept-encoding", HeaderValue::from_static("gzip, deflate"));
    }
    if let Some(seconds) = error.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
