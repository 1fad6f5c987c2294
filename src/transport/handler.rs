//! What a port serves: requests in, responses out.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Either, Full};

use super::request_body::RequestBody;

/// The body of a response: there already, or gRPC's.
pub(crate) type Body = Either<Full<Bytes>, tonic::body::Body>;

/// Makes the responses to the requests of a port.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Whether HTTP/1 is spoken at all. Clients that ask a port what it speaks take a response in
    /// HTTP/1 for a REST server's.
    const HTTP1: bool = true;

    /// The response to one request. Failures are responses too.
    fn handle(
        self: Arc<Self>,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<Body>> + Send;

    /// The body (JSON) of the response to a head that was not taken, so that there is no request: not
    /// HTTP (400), its path too long (414), all of it too large (431). Called once per response.
    fn refuse(&self, status: StatusCode) -> Bytes;
}
