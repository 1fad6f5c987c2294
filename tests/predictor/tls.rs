//! TLS towards the predictor.

use std::path::PathBuf;

use kserve_transformer::predictor::{ClientCertificate, Resolver, Target, TlsSettings};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::*;
use crate::world::triton::Speaks;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/world/tls")
        .join(name)
}

async fn tls_triton(speaks: Speaks) -> FakeTriton {
    start("server.pem", speaks, None).await
}

/// One that wants a certificate of these authorities from its clients.
async fn mutual_tls_triton(speaks: Speaks) -> FakeTriton {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(file("ca.pem")).unwrap())
        .unwrap();
    start("server.pem", speaks, Some(roots)).await
}

async fn start(
    certificate: &str,
    speaks: Speaks,
    client_roots: Option<RootCertStore>,
) -> FakeTriton {
    let chain = CertificateDer::pem_file_iter(file(certificate)).unwrap();
    let chain = chain.collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(file("server-key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = match client_roots {
        None => config.with_no_client_auth(),
        Some(roots) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            config.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let mut config = config.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    FakeTriton::start_tls(config, |script| {
        small(script);
        script.speaks = speaks;
    })
    .await
}

fn over_tls(triton: &FakeTriton, host: &str, protocol: Protocol) -> RemoteSettings {
    let mut settings = settings(&format!("{host}:{}", triton.address.port()));
    settings.protocol = protocol;
    settings.tls = Some(TlsSettings {
        ca_file: Some(file("ca.pem")),
        client: None,
    });
    settings
}

#[tokio::test]
async fn both_protocols_over_tls() {
    for (speaks, protocol) in [
        (Speaks::Grpc, Protocol::Grpc),
        (Speaks::Grpc, Protocol::Auto),
        (Speaks::Rest, Protocol::Rest),
        (Speaks::Rest, Protocol::Auto),
    ] {
        let triton = tls_triton(speaks).await;
        let predictor = ready(&over_tls(&triton, "localhost", protocol)).await;
        assert_eq!(scores(&predictor, 4, 2).await.unwrap(), [4.0, 5.0]);
    }
}

#[tokio::test]
async fn a_failed_handshake_names_its_cause() {
    let triton = tls_triton(Speaks::Grpc).await;
    for protocol in [Protocol::Grpc, Protocol::Rest, Protocol::Auto] {
        let mut unknown = over_tls(&triton, "localhost", protocol);
        unknown.tls = Some(TlsSettings {
            ca_file: Some(file("server.pem")),
            client: None,
        });
        let predictor = connecting(&unknown);
        let reason = wait_not_ready(&predictor, "TLS handshake failed").await;
        assert!(reason.contains("UnknownIssuer"), "{reason}");
        assert!(reason.contains("--predictor_ca_file"), "{reason}");
        let error = scores(&predictor, 1, 1).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    }
    let address = triton.address;
    let mut other_name = over_tls(&triton, "localhost", Protocol::Grpc);
    other_name.targets = Target::parse_list("dns:///other.test:8001", true).unwrap();
    other_name.resolver = Resolver::from_fn(move |_, _| async move { Ok(vec![address]) });
    let predictor = connecting(&other_name);
    let reason = wait_not_ready(&predictor, "TLS handshake failed").await;
    assert!(reason.contains("other.test"), "{reason}");
}

#[tokio::test]
async fn plain_text_where_tls_is_expected() {
    let triton = triton().await;
    let predictor = connecting(&over_tls(&triton, "localhost", Protocol::Grpc));
    let reason = wait_not_ready(&predictor, "TLS handshake failed").await;
    assert!(reason.contains("does not speak TLS"), "{reason}");
}

#[tokio::test]
async fn tls_where_plain_text_is_expected() {
    let triton = tls_triton(Speaks::Grpc).await;
    for protocol in [Protocol::Grpc, Protocol::Rest, Protocol::Auto] {
        let settings = settings_over(protocol, &triton.host());
        wait_not_ready(&connecting(&settings), "or it expects TLS").await;
    }
}

#[tokio::test]
async fn a_certificate_that_signed_itself_as_an_authority() {
    let triton = start("self-signed.pem", Speaks::Grpc, None).await;
    let mut settings = over_tls(&triton, "localhost", Protocol::Grpc);
    settings.tls = Some(TlsSettings {
        ca_file: Some(file("self-signed.pem")),
        client: None,
    });
    wait_not_ready(&connecting(&settings), "it must say CA:FALSE").await;
}

#[tokio::test]
async fn a_certificate_file_that_is_none_is_refused() {
    let triton = triton().await;
    for name in ["make.sh", "missing.pem"] {
        let mut settings = over_tls(&triton, "localhost", Protocol::Grpc);
        settings.tls = Some(TlsSettings {
            ca_file: Some(file(name)),
            client: None,
        });
        let error = Predictor::remote(&settings, signature(), &metrics()).unwrap_err();
        assert!(error.contains("--predictor_ca_file"), "{error}");
        assert!(error.contains(name), "{error}");
    }
}

#[tokio::test]
async fn a_predictor_that_asks_for_a_certificate() {
    for (speaks, protocol) in [
        (Speaks::Grpc, Protocol::Grpc),
        (Speaks::Rest, Protocol::Rest),
    ] {
        let triton = mutual_tls_triton(speaks).await;
        let mut settings = over_tls(&triton, "localhost", protocol);
        wait_not_ready(&connecting(&settings), "CertificateRequired").await;
        settings.tls = Some(TlsSettings {
            ca_file: Some(file("ca.pem")),
            client: Some(ClientCertificate {
                cert_file: file("client.pem"),
                key_file: file("client-key.pem"),
            }),
        });
        let predictor = ready(&settings).await;
        assert_eq!(scores(&predictor, 4, 1).await.unwrap(), [4.0]);
    }
}

#[tokio::test]
async fn a_connection_that_is_opened_again_resumes_its_tls_session() {
    for (speaks, protocol) in [
        (Speaks::Grpc, Protocol::Grpc),
        (Speaks::Rest, Protocol::Rest),
    ] {
        let triton = tls_triton(speaks).await;
        let predictor = ready(&over_tls(&triton, "localhost", protocol)).await;
        assert_eq!(scores(&predictor, 4, 1).await.unwrap(), [4.0]);
        let resumed = triton.observed().resumed_sessions;
        triton.cut();
        triton
            .wait(|observed| observed.resumed_sessions > resumed)
            .await;
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_the_predictor_without_a_restart() {
    let triton = mutual_tls_triton(Speaks::Grpc).await;
    let folder = tempfile::tempdir().unwrap();
    let cert_file = folder.path().join("tls.crt");
    let key_file = folder.path().join("tls.key");
    // One that the predictor does not take.
    std::fs::copy(file("self-signed.pem"), &cert_file).unwrap();
    std::fs::copy(file("server-key.pem"), &key_file).unwrap();
    let mut settings = over_tls(&triton, "localhost", Protocol::Grpc);
    settings.tls = Some(TlsSettings {
        ca_file: Some(file("ca.pem")),
        client: Some(ClientCertificate {
            cert_file: cert_file.clone(),
            key_file: key_file.clone(),
        }),
    });
    let predictor = connecting(&settings);
    wait_not_ready(&predictor, "Certificate").await;
    std::fs::copy(file("client.pem"), &cert_file).unwrap();
    std::fs::copy(file("client-key.pem"), &key_file).unwrap();
    wait_ready(&predictor).await;
    assert_eq!(scores(&predictor, 4, 1).await.unwrap(), [4.0]);
}
