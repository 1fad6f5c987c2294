//! From an address to a stream of bytes: TCP or a Unix socket, with TLS over it where wanted.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::predictor::address::{Address, Endpoint};

/// A connected stream of any kind.
pub(in crate::predictor) struct Stream {
    io: Pin<Box<dyn ReadWrite>>,
    tls: bool,
}

trait ReadWrite: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> ReadWrite for T {}

impl Stream {
    /// Connects. `protocol` is what TLS names to the other side (ALPN).
    pub(in crate::predictor) async fn connect(
        address: &Address,
        tls: Option<&Tls>,
        protocol: &[u8],
    ) -> io::Result<Self> {
        let io: Pin<Box<dyn ReadWrite>> = match &address.endpoint {
            Endpoint::Unix(path) => Box::pin(UnixStream::connect(path).await?),
            Endpoint::Name(host, port) => tcp(TcpStream::connect((host.as_str(), *port))).await?,
            Endpoint::Socket(address) => tcp(TcpStream::connect(address)).await?,
        };
        match tls {
            Some(tls) => Ok(Self {
                io: tls.handshake(io, &address.host, protocol).await?,
                tls: true,
            }),
            None => Ok(Self { io, tls: false }),
        }
    }

    /// Whether it is encrypted.
    pub(in crate::predictor) fn is_tls(&self) -> bool {
        self.tls
    }
}

async fn tcp(
    connect: impl Future<Output = io::Result<TcpStream>>,
) -> io::Result<Pin<Box<dyn ReadWrite>>> {
    let stream = connect.await?;
    // A call's last bytes must not wait for the acknowledgement of its first.
    stream.set_nodelay(true)?;
    Ok(Box::pin(stream))
}

/// `--predictor_use_ssl`: whose certificates are trusted besides the system's roots.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// `--predictor_ca_file`, or what `REQUESTS_CA_BUNDLE` names: PEM certificates.
    pub ca_file: Option<PathBuf>,
}

/// TLS towards the predictor.
#[derive(Clone)]
pub(in crate::predictor) struct Tls {
    roots: Arc<RootCertStore>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Loads the roots.
    pub(in crate::predictor) fn load(settings: &TlsSettings) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        // A container may have no roots of its own, or some that cannot be read.
        let (added, _) =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(file) = &settings.ca_file {
            add_file(&mut roots, file)?;
        } else if added == 0 {
            return Err(
                "the system has no root certificates; name some with --predictor_ca_file"
                    .to_owned(),
            );
        }
        Ok(Self {
            roots: Arc::new(roots),
        })
    }

    async fn handshake(
        &self,
        io: Pin<Box<dyn ReadWrite>>,
        host: &str,
        protocol: &[u8],
    ) -> io::Result<Pin<Box<dyn ReadWrite>>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, io).await;
        let stream = stream
            .map_err(|error| io::Error::new(error.kind(), TlsHandshakeFailed { source: error }))?;
        Ok(Box::pin(stream))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("TLS handshake failed")]
struct TlsHandshakeFailed {
    source: io::Error,
}

fn add_file(roots: &mut RootCertStore, file: &Path) -> Result<(), String> {
    let invalid =
        |what: &dyn fmt::Display| format!("--predictor_ca_file {}: {what}", file.display());
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| invalid(&error))?;
    let mut is_empty = true;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| invalid(&error))?;
        roots.add(certificate).map_err(|error| invalid(&error))?;
        is_empty = false;
    }
    if is_empty {
        return Err(invalid(&"it holds no certificate"));
    }
    Ok(())
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_shutdown(cx)
    }
}
