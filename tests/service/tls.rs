//! TLS on the service's own ports, as clients see it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kserve_transformer::Service;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::world::service;

fn file(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/world/tls");
    folder.join(name)
}

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file(name)).unwrap()
}

/// A client that trusts the tests' authority, and shows this certificate if asked.
fn client(own: Option<&str>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(certificate("ca.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    match own {
        None => config.with_no_client_auth(),
        Some(own) => {
            let key = PrivateKeyDer::from_pem_file(file(&own.replace(".pem", "-key.pem")));
            config
                .with_client_auth_cert(vec![certificate(own)], key.unwrap())
                .unwrap()
        }
    }
}

/// The response to a GET on a connection of its own.
async fn get(service: &Service, config: &ClientConfig) -> io::Result<String> {
    let stream = TcpStream::connect(service.http).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config.clone()));
    let mut stream = connector.connect(name, stream).await?;
    let head = b"GET /v2/health/live HTTP/1.1\r\nconnection: close\r\n\r\n";
    stream.write_all(head).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    Ok(response)
}

fn flags(certificates: &Path, key: &Path, more: &[String]) -> Vec<String> {
    let mut flags = vec![
        format!("--ssl_certfile={}", certificates.display()),
        format!("--ssl_keyfile={}", key.display()),
    ];
    flags.extend_from_slice(more);
    flags
}

/// Puts a file in the place of another at once, as a renewal does.
fn replace(with: &str, target: &Path) {
    let new = target.with_extension("new");
    fs::copy(file(with), &new).unwrap();
    fs::rename(new, target).unwrap();
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let chain = folder.path().join("tls.crt");
    let key = folder.path().join("tls.key");
    // A client of the authority does not take this one.
    replace("self-signed.pem", &chain);
    replace("server-key.pem", &key);
    let service = service(&flags(&chain, &key, &[])).await;
    let config = client(None);
    let error = get(&service, &config).await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    // Half of a renewal: the key is not that certificate's.
    replace("client-key.pem", &key);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    get(&service, &config).await.unwrap_err();
    replace("server-key.pem", &key);
    replace("server.pem", &chain);
    for _ in 0..100 {
        if get(&service, &config).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the new certificate is not shown");
}

#[tokio::test]
async fn callers_show_a_certificate_of_the_named_authority() {
    let authority = format!("--ssl_client_ca_file={}", file("ca.pem").display());
    let flags = flags(&file("server.pem"), &file("server-key.pem"), &[authority]);
    let service = service(&flags).await;
    let response = get(&service, &client(Some("client.pem"))).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let error = get(&service, &client(None)).await.unwrap_err().to_string();
    assert!(error.contains("CertificateRequired"), "{error}");
}
