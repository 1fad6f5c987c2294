//! `--predictor_host`: what was written, and what an address is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// A port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// It was written.
    Given(u16),
    /// None was written: 80, or 443 with TLS, which is what KServe's controller means by it.
    Default(u16),
}

impl Port {
    /// Its number.
    pub fn number(self) -> u16 {
        match self {
            Self::Given(number) | Self::Default(number) => number,
        }
    }
}

/// A predictor as the operator names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `HOST[:PORT]`: one address, its name resolved at each connect.
    Host {
        /// A name or an IP address.
        host: String,
        /// Its port.
        port: Port,
    },
    /// `unix:/path`: a Triton in the same pod.
    Unix(PathBuf),
    /// `dns:///NAME[:PORT]`: all addresses of the name, looked up again and again.
    Dns {
        /// The name.
        name: String,
        /// As for a host.
        port: Port,
    },
}

impl Target {
    /// Reads `--predictor_host`: one target or several, separated by commas.
    ///
    /// # Errors
    ///
    /// What is wrong with which of them.
    pub fn parse_list(text: &str, tls: bool) -> Result<Vec<Self>, String> {
        let default_port = if tls { 443 } else { 80 };
        text.split(',')
            .map(|part| Self::parse(part.trim(), default_port))
            .collect()
    }

    /// Whether it is on this machine by its name alone.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Host { host, .. } | Self::Dns { name: host, .. } => {
                host == "localhost"
                    || host
                        .parse::<IpAddr>()
                        .is_ok_and(|address| address.is_loopback())
            }
        }
    }

    fn parse(text: &str, default_port: u16) -> Result<Self, String> {
        let invalid = |what: &str| {
            format!(
                "--predictor_host {text:?}: {what}; expected HOST[:PORT], unix:/path or dns:///name:port"
            )
        };
        if let Some(path) = text.strip_prefix("unix:") {
            // `unix:///path` is gRPC's other spelling.
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(invalid("the path is missing"));
            }
            return Ok(Self::Unix(path.into()));
        }
        let (text, dns) = match text.strip_prefix("dns:") {
            Some(rest) => (rest.trim_start_matches('/'), true),
            None => (text, false),
        };
        if text.contains('/') {
            return Err(invalid("unexpected scheme or path"));
        }
        let (host, port) =
            split_port(text).ok_or_else(|| invalid("the port is not a number from 1 to 65535"))?;
        if host.is_empty() {
            return Err(invalid("the host is missing"));
        }
        let host = host.to_owned();
        let port = port.map_or(Port::Default(default_port), Port::Given);
        Ok(if dns {
            Self::Dns { name: host, port }
        } else {
            Self::Host { host, port }
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host, port } => write!(f, "{}", authority(host, port.number())),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Dns { name, port } => write!(f, "dns:///{}", authority(name, port.number())),
        }
    }
}

/// `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`; an IPv6 address without brackets has no port.
/// Nothing when the port is not one.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':')?)),
        None if text.matches(':').count() > 1 => (text, None),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    match port {
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => None,
            Ok(port) => Some((host, Some(port))),
        },
        None => Some((host, None)),
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Where to connect, and by which name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) endpoint: Endpoint,
    /// The name by which the predictor is asked for and its certificate is checked.
    pub(super) host: String,
    /// Whether its port was written.
    pub(super) port_given: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Name(String, u16),
    Socket(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    /// The port, where there is one.
    pub(super) fn port(&self) -> Option<u16> {
        match &self.endpoint {
            Endpoint::Name(_, port) => Some(*port),
            Endpoint::Socket(address) => Some(address.port()),
            Endpoint::Unix(_) => None,
        }
    }

    /// The value of `host` and `:authority`.
    pub(super) fn authority(&self) -> String {
        match self.port() {
            Some(port) => authority(&self.host, port),
            None => self.host.clone(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Endpoint::Name(host, port) => write!(f, "{}", authority(host, *port)),
            Endpoint::Socket(address) => write!(f, "{address}"),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(host: &str, port: u16) -> Target {
        host_at(host, Port::Given(port))
    }

    fn host_at(host: &str, port: Port) -> Target {
        let host = host.to_owned();
        Target::Host { host, port }
    }

    #[test]
    fn all_forms() {
        let parse = |text| Target::parse_list(text, false).unwrap();
        assert_eq!(parse("triton:8001"), [host("triton", 8001)]);
        let default = Port::Default(80);
        assert_eq!(
            parse("a.b-predictor.ns"),
            [host_at("a.b-predictor.ns", default)]
        );
        assert_eq!(parse("a:1, b:2"), [host("a", 1), host("b", 2)]);
        assert_eq!(parse("[::1]:8001"), [host("::1", 8001)]);
        assert_eq!(parse("::1"), [host_at("::1", default)]);
        assert_eq!(
            parse("unix:/run/t.sock"),
            [Target::Unix("/run/t.sock".into())]
        );
        assert_eq!(
            parse("unix:///run/t.sock"),
            [Target::Unix("/run/t.sock".into())]
        );
        let name = "triton.ns.svc".to_owned();
        assert_eq!(
            parse("dns:///triton.ns.svc:8001"),
            [Target::Dns {
                name,
                port: Port::Given(8001)
            }]
        );
        assert_eq!(
            Target::parse_list("triton", true).unwrap(),
            [host_at("triton", Port::Default(443))]
        );
        assert_eq!(parse("[::1]:8001")[0].to_string(), "[::1]:8001");
    }

    #[test]
    fn invalid_ones_are_named() {
        for text in [
            "",
            "a,,b",
            "a:0",
            "a:x",
            "a:70000",
            "http://a:80",
            "unix:",
            "dns:///",
            ":80",
            "[::1]8001",
        ] {
            let error = Target::parse_list(text, false).unwrap_err();
            assert!(error.starts_with("--predictor_host \""), "{error}");
        }
    }
}
