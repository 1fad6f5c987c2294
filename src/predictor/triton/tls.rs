//! TLS towards the predictor. The configuration is made once, so that sessions are resumed, and anew
//! when its files change.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::pem;
use crate::reload::Reloaded;

/// `--predictor_use_ssl`: whose certificates are trusted, and how this service shows its own.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// `--predictor_ca_file`, or what `REQUESTS_CA_BUNDLE` names: PEM certificates besides the
    /// system's.
    pub ca_file: Option<PathBuf>,
    /// `--predictor_cert_file` and `--predictor_key_file`, for a predictor that asks for them.
    pub client: Option<ClientCertificate>,
}

/// A certificate chain and its key, in PEM files.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The chain, this service's own certificate first.
    pub cert_file: PathBuf,
    /// The key.
    pub key_file: PathBuf,
}

/// TLS's name of the protocol that is spoken over it (ALPN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::predictor) enum Alpn {
    Http1,
    Http2,
}

#[derive(Clone)]
struct Configs {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

/// TLS towards the predictor.
#[derive(Debug)]
pub(in crate::predictor) struct Tls {
    configs: Reloaded<Configs>,
}

impl Tls {
    /// Reads the files for the first time.
    pub(in crate::predictor) fn load(settings: &TlsSettings) -> Result<Self, String> {
        let client = settings.client.as_ref();
        let own = client.map(|client| [client.cert_file.clone(), client.key_file.clone()]);
        let files = settings
            .ca_file
            .iter()
            .cloned()
            .chain(own.into_iter().flatten());
        let files = files.collect();
        let settings = settings.clone();
        let configs = Reloaded::new(files, move || {
            let http2 = config(&settings)?;
            let with = |protocol: &[u8]| {
                let mut config = http2.clone();
                config.alpn_protocols = vec![protocol.to_vec()];
                Arc::new(config)
            };
            Ok(Configs {
                http1: with(b"http/1.1"),
                http2: with(b"h2"),
            })
        })?;
        Ok(Self { configs })
    }

    /// Encrypts a stream to the server of this name.
    pub(in crate::predictor) async fn handshake<S>(
        &self,
        stream: S,
        host: &str,
        alpn: Alpn,
    ) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let configs = self.configs.get();
        let config = match alpn {
            Alpn::Http1 => configs.http1,
            Alpn::Http2 => configs.http2,
        };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(config).connect(name, stream).await;
        stream.map_err(|error| io::Error::new(error.kind(), TlsHandshakeFailed { source: error }))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("TLS handshake failed")]
struct TlsHandshakeFailed {
    source: io::Error,
}

fn config(settings: &TlsSettings) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(pem::system_authorities(
            "--predictor_ca_file",
            settings.ca_file.as_deref(),
        )?);
    let Some(client) = &settings.client else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = pem::certificates("--predictor_cert_file", &client.cert_file)?;
    let key = pem::key("--predictor_key_file", &client.key_file)?;
    builder.with_client_auth_cert(chain, key).map_err(|error| {
        format!("cannot use --predictor_cert_file and --predictor_key_file together: {error}")
    })
}
