//! HTTP statuses that are errors: the predictor's over REST, and over both protocols those of proxies,
//! login pages and other servers that stand where a predictor should.

use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

use crate::predictor::Error;
use crate::predictor::retry::{Cause, Failure};
use crate::wire::error_body;

/// The failure that a status stands for. `message` is what came with it.
pub(super) fn http_error(status: StatusCode, headers: &HeaderMap, message: &str) -> Failure {
    let error = |cause| Failure::error_response(cause, code(status), message);
    match status {
        StatusCode::UNAUTHORIZED => Failure::refused(Error::Unauthenticated, message),
        StatusCode::FORBIDDEN => Failure::refused(Error::PermissionDenied, message),
        StatusCode::TOO_MANY_REQUESTS => Failure::overloaded(message, retry_after(headers)),
        // A full queue, or a proxy without an upstream.
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY => Failure::unavailable(message),
        StatusCode::GATEWAY_TIMEOUT => Failure::new(Cause::TimedOut, Error::Deadline),
        StatusCode::NOT_FOUND => error(Cause::NotFound),
        status if status.is_client_error() => error(Cause::Refused),
        _ => error(Cause::Failed),
    }
}

/// A status as messages name it.
pub(super) fn code(status: StatusCode) -> String {
    format!("HTTP {}", status.as_u16())
}

/// What a response that is not the expected one says, in words: where a redirect leads, that it is
/// a page for people, or its own error.
pub(super) fn describe(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> String {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    if let Some(location) = location.filter(|_| status.is_redirection()) {
        // A query may hold a token.
        let location = location.split(['?', '#']).next().unwrap_or_default();
        return format!("a redirect to {location}, perhaps a login");
    }
    if is_html(headers, body) {
        return "a page of HTML, perhaps of a proxy or a login".to_owned();
    }
    error_body::parse(body)
}

/// Whether a response is a page for people.
pub(super) fn is_html(headers: &HeaderMap, body: &[u8]) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    content_type.is_some_and(|value| value.starts_with(b"text/html"))
        || body.trim_ascii_start().starts_with(b"<")
}

/// In seconds; a date is not read.
fn retry_after(headers: &HeaderMap) -> Option<u32> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn failure(status: u16, header: Option<(&'static str, &'static str)>, body: &str) -> Failure {
        let status = StatusCode::from_u16(status).unwrap();
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let message = describe(status, &headers, body.as_bytes());
        http_error(status, &headers, &message)
    }

    #[test]
    fn a_status_keeps_its_meaning() {
        for (status, cause, text) in [
            (401, Cause::Refused, "the predictor wants credentials: no"),
            (403, Cause::Refused, "the predictor denied permission: no"),
            (429, Cause::Refused, "the predictor is overloaded: no"),
            (400, Cause::Refused, "the predictor answered HTTP 400: no"),
            (404, Cause::NotFound, "the predictor answered HTTP 404: no"),
            (500, Cause::Failed, "the predictor answered HTTP 500: no"),
            (503, Cause::Unavailable, "the predictor is unavailable: no"),
        ] {
            let failure = failure(status, None, r#"{"error":"no"}"#);
            assert_eq!(failure.cause, cause, "{status}");
            assert_eq!(failure.error.to_string(), text);
        }
        let failure = failure(429, Some(("retry-after", "7")), "");
        let retry_after = match failure.error {
            Error::Overloaded { retry_after, .. } => retry_after,
            other => panic!("{other:?}"),
        };
        assert_eq!(retry_after, Some(7));
    }

    #[test]
    fn a_redirect_and_a_page_are_named() {
        let login = Some(("location", "https://dex/auth?state=secret"));
        assert_eq!(
            failure(302, login, "").error.to_string(),
            "the predictor answered HTTP 302: a redirect to https://dex/auth, perhaps a login"
        );
        assert_eq!(
            failure(500, None, "\n<html>secret").error.to_string(),
            "the predictor answered HTTP 500: a page of HTML, perhaps of a proxy or a login"
        );
    }
}
