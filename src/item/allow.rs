//! Which addresses a URL may lead to: those of the public internet, and those that
//! `--item_url_allow` adds.
//!
//! A service that fetches what callers name must not become their way into its own network
//! (server-side request forgery): not to its own host, its neighbours, or the cloud's metadata.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

use super::Error;
use crate::quote::quote;

/// An entry of `--item_url_allow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowRule {
    /// A host by its name, whatever it resolves to.
    Host(String),
    /// A range of addresses.
    Net(IpNet),
}

impl fmt::Display for AllowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => host.fmt(f),
            Self::Net(net) => net.fmt(f),
        }
    }
}

impl FromStr for AllowRule {
    type Err = Error;

    /// Takes a CIDR, an address, or a host name without port.
    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if let Ok(net) = text.parse::<IpNet>() {
            return Ok(Self::Net(net));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Net(address.into()));
        }
        let name_only = !text.is_empty() && !text.contains([':', '/', '@', '?', '#', '\\', '*']);
        // Parsed as a URL's host is, so that both are normalised alike and can be compared.
        let host = reqwest::Url::parse(&format!("http://{text}/"))
            .ok()
            .filter(|_| name_only)
            .and_then(|url| url.host_str().map(str::to_owned));
        match host {
            Some(host) if host.parse::<IpAddr>().is_err() => {
                Ok(Self::Host(without_trailing_dot(&host).to_owned()))
            }
            _ => Err(Error::refused(format!(
                "invalid entry {}: expected a host name without port, an address, or a range such \
                 as 10.1.0.0/16",
                quote(text)
            ))),
        }
    }
}

/// Whether a host may be reached whatever its addresses.
pub(super) fn is_allowed_host(host: &str, allow: &[AllowRule]) -> bool {
    allow
        .iter()
        .any(|entry| matches!(entry, AllowRule::Host(name) if name == without_trailing_dot(host)))
}

/// Whether an address may be connected to.
pub(super) fn is_allowed_address(address: IpAddr, allow: &[AllowRule]) -> bool {
    let plain = address.to_canonical();
    is_public(address)
        || allow.iter().any(
            |entry| matches!(entry, AllowRule::Net(net) if net.contains(&address) || net.contains(&plain)),
        )
}

/// A host name without the dot that may end it.
fn without_trailing_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

fn is_public(address: IpAddr) -> bool {
    // Of IPv6 only 2000::/3 is given out as public; this alone leaves out ::1, IPv4-mapped and
    // -compatible forms, NAT64, local and link-local addresses and multicast.
    let given_out = address.is_ipv4() || GLOBAL_UNICAST_V6.contains(&address);
    given_out && !NOT_PUBLIC.iter().any(|range| range.contains(&address))
}

const GLOBAL_UNICAST_V6: IpNet = v6([0x2000, 0, 0], 3);

/// IANA's special-purpose addresses, and those that clouds give a meaning.
const NOT_PUBLIC: [IpNet; 21] = [
    v4([0, 0, 0, 0], 8),        // this network
    v4([10, 0, 0, 0], 8),       // private
    v4([100, 64, 0, 0], 10),    // carrier-grade NAT; metadata at 100.100.100.200
    v4([127, 0, 0, 0], 8),      // loopback
    v4([168, 63, 129, 16], 32), // metadata
    v4([169, 254, 0, 0], 16),   // link-local; metadata at 169.254.169.254
    v4([172, 16, 0, 0], 12),    // private
    v4([192, 0, 0, 0], 24),     // protocol assignments; metadata at 192.0.0.192
    v4([192, 0, 2, 0], 24),     // documentation
    v4([192, 31, 196, 0], 24),  // AS112
    v4([192, 88, 99, 0], 24),   // 6to4 relays
    v4([192, 168, 0, 0], 16),   // private
    v4([198, 18, 0, 0], 15),    // benchmarking
    v4([198, 51, 100, 0], 24),  // documentation
    v4([203, 0, 113, 0], 24),   // documentation
    v4([224, 0, 0, 0], 4),      // multicast
    v4([240, 0, 0, 0], 4),      // reserved, broadcast
    v6([0x2001, 0, 0], 23),     // Teredo, benchmarking, ORCHID
    v6([0x2001, 0xdb8, 0], 32), // documentation
    v6([0x2002, 0, 0], 16),     // 6to4: carries an IPv4 address
    v6([0x3fff, 0, 0], 20),     // documentation
];

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix)
}

/// The range of an address whose first three groups are given, the others being 0.
const fn v6([a, b, c]: [u16; 3], prefix: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)), prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2a00:1450::1",
        ] {
            assert!(
                is_allowed_address(address.parse().unwrap(), &[]),
                "{address}"
            );
        }
    }

    #[test]
    fn addresses_that_are_not_public() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b:1::a00:1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(
                !is_allowed_address(address.parse().unwrap(), &[]),
                "{address}"
            );
        }
    }

    #[test]
    fn rules_open_what_is_not_public() {
        let allow: Vec<AllowRule> = ["10.1.0.0/16", "127.0.0.1", "fd00::/8", "Images.Internal."]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        for (address, allowed) in [
            ("10.1.2.3", true),
            ("10.2.0.1", false),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("::ffff:127.0.0.1", true),
            ("fd12::1", true),
            ("fe80::1", false),
        ] {
            assert_eq!(
                is_allowed_address(address.parse().unwrap(), &allow),
                allowed,
                "{address}"
            );
        }
        assert!(is_allowed_host("images.internal", &allow));
        assert!(is_allowed_host("images.internal.", &allow));
        assert!(!is_allowed_host("more.images.internal", &allow));
    }

    #[test]
    fn invalid_entries() {
        for text in [
            "",
            "minio:9000",
            "http://minio",
            "a/b",
            "*.internal",
            "10.0.0.0/33",
            "user@host",
        ] {
            let error = text.parse::<AllowRule>().unwrap_err().to_string();
            assert!(error.contains("10.1.0.0/16"), "{text}: {error}");
        }
    }
}
