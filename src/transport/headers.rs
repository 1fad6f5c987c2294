//! Which request headers go on to the predictor (`--forward_headers`), and the request's id.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

/// The header that names a request, made where it is absent.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// Headers by which a REST caller says how many milliseconds it waits for the response, counted from
/// the request's first byte: one's own, and what Envoy tells the services behind it.
const TIMEOUTS: [&str; 2] = ["x-request-timeout-ms", "x-envoy-expected-rq-timeout-ms"];

/// Longer ids are replaced: they would grow every log line.
const MAX_ID_BYTES: usize = 256;

/// Which headers go on to the predictor: one, or all of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderPattern {
    /// This one.
    Name(HeaderName),
    /// All that begin with this.
    Prefix(String),
}

impl HeaderPattern {
    /// Reads a header name; a `*` at its end stands for any rest.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('*') {
            Some(prefix) => {
                let valid = HeaderName::try_from(prefix.to_owned() + "x").is_ok();
                valid.then(|| Self::Prefix(prefix.to_ascii_lowercase()))
            }
            None => HeaderName::try_from(text).ok().map(Self::Name),
        }
    }

    /// The name as it was given.
    pub fn text(&self) -> String {
        match self {
            Self::Name(name) => name.to_string(),
            Self::Prefix(prefix) => format!("{prefix}*"),
        }
    }

    /// Whether a header matches.
    pub fn matches(&self, name: &HeaderName) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Prefix(prefix) => name.as_str().starts_with(prefix.as_str()),
        }
    }
}

/// Headers that belong to one connection or one body, or say what the response may be: `*` does not
/// mean them. Sent on, the caller's content-length would cut the predictor's body.
const NEVER_FORWARDED: [&str; 13] = [
    "accept-encoding",
    "connection",
    "expect",
    "host",
    "inference-header-content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn is_forwardable(name: &HeaderName) -> bool {
    let name = name.as_str();
    !NEVER_FORWARDED.contains(&name) && !name.starts_with("content-") && !name.starts_with("grpc-")
}

/// The headers that match one of the patterns.
pub(crate) fn forwarded(patterns: &[HeaderPattern], headers: &HeaderMap) -> HeaderMap {
    headers
        .iter()
        .filter(|(name, _)| is_forwardable(name))
        .filter(|(name, _)| patterns.iter().any(|pattern| pattern.matches(name)))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// How long the caller waits, if it says so. What is malformed is no deadline, as over gRPC.
pub(crate) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let timeouts = TIMEOUTS
        .iter()
        .filter_map(|name| headers.get(*name)?.to_str().ok()?.trim().parse().ok());
    timeouts.min().map(Duration::from_millis)
}

/// The caller's id, or a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(|id| !id.is_empty() && id.len() <= MAX_ID_BYTES)
        .map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_prefixes() {
        let patterns = ["X-Request-Id", "x-b3-*"].map(|name| HeaderPattern::parse(name).unwrap());
        let mut headers = HeaderMap::new();
        for name in ["x-request-id", "x-b3-traceid", "x-b3", "cookie"] {
            headers.insert(name, name.parse().unwrap());
        }
        let mut names: Vec<_> = forwarded(&patterns, &headers)
            .keys()
            .map(HeaderName::to_string)
            .collect();
        names.sort();
        assert_eq!(names, ["x-b3-traceid", "x-request-id"]);
        assert_eq!(HeaderPattern::parse("x y"), None);
        assert_eq!(patterns[1].text(), "x-b3-*");
    }

    #[test]
    fn what_belongs_to_the_connection_is_not_forwarded() {
        let all = [HeaderPattern::parse("*").unwrap()];
        let mut headers = HeaderMap::new();
        for name in NEVER_FORWARDED
            .iter()
            .chain(&["content-length", "grpc-timeout"])
        {
            headers.insert(*name, "x".parse().unwrap());
        }
        headers.insert("x-mine", "x".parse().unwrap());
        let forwarded = forwarded(&all, &headers);
        assert_eq!(forwarded.keys().collect::<Vec<_>>(), ["x-mine"]);
    }

    #[test]
    fn the_soonest_timeout_counts() {
        let mut headers = HeaderMap::new();
        assert_eq!(timeout(&headers), None);
        headers.insert(TIMEOUTS[0], "soon".parse().unwrap());
        headers.insert(TIMEOUTS[1], "15000".parse().unwrap());
        assert_eq!(timeout(&headers), Some(Duration::from_secs(15)));
        headers.insert(TIMEOUTS[0], "50".parse().unwrap());
        assert_eq!(timeout(&headers), Some(Duration::from_millis(50)));
    }

    #[test]
    fn an_id_is_made_where_there_is_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(request_id(&headers).len(), 36);
        headers.insert(REQUEST_ID, "abc".parse().unwrap());
        assert_eq!(request_id(&headers), "abc");
    }
}
