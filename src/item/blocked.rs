//! Requests for items that this service ends itself, and hosts as errors name them.

use std::fmt;

use reqwest::Url;

use super::{Error, ErrorKind};

/// Redirects followed for one item.
pub(super) const MAX_REDIRECTS: usize = 3;
/// Characters of a host's name that an error shows.
const HOST_CHARS: usize = 100;

/// Why this service ended a request itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    /// No address of the host is public.
    NotPublic(String),
    /// The host redirects although enough redirects were followed.
    Redirects(String),
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPublic(host) => write!(
                f,
                "the item's host {host} does not have a public address (--item_url_allow permits others)"
            ),
            Self::Redirects(host) => write!(
                f,
                "the item's host {host} redirects again after {MAX_REDIRECTS} redirects"
            ),
        }
    }
}

impl std::error::Error for Blocked {}

impl From<Blocked> for Error {
    fn from(blocked: Blocked) -> Self {
        let kind = match blocked {
            Blocked::NotPublic(_) => ErrorKind::Refused,
            Blocked::Redirects(_) => ErrorKind::Unreachable,
        };
        Self::new(kind, blocked.to_string())
    }
}

/// A URL as errors show it: the host, and the port if it is not the usual one.
pub(super) fn display_host(url: &Url) -> String {
    let host = truncated(url.host_str().unwrap_or_default());
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

pub(super) fn truncated(host: &str) -> String {
    host.chars().take(HOST_CHARS).collect()
}
