//! TLS on our own ports: certificate chain and key from PEM files, and optionally the authorities of
//! callers' certificates. They are read again when they change, so that a renewal needs no restart.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;

use super::not_after::not_after;
use crate::pem;
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

/// TLS with the files as they are now.
#[derive(Debug)]
pub struct ServerTls(Reloaded<Loaded>);

/// What the files say.
#[derive(Clone)]
struct Loaded {
    config: Arc<ServerConfig>,
    not_after: Option<i64>,
}

impl ServerTls {
    /// Reads the files for the first time.
    ///
    /// # Errors
    ///
    /// When one of them cannot be used, or the key is not the certificate's; a text that names the flag and the file.
    pub fn load(files: &TlsFiles) -> Result<Self, String> {
        let watched = [&files.certificates, &files.key];
        let watched = watched.into_iter().chain(&files.client_authorities);
        let watched = watched.cloned().collect();
        let files = files.clone();
        Reloaded::new(watched, move || load(&files)).map(Self)
    }

    /// What the next connection is accepted with: offers HTTP/2 and HTTP/1.1.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.get().config)
    }

    /// When the certificate ends, in seconds since 1970.
    pub(crate) fn not_after(&self) -> Option<i64> {
        self.0.get().not_after
    }
}

fn load(files: &TlsFiles) -> Result<Loaded, String> {
    let chain = pem::certificates("--ssl_certfile", &files.certificates)?;
    let not_after = chain.first().and_then(|first| not_after(first));
    let key = pem::key("--ssl_keyfile", &files.key)?;
    let pair = |error| format!("--ssl_certfile and --ssl_keyfile cannot be used together: {error}");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(pair)?;
    let builder = match &files.client_authorities {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let roots = Arc::new(pem::authorities("--ssl_client_ca_file", file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = verifier.build();
            let verifier = verifier
                .map_err(|error| format!("--ssl_client_ca_file {}: {error}", file.display()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Loaded {
        config: Arc::new(config),
        not_after,
    })
}
