//! PEM files: certificates, keys, and whose certificates are trusted. A text names the flag and the
//! file.

use std::fmt::Display;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The certificates of a file, of which there must be one.
pub(crate) fn certificates(
    flag: &str,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| invalid(flag, file, &error))?;
    if certificates.is_empty() {
        return Err(invalid(flag, file, &"there is no certificate in it"));
    }
    Ok(certificates)
}

/// The key of a file.
pub(crate) fn key(flag: &str, file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| invalid(flag, file, &error))
}

/// The authorities of a file.
pub(crate) fn authorities(flag: &str, file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(flag, file)? {
        let added = roots.add(certificate);
        added.map_err(|error| invalid(flag, file, &error))?;
    }
    Ok(roots)
}

/// The system's authorities, and those of a file besides.
pub(crate) fn system_authorities(flag: &str, file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    // A container may have no roots of its own, or some that cannot be read.
    let (added, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match file {
        Some(file) => roots.extend(authorities(flag, file)?.roots),
        None if added == 0 => {
            return Err(format!(
                "the system has no root certificates; name a file of some with {flag}"
            ));
        }
        None => (),
    }
    Ok(roots)
}

fn invalid(flag: &str, file: &Path, what: &dyn Display) -> String {
    format!("{flag} {}: {what}", file.display())
}
