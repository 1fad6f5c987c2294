//! The target as a client sees it: an address, and connections that carry one request at a time.

mod address;
mod dial;
mod grpc;
mod http;
mod response;

use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderName;
use ::http::header::{CONNECTION, CONTENT_LENGTH, TE, TRANSFER_ENCODING};
use bytes::Bytes;
use tokio::time::timeout;

use self::address::Address;
pub(crate) use self::response::Response;
use crate::loadtest::error::Error;
use crate::loadtest::failure::{Failure, FailureKind};
use crate::loadtest::protocol::Protocol;
use crate::loadtest::settings::{Endpoint, Settings};
use crate::loadtest::workload::Request;
use crate::wire::triton::{MODEL_INFER, MODEL_STREAM_INFER};
use crate::wire::v2::JSON_LENGTH;

/// Time for a page beside the protocol; a target without one must not hold up a run.
const PAGE_TIMEOUT: Duration = Duration::from_secs(1);

/// Headers that belong to the message and its connection, not to the caller.
const OWN_HEADERS: [HeaderName; 5] = [
    CONNECTION,
    CONTENT_LENGTH,
    TE,
    TRANSFER_ENCODING,
    JSON_LENGTH,
];

/// An endpoint that can be called.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    http: Arc<http::Route>,
    grpc: Option<grpc::SharedConnections>,
    timeout: Duration,
}

impl Target {
    /// The requests of a gRPC target share `shared` connections; over HTTP/1.1 each has its own.
    pub(crate) fn new(
        endpoint: Endpoint,
        settings: &Settings,
        shared: usize,
    ) -> Result<Arc<Self>, Error> {
        let address = Address::parse(&endpoint.url, endpoint.protocol)?;
        if let Some(name) = OWN_HEADERS
            .iter()
            .find(|name| settings.headers.contains_key(*name))
        {
            return Err(Error::Usage(format!(
                "--header {name}: the load test sets this header itself"
            )));
        }
        let path = match endpoint.protocol {
            Protocol::V1 | Protocol::Raw => format!("/v1/models/{}:predict", endpoint.model),
            Protocol::V2 => format!("/v2/models/{}/infer", endpoint.model),
            Protocol::GrpcStream => MODEL_STREAM_INFER.to_owned(),
            Protocol::GrpcBytes | Protocol::GrpcTensor | Protocol::Triton => MODEL_INFER.to_owned(),
        };
        let grpc = endpoint
            .protocol
            .is_grpc()
            .then(|| grpc::SharedConnections::new(&address, &path, settings, shared))
            .transpose()?;
        let http = Arc::new(http::Route::new(&address, &path, &endpoint, settings)?);
        Ok(Arc::new(Self {
            endpoint,
            http,
            grpc,
            timeout: settings.timeout,
        }))
    }

    /// A connection, not yet open. `number` spreads them over the shared ones.
    pub(crate) fn connection(self: &Arc<Self>, number: usize) -> Connection {
        let kind = match (&self.grpc, self.endpoint.protocol) {
            (Some(shared), Protocol::GrpcStream) => {
                ConnectionKind::Stream(grpc::GrpcStream::new(shared.get(number)))
            }
            (Some(shared), _) => ConnectionKind::Grpc(grpc::GrpcCalls::new(shared.get(number))),
            (None, _) => ConnectionKind::Http(http::HttpConnection::new(Arc::clone(&self.http))),
        };
        Connection {
            kind,
            timeout: self.timeout,
        }
    }

    /// The text of a page beside the protocol, such as `/metrics`.
    pub(crate) async fn page(&self, path: &'static str) -> Option<Bytes> {
        timeout(PAGE_TIMEOUT, http::get(&self.http, path))
            .await
            .ok()?
            .ok()
    }
}

/// Carries one request at a time: a connection of its own, or its part of a shared one.
#[derive(Debug)]
pub(crate) struct Connection {
    kind: ConnectionKind,
    timeout: Duration,
}

#[derive(Debug)]
enum ConnectionKind {
    Http(http::HttpConnection),
    Grpc(grpc::GrpcCalls),
    Stream(grpc::GrpcStream),
}

impl Connection {
    /// Connects, so that the first request does not pay for it. A failure shows again, and is
    /// counted, when a request is sent.
    pub(crate) async fn open(&mut self) -> Result<(), Failure> {
        let opening = async {
            match &mut self.kind {
                ConnectionKind::Http(connection) => connection.open().await,
                ConnectionKind::Grpc(calls) => calls.open().await,
                ConnectionKind::Stream(stream) => stream.open().await,
            }
        };
        within(self.timeout, opening).await
    }

    /// Sends a request and waits for its response. If none comes, the next request begins with a
    /// new connection.
    pub(crate) async fn send(&mut self, request: &Request) -> Result<Response, Failure> {
        let sending = async {
            match &mut self.kind {
                ConnectionKind::Http(connection) => connection.send(request).await,
                ConnectionKind::Grpc(calls) => calls.send(request).await,
                ConnectionKind::Stream(stream) => stream.send(request).await,
            }
        };
        within(self.timeout, sending).await
    }
}

async fn within<T>(
    time: Duration,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(time, work).await.unwrap_or_else(|_| {
        Err(Failure::new(
            FailureKind::Timeout,
            format!("no response within {} s", time.as_secs_f64()),
        ))
    })
}
