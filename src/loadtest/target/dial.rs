//! From an address to a stream of bytes, with TLS over it where wanted, and what the load test says
//! when one breaks.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::loadtest::error::Error;
use crate::loadtest::failure::{Failure, FailureKind};
use crate::loadtest::target::address::Address;
use crate::pem;

/// A connected stream, as hyper takes it.
pub(super) type Stream = TokioIo<Pin<Box<dyn ReadWrite>>>;

pub(super) trait ReadWrite: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> ReadWrite for T {}

/// Opens connections to one address.
pub(super) struct Dialer {
    address: Address,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Dialer {
    /// `application` is the protocol that TLS names to the target (ALPN).
    pub(super) fn new(
        address: Address,
        ca_file: Option<&Path>,
        application: &[u8],
    ) -> Result<Self, Error> {
        let tls = if address.tls {
            let host = address.host().to_owned();
            let name = ServerName::try_from(host)
                .map_err(|error| Error::Usage(format!("--url {}: {error}", address.authority)))?;
            Some((connector(ca_file, application)?, name))
        } else {
            None
        };
        Ok(Self { address, tls })
    }

    /// Connects.
    pub(super) async fn dial(&self) -> Result<Stream, Failure> {
        let failed = |error: io::Error| Failure::new(FailureKind::Connect, error.to_string());
        let address = (self.address.host(), self.address.port);
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let Some((connector, name)) = &self.tls else {
            return Ok(TokioIo::new(Box::pin(stream)));
        };
        let stream = connector.connect(name.clone(), stream).await;
        let stream = stream.map_err(|error| {
            let hint = if is_not_tls(&error) {
                "; the target does not speak TLS at this port"
            } else {
                ""
            };
            let text = format!("the TLS handshake failed: {error}{hint}");
            Failure::new(FailureKind::Connect, text)
        })?;
        Ok(TokioIo::new(Box::pin(stream)))
    }
}

/// Whether the first bytes of the other side were no TLS at all.
fn is_not_tls(error: &io::Error) -> bool {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidMessage(_)))
}

fn connector(ca_file: Option<&Path>, application: &[u8]) -> Result<TlsConnector, Error> {
    let roots = pem::system_authorities("--ca_file", ca_file).map_err(Error::Usage)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Usage(format!("cannot set up TLS: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![application.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A connection that ended before its response.
pub(super) fn broken(error: &hyper::Error) -> Failure {
    let cause = error.source().map(|cause| format!(": {cause}"));
    let hint = if error.is_parse() {
        " (something other than HTTP/1.1 is spoken at this port: TLS or gRPC?)"
    } else {
        ""
    };
    Failure::new(
        FailureKind::Broken,
        format!("{error}{}{hint}", cause.unwrap_or_default()),
    )
}
