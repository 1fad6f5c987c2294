//! A response as bytes; what it means is not known here.

use bytes::Bytes;
use http::HeaderMap;

/// A complete response.
#[derive(Debug)]
pub(crate) struct Response {
    /// The HTTP body, or the gRPC message out of its frame.
    pub(crate) body: Bytes,
    pub(crate) headers: HeaderMap,
}
