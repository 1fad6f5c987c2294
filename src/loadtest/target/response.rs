//! A response as bytes; what it means is not known here.

use bytes::Bytes;
use http::{HeaderMap, HeaderName};

/// The header that says where the JSON of a V2 body ends.
pub(crate) const JSON_LENGTH: HeaderName =
    HeaderName::from_static("inference-header-content-length");

/// A complete response.
#[derive(Debug)]
pub(crate) struct Response {
    /// The HTTP body, or the gRPC message out of its frame.
    pub(crate) body: Bytes,
    pub(crate) headers: HeaderMap,
}
