//! Cross-origin requests (`--cors_allow_origin`): which web pages may read responses. Without the flag
//! none may, and browsers' questions are requests like others.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::{Either, Full};

use crate::transport::Body;

/// Seconds for which a browser need not ask again.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The origins whose pages may read responses; `*` is all of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cors(pub Vec<HeaderValue>);

impl Cors {
    /// The response to a browser's question whether it may send a request.
    pub(super) fn preflight(&self, head: &Parts) -> Option<Response<Body>> {
        let method = head.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        if head.method != Method::OPTIONS || !self.allows(head.headers.get(ORIGIN)?) {
            return None;
        }
        let mut response = Response::new(Either::Left(Full::default()));
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, method.clone());
        if let Some(wanted) = head.headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        Some(response)
    }

    /// Adds to a response who may read it.
    pub(super) fn mark(&self, request: &HeaderMap, response: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        // Caches keep the responses to different origins apart.
        response.append(VARY, HeaderValue::from_static("origin"));
        let Some(origin) = request.get(ORIGIN).filter(|origin| self.allows(origin)) else {
            return;
        };
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let readable = "inference-header-content-length, retry-after, server-timing, x-request-id";
        response.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(readable),
        );
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        self.0.iter().any(|own| own == "*" || own == origin)
    }
}
