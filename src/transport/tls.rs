//! TLS on our own ports: certificate chain and key from PEM files, and optionally the authorities of
//! callers' certificates. They are read again when they change, so that a renewal needs no restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::reload::Reloaded;

/// The PEM files of the service's own TLS.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// `--ssl_certfile`: the certificate chain.
    pub certificates: PathBuf,
    /// `--ssl_keyfile`: the private key of its first certificate.
    pub key: PathBuf,
    /// `--ssl_client_ca_file`: one of these authorities must have signed each caller's certificate.
    pub client_authorities: Option<PathBuf>,
}

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{flag} {path}: {reason}")]
    File {
        /// Which one.
        flag: &'static str,
        /// Where it is.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key do not fit each other.
    #[error("--ssl_certfile and --ssl_keyfile cannot be used together: {0}")]
    Pair(rustls::Error),
}

impl Error {
    fn file(flag: &'static str, path: &Path, reason: impl ToString) -> Self {
        Self::File {
            flag,
            path: path.display().to_string(),
            reason: reason.to_string(),
        }
    }
}

/// TLS with the files as they are now.
#[derive(Debug)]
pub struct ServerTls(Reloaded<Arc<ServerConfig>>);

impl ServerTls {
    /// Reads the files for the first time.
    ///
    /// # Errors
    ///
    /// When one of them cannot be used, or the key is not the certificate's; the text of [`Error`].
    pub fn load(files: &TlsFiles) -> Result<Self, String> {
        let watched = [&files.certificates, &files.key];
        let watched = watched.into_iter().chain(&files.client_authorities);
        let watched = watched.cloned().collect();
        let files = files.clone();
        Reloaded::new(watched, move || {
            config(&files)
                .map(Arc::new)
                .map_err(|error| error.to_string())
        })
        .map(Self)
    }

    /// What the next connection is accepted with: offers HTTP/2 and HTTP/1.1.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.get())
    }
}

fn config(files: &TlsFiles) -> Result<ServerConfig, Error> {
    let chain = certificates("--ssl_certfile", &files.certificates)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| Error::file("--ssl_keyfile", &files.key, error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(Error::Pair)?;
    let builder = match &files.client_authorities {
        None => builder.with_no_client_auth(),
        Some(file) => {
            const FLAG: &str = "--ssl_client_ca_file";
            let mut roots = RootCertStore::empty();
            for authority in certificates(FLAG, file)? {
                roots
                    .add(authority)
                    .map_err(|error| Error::file(FLAG, file, error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = verifier
                .build()
                .map_err(|error| Error::file(FLAG, file, error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(Error::Pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(flag: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| Error::file(flag, file, error))?;
    if certificates.is_empty() {
        return Err(Error::file(flag, file, "there is no certificate in it"));
    }
    Ok(certificates)
}
