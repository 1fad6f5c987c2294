//! An error and its causes, down to the root. Libraries often name only their own layer ("error
//! sending request"); what a person needs to know is further down. Common mistakes of connections
//! are said in plain words, too.

use std::error::Error;

use rustls::CertificateError;

/// The error itself, then each cause.
pub(crate) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // An io::Error hides the error it was made of from `source`.
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            .map(|inner| inner as &(dyn Error + 'static));
        inner.or_else(|| error.source())
    })
}

/// The first error of a type among an error and its causes.
pub(crate) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The text of the last cause.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    causes(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// The texts of an error and its causes, each once: some errors repeat their cause's. Then what the
/// mistake may be.
pub(crate) fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut chain = texts(error);
    if let Some(hint) = hint(error, &chain) {
        chain.push_str(" (");
        chain.push_str(hint);
        chain.push(')');
    }
    chain
}

/// The mistake behind an error of a connection, if it is a common one.
fn hint(error: &(dyn Error + 'static), chain: &str) -> Option<&'static str> {
    if let Some(tls) = find::<rustls::Error>(error) {
        return match tls {
            rustls::Error::InvalidMessage(_) => Some("this port does not speak TLS"),
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => Some(
                "the certificate's authority is not trusted here; --predictor_ca_file names others",
            ),
            rustls::Error::InvalidCertificate(CertificateError::Other(_))
                if chain.contains("CaUsedAsEndEntity") =>
            {
                Some(
                    "the server's certificate is that of an authority, as `openssl req -x509` makes \
                     it; it must say CA:FALSE",
                )
            }
            _ => None,
        };
    }
    if find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
        return Some(
            "this port speaks something other than HTTP/1.1: Triton's REST port is 8000, gRPC's \
             8001; or it expects TLS",
        );
    }
    // The type of HTTP/2's own error belongs to a library that is used through hyper only.
    if chain.contains("frame with invalid size") {
        return Some(
            "this port speaks something other than HTTP/2: Triton's gRPC port is 8001, REST's 8000; \
             or it expects TLS",
        );
    }
    if chain.contains("closed because of a broken pipe") {
        return Some(
            "if it never works, this port speaks something other than HTTP/2: Triton's gRPC port is \
             8001, REST's 8000; or it expects TLS",
        );
    }
    None
}

fn texts(error: &(dyn Error + 'static)) -> String {
    causes(error).fold(String::new(), |mut chain, cause| {
        let text = cause.to_string();
        if chain.is_empty() {
            return text;
        }
        if !chain.contains(&text) {
            chain.push_str(": ");
            chain.push_str(&text);
        }
        chain
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner;

    #[test]
    fn io_errors_do_not_hide_their_cause() {
        let error = Outer(io::Error::other(Inner));
        assert!(find::<Inner>(&error).is_some());
        assert_eq!(root_cause(&error), "inner");
        assert_eq!(error_chain(&error), "outer: inner");
    }

    #[test]
    fn mistakes_are_said_in_plain_words() {
        let tls = |error| error_chain(&Outer(io::Error::other(error)));
        let unknown = CertificateError::UnknownIssuer;
        let text = tls(rustls::Error::InvalidCertificate(unknown));
        assert!(text.contains("--predictor_ca_file"), "{text}");
        let message = rustls::InvalidMessage::InvalidContentType;
        let text = tls(rustls::Error::InvalidMessage(message));
        assert!(text.ends_with("(this port does not speak TLS)"), "{text}");
    }

    #[test]
    fn an_error_without_cause_is_its_own() {
        assert_eq!(root_cause(&Inner), "inner");
        assert_eq!(error_chain(&Inner), "inner");
    }
}
