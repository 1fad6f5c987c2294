//! The target as a client sees it: an address, and lanes that carry one request at a time. What an
//! answer means is told elsewhere (`answer`); here it is bytes.

mod grpc;
mod http;

use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderMap;
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::loadtest::Error;
use crate::loadtest::failure::{Failure, Fault};
use crate::loadtest::workload::{Protocol, Request};
use crate::wire::triton::{MODEL_INFER, MODEL_STREAM_INFER};

/// Where to send, and as what.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `http://host:port` or `grpc://host:port`.
    pub url: String,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// The model's name at the target.
    pub model: String,
    /// The target's process on this machine, whose CPU is measured.
    pub pid: Option<u32>,
}

/// A complete answer.
#[derive(Debug)]
pub(super) struct Reply {
    /// The HTTP body, or the gRPC message without its five bytes.
    pub(super) body: Bytes,
    pub(super) headers: HeaderMap,
}

/// An endpoint that can be called.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    http: Arc<http::Route>,
    grpc: Option<grpc::Connections>,
    timeout: Duration,
}

impl Target {
    /// `connections` are shared by the lanes of a gRPC target; an HTTP/1.1 lane has its own.
    pub(super) fn new(
        endpoint: Endpoint,
        timeout: Duration,
        connections: usize,
    ) -> Result<Arc<Self>, Error> {
        let authority = authority(&endpoint.url)?;
        let path = match endpoint.protocol {
            Protocol::V1 | Protocol::Raw => format!("/v1/models/{}:predict", endpoint.model),
            Protocol::V2 => format!("/v2/models/{}/infer", endpoint.model),
            Protocol::GrpcStream => MODEL_STREAM_INFER.to_owned(),
            _ => MODEL_INFER.to_owned(),
        };
        let grpc = endpoint
            .protocol
            .is_grpc()
            .then(|| grpc::Connections::new(&authority, &path, connections))
            .transpose()?;
        let http = Arc::new(http::Route::new(&authority, &path, endpoint.protocol)?);
        Ok(Arc::new(Self {
            endpoint,
            http,
            grpc,
            timeout,
        }))
    }

    /// A lane, not yet connected. `number` spreads the lanes over shared connections.
    pub(super) fn lane(self: &Arc<Self>, number: usize) -> Lane {
        let kind = match (&self.grpc, self.endpoint.protocol) {
            (Some(connections), Protocol::GrpcStream) => {
                Kind::Stream(grpc::StreamLane::new(connections.share(number)))
            }
            (Some(connections), _) => Kind::Grpc(grpc::GrpcLane::new(connections.share(number))),
            (None, _) => Kind::Http(http::HttpLane::new(Arc::clone(&self.http))),
        };
        Lane {
            kind,
            timeout: self.timeout,
        }
    }

    /// The text of a page beside the protocol, such as `/metrics`.
    pub(super) async fn page(&self, path: &str) -> Option<Bytes> {
        let page = http::get(self.http.authority(), path);
        timeout(Duration::from_secs(1), page).await.ok()?.ok()
    }
}

/// Carries one request at a time.
#[derive(Debug)]
pub(super) struct Lane {
    kind: Kind,
    timeout: Duration,
}

#[derive(Debug)]
enum Kind {
    Http(http::HttpLane),
    Grpc(grpc::GrpcLane),
    Stream(grpc::StreamLane),
}

impl Lane {
    /// Opens the connection, so that the first request does not pay for it. A failure shows again,
    /// and is counted, when a request is sent.
    pub(super) async fn connect(&mut self) -> Result<(), Failure> {
        let connecting = async {
            match &mut self.kind {
                Kind::Http(lane) => lane.connect().await,
                Kind::Grpc(lane) => lane.connect().await,
                Kind::Stream(lane) => lane.connect().await,
            }
        };
        within(self.timeout, connecting).await
    }

    /// Sends a request and waits for its answer. A lane whose answer never came starts anew with
    /// its next request.
    pub(super) async fn send(&mut self, request: &Request) -> Result<Reply, Failure> {
        let sending = async {
            match &mut self.kind {
                Kind::Http(lane) => lane.send(request).await,
                Kind::Grpc(lane) => lane.send(request).await,
                Kind::Stream(lane) => lane.send(request).await,
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
            Fault::Timeout,
            format!("no answer within {} s", time.as_secs_f64()),
        ))
    })
}

/// Host and port of a URL.
fn authority(url: &str) -> Result<String, Error> {
    let bad = |why: &str| Error::Usage(format!("--url {url}: {why}"));
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("grpc://"))
        .ok_or_else(|| bad("write http://HOST:PORT or grpc://HOST:PORT (TLS is not spoken)"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !path.is_empty() {
        return Err(bad(
            "the base only, without a path; --protocol and --model make it",
        ));
    }
    if authority.is_empty() || authority.contains('@') {
        return Err(bad("the host is missing"));
    }
    let port = authority
        .rsplit_once(':')
        .filter(|(_, port)| port.parse::<u16>().is_ok());
    Ok(match port {
        Some(_) => authority.to_owned(),
        None => format!("{authority}:80"),
    })
}

async fn dial(authority: &str) -> Result<TokioIo<TcpStream>, Failure> {
    let failed = |error: std::io::Error| Failure::new(Fault::Connect, error.to_string());
    let stream = TcpStream::connect(authority).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(TokioIo::new(stream))
}

fn broken(error: &hyper::Error) -> Failure {
    use std::error::Error as _;
    let cause = error.source().map(|cause| format!(": {cause}"));
    Failure::new(
        Fault::Broken,
        format!("{error}{}", cause.unwrap_or_default()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_scheme_and_an_authority() {
        assert_eq!(
            authority("http://127.0.0.1:8080").unwrap(),
            "127.0.0.1:8080"
        );
        assert_eq!(authority("grpc://[::1]:8081/").unwrap(), "[::1]:8081");
        assert_eq!(authority("http://triton").unwrap(), "triton:80");
        for url in [
            "127.0.0.1:8080",
            "https://host",
            "http://",
            "http://host/v1/models",
        ] {
            assert!(authority(url).is_err(), "{url}");
        }
    }
}
