//! A file that is compiled in and served as it is: pages, their scripts, the OpenAPI document.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::response;
use crate::error::Error;
use crate::transport::Body;

/// What a page may load and send: its own scripts, styles and images, and requests to this service. No
/// text is ever taken for HTML.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'",
);

/// A file, and its hash by which a browser that has it gets it only once.
pub(super) struct EmbeddedFile {
    content_type: &'static str,
    body: Bytes,
    etag: HeaderValue,
}

impl EmbeddedFile {
    /// A file of this content.
    pub(super) fn new(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let hash = base64_simd::URL_SAFE_NO_PAD.encode_to_string(Sha256::digest(&body));
        // An encoded hash always is a header's value.
        let etag = HeaderValue::try_from(format!("\"{hash}\""));
        Self {
            content_type,
            body,
            etag: etag.unwrap_or(HeaderValue::from_static("\"\"")),
        }
    }

    /// The response to GET or HEAD.
    pub(super) fn respond(&self, head: &Parts) -> Result<Response<Body>, Error> {
        response::get(&head.method, || Ok(self.response(head)))
    }

    fn response(&self, head: &Parts) -> Response<Body> {
        let known = head.headers.get(IF_NONE_MATCH);
        let known = known
            .and_then(|known| known.to_str().ok())
            .is_some_and(|known| {
                let mut tags = known
                    .split(',')
                    .map(|tag| tag.trim().trim_start_matches("W/"));
                tags.any(|tag| tag == "*" || tag.as_bytes() == self.etag.as_bytes())
            });
        let (status, body) = if known {
            (StatusCode::NOT_MODIFIED, Bytes::new())
        } else {
            (StatusCode::OK, self.body.clone())
        };
        let mut response = response::bytes(status, self.content_type, body);
        let headers = response.headers_mut();
        headers.insert(ETAG, self.etag.clone());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(CONTENT_SECURITY_POLICY, POLICY);
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }
}

/// To a page's one address, from which its files are counted: also below a proxy's prefix.
pub(super) fn without_slash(page: &'static str) -> Response<Body> {
    let mut response = response::bytes(StatusCode::PERMANENT_REDIRECT, "text/plain", "");
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_static(page));
    response
}

#[cfg(test)]
mod tests {
    use http::{Method, Request};
    use http_body_util::BodyExt;

    use super::*;

    async fn get(file: &EmbeddedFile, known: Option<&str>) -> (StatusCode, usize) {
        let mut request = Request::get("/page");
        if let Some(known) = known {
            request = request.header(IF_NONE_MATCH, known);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let response = file.respond(&head).unwrap();
        assert_eq!(response.headers()[ETAG], file.etag);
        let policy = response.headers()[CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, body.len())
    }

    #[tokio::test]
    async fn a_browser_that_has_the_file_gets_it_once() {
        let file = EmbeddedFile::new("text/css", "p {}");
        let etag = file.etag.to_str().unwrap();
        assert_eq!(get(&file, None).await, (StatusCode::OK, 4));
        assert_eq!(get(&file, Some("\"other\"")).await, (StatusCode::OK, 4));
        for known in [etag, &format!("\"a\", W/{etag}"), "*"] {
            assert_eq!(get(&file, Some(known)).await, (StatusCode::NOT_MODIFIED, 0));
        }
    }

    #[test]
    fn only_reading_is_allowed() {
        let request = Request::builder().method(Method::POST).body(()).unwrap();
        let file = EmbeddedFile::new("text/css", "p {}");
        assert!(file.respond(&request.into_parts().0).is_err());
    }
}
