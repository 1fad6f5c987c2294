//! What a target's URL says: host and port, and whether TLS is spoken.

use http::uri::{Authority, Uri};

use crate::loadtest::error::Error;
use crate::loadtest::protocol::Protocol;

/// A target's URL, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Address {
    /// Host and port as they were given: what `Host` and `:authority` say.
    pub(super) authority: Authority,
    pub(super) port: u16,
    pub(super) tls: bool,
}

impl Address {
    /// Takes the URL of a target apart.
    pub(super) fn parse(url: &str, protocol: Protocol) -> Result<Self, Error> {
        let invalid = |reason: String| Error::Usage(format!("--url {url}: {reason}"));
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (tls, grpc_only) = match scheme {
            "http" => (false, false),
            "https" => (true, false),
            "grpc" => (false, true),
            "grpcs" => (true, true),
            _ => {
                return Err(invalid(
                    "expected http://HOST:PORT or grpc://HOST:PORT, with TLS https:// or grpcs://"
                        .to_owned(),
                ));
            }
        };
        if grpc_only && !protocol.is_grpc() {
            return Err(invalid(format!(
                "--protocol {protocol} is HTTP: expected http:// or https://"
            )));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !path.is_empty() {
            return Err(invalid(
                "expected the base without a path; --protocol and --model make it".to_owned(),
            ));
        }
        if authority.contains('@') {
            return Err(invalid(
                "expected no user in it; give -H 'Authorization: …'".to_owned(),
            ));
        }
        let authority: Authority = authority
            .parse()
            .map_err(|_| invalid("expected a host and a port".to_owned()))?;
        let port = authority.as_str().strip_prefix(authority.host());
        let port = match port.and_then(|rest| rest.strip_prefix(':')) {
            None if tls => 443,
            None => 80,
            Some(port) => port
                .parse()
                .map_err(|_| invalid(format!("invalid port {port:?}")))?,
        };
        if authority.host().is_empty() {
            return Err(invalid("the host is missing".to_owned()));
        }
        Ok(Self {
            authority,
            port,
            tls,
        })
    }

    /// The host without the brackets of an IPv6 address.
    pub(super) fn host(&self) -> &str {
        let host = self.authority.host();
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    /// The URL of a path under another authority, as HTTP/2 wants it.
    pub(super) fn uri(&self, authority: &Authority, path: &str) -> Result<Uri, Error> {
        Uri::builder()
            .scheme(if self.tls { "https" } else { "http" })
            .authority(authority.clone())
            .path_and_query(path)
            .build()
            .map_err(|error| Error::Usage(format!("invalid path {path} (--model): {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Address {
        Address::parse(url, Protocol::Triton).unwrap()
    }

    fn refusal(url: &str, protocol: Protocol) -> String {
        Address::parse(url, protocol).unwrap_err().to_string()
    }

    #[test]
    fn a_url_is_a_scheme_a_host_and_a_port() {
        for (url, host, port, tls) in [
            ("http://127.0.0.1:8080", "127.0.0.1", 8080, false),
            ("grpc://[::1]:8081/", "::1", 8081, false),
            ("http://triton", "triton", 80, false),
            ("https://face.example", "face.example", 443, true),
            ("grpcs://face.example:8443", "face.example", 8443, true),
        ] {
            let address = parse(url);
            assert_eq!(
                (address.host(), address.port, address.tls),
                (host, port, tls)
            );
        }
    }

    #[test]
    fn a_url_that_cannot_be_meant_is_refused_with_what_is_expected() {
        for (url, words) in [
            ("127.0.0.1:8080", "expected http://HOST:PORT"),
            ("ftp://host", "expected http://HOST:PORT"),
            ("http://", "expected a host"),
            ("http://host:99999", "invalid port \"99999\""),
            ("http://host/v1/models", "without a path"),
            ("https://user:secret@host", "Authorization"),
        ] {
            let text = refusal(url, Protocol::V1);
            assert!(text.contains(words), "{text}");
        }
        let text = refusal("grpc://host:8081", Protocol::V1);
        assert!(text.contains("--protocol v1 is HTTP"), "{text}");
    }
}
