//! From an address to a stream of bytes, and what the load test says when one breaks.

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::loadtest::error::Error;
use crate::loadtest::failure::{Failure, FailureKind};

/// Host and port of a URL.
pub(super) fn authority(url: &str) -> Result<String, Error> {
    let invalid = |reason: &str| Error::Usage(format!("--url {url}: {reason}"));
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("grpc://"))
        .ok_or_else(|| {
            invalid("expected http://HOST:PORT or grpc://HOST:PORT (TLS is not spoken)")
        })?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !path.is_empty() {
        return Err(invalid(
            "expected the base without a path; --protocol and --model make it",
        ));
    }
    if authority.is_empty() || authority.contains('@') {
        return Err(invalid("the host is missing"));
    }
    let port = authority
        .rsplit_once(':')
        .filter(|(_, port)| port.parse::<u16>().is_ok());
    Ok(match port {
        Some(_) => authority.to_owned(),
        None => format!("{authority}:80"),
    })
}

/// Connects.
pub(super) async fn dial(authority: &str) -> Result<TokioIo<TcpStream>, Failure> {
    let failed = |error: std::io::Error| Failure::new(FailureKind::Connect, error.to_string());
    let stream = TcpStream::connect(authority).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(TokioIo::new(stream))
}

/// A connection that ended before its response.
pub(super) fn broken(error: &hyper::Error) -> Failure {
    use std::error::Error as _;
    let cause = error.source().map(|cause| format!(": {cause}"));
    Failure::new(
        FailureKind::Broken,
        format!("{error}{}", cause.unwrap_or_default()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_scheme_and_an_authority() {
        assert_eq!(
            authority("http://127.0.0.1:8080").unwrap(),
            "127.0.0.1:8080"
        );
        assert_eq!(authority("grpc://[::1]:8081/").unwrap(), "[::1]:8081");
        assert_eq!(authority("http://triton").unwrap(), "triton:80");
        for url in [
            "127.0.0.1:8080",
            "https://host",
            "http://",
            "http://host/v1/models",
        ] {
            assert!(authority(url).is_err(), "{url}");
        }
    }
}
