//! TLS on our own ports: certificate chain and key from PEM files.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The chain cannot be read.
    #[error("--ssl_certfile {path}: {reason}")]
    Chain {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The key cannot be read.
    #[error("--ssl_keyfile {path}: {reason}")]
    Key {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// They do not fit each other.
    #[error("--ssl_certfile and --ssl_keyfile cannot be used together: {0}")]
    Pair(rustls::Error),
}

/// An acceptor that offers HTTP/2 and HTTP/1.1.
///
/// # Errors
///
/// When a file cannot be read or the key is not the certificate's.
pub fn acceptor(chain: &Path, key: &Path) -> Result<TlsAcceptor, Error> {
    let chain_error = |reason: String| Error::Chain {
        path: chain.display().to_string(),
        reason,
    };
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| chain_error(error.to_string()))?;
    if certificates.is_empty() {
        return Err(chain_error("there is no certificate in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| Error::Key {
        path: key.display().to_string(),
        reason: error.to_string(),
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Pair)?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(Error::Pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
