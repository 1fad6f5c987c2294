//! Which addresses a URL may lead to: those of the public internet, and those that
//! `--item_url_allow` opens.
//!
//! A service that fetches what callers name must not become their way into the network it stands
//! in (server-side request forgery): not to its own host, its neighbours, or the cloud's metadata.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

use super::Error;

/// An entry of `--item_url_allow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allow {
    /// A host by its name, whatever it resolves to.
    Host(String),
    /// Addresses.
    Net(IpNet),
}

impl FromStr for Allow {
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
        // Read as a URL's host is, so that both are written the same way.
        let host = reqwest::Url::parse(&format!("http://{text}/"))
            .ok()
            .filter(|_| name_only)
            .and_then(|url| url.host_str().map(str::to_owned));
        match host {
            Some(host) if host.parse::<IpAddr>().is_err() => Ok(Self::Host(bare(&host).to_owned())),
            _ => Err(Error::refused(format!(
                "`{text}` (--item_url_allow) is neither a host name without port nor an address \
                 range such as 10.1.0.0/16"
            ))),
        }
    }
}

/// Whether a host may be reached whatever its addresses.
pub(super) fn is_allowed_host(host: &str, allow: &[Allow]) -> bool {
    allow
        .iter()
        .any(|entry| matches!(entry, Allow::Host(name) if name == bare(host)))
}

/// Whether an address may be connected to.
pub(super) fn is_allowed_address(address: IpAddr, allow: &[Allow]) -> bool {
    let plain = address.to_canonical();
    is_public(address)
        || allow.iter().any(
            |entry| matches!(entry, Allow::Net(net) if net.contains(&address) || net.contains(&plain)),
        )
}

/// A host name without the dot that may stand behind it.
fn bare(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !within(address, &NOT_PUBLIC_V4),
        // Only 2000::/3 is given out as public; this alone leaves out ::1, IPv4-mapped and
        // -compatible forms, NAT64, local and link-local addresses and multicast.
        IpAddr::V6(address) => address.segments()[0] >> 13 == 1 && !within(address, &NOT_PUBLIC_V6),
    }
}

/// An address and how many of its leading bits count.
type Range<A> = (A, u32);

fn within<A: Copy + Bits>(address: A, ranges: &[Range<A>]) -> bool {
    ranges
        .iter()
        .any(|&(first, bits)| (address.bits() ^ first.bits()) >> (128 - bits) == 0)
}

/// Addresses as numbers, from the highest of 128 bits down.
trait Bits {
    fn bits(self) -> u128;
}

impl Bits for Ipv4Addr {
    fn bits(self) -> u128 {
        u128::from(self.to_bits()) << 96
    }
}

impl Bits for Ipv6Addr {
    fn bits(self) -> u128 {
        self.to_bits()
    }
}

/// IANA's special-purpose addresses, and those that clouds give a meaning.
const NOT_PUBLIC_V4: [Range<Ipv4Addr>; 17] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),        // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),       // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),    // carrier-grade NAT; metadata at 100.100.100.200
    (Ipv4Addr::new(127, 0, 0, 0), 8),      // loopback
    (Ipv4Addr::new(168, 63, 129, 16), 32), // metadata
    (Ipv4Addr::new(169, 254, 0, 0), 16),   // link-local; metadata at 169.254.169.254
    (Ipv4Addr::new(172, 16, 0, 0), 12),    // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),     // protocol assignments; metadata at 192.0.0.192
    (Ipv4Addr::new(192, 0, 2, 0), 24),     // documentation
    (Ipv4Addr::new(192, 31, 196, 0), 24),  // AS112
    (Ipv4Addr::new(192, 88, 99, 0), 24),   // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16),   // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),    // benchmarking
    (Ipv4Addr::new(198, 51, 100, 0), 24),  // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),   // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),      // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),      // reserved, broadcast
];

const NOT_PUBLIC_V6: [Range<Ipv6Addr>; 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // Teredo, benchmarking, ORCHID
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4: carries an IPv4 address
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

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
    fn all_others() {
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
    fn what_is_allowed_by_hand() {
        let allow: Vec<Allow> = ["10.1.0.0/16", "127.0.0.1", "fd00::/8", "Images.Internal."]
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
    fn entries_that_say_nothing() {
        for text in [
            "",
            "minio:9000",
            "http://minio",
            "a/b",
            "*.internal",
            "10.0.0.0/33",
            "user@host",
        ] {
            let error = text.parse::<Allow>().unwrap_err().to_string();
            assert!(error.contains("--item_url_allow"), "{text}: {error}");
        }
    }
}
