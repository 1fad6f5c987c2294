//! Which request headers go on to the predictor (`--forward_headers`), and the request's id.

use http::{HeaderMap, HeaderName};

/// The header that names a request, made where it is absent.
pub const REQUEST_ID: &str = "x-request-id";

/// Longer ids are not believed to be ids.
const MAX_ID_BYTES: usize = 256;

/// A header that goes on to the predictor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// This one.
    Name(HeaderName),
    /// All that begin so.
    Prefix(String),
}

impl Forwarded {
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

    /// Whether a header is meant.
    pub fn matches(&self, name: &HeaderName) -> bool {
        match self {
            Self::Name(wanted) => wanted == name,
            Self::Prefix(prefix) => name.as_str().starts_with(prefix.as_str()),
        }
    }
}

/// The headers of `headers` that are wanted.
pub fn forwarded(wanted: &[Forwarded], headers: &HeaderMap) -> HeaderMap {
    headers
        .iter()
        .filter(|(name, _)| wanted.iter().any(|wanted| wanted.matches(name)))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The caller's id, or a new one.
pub fn request_id(headers: &HeaderMap) -> String {
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
        let wanted = ["X-Request-Id", "x-b3-*"].map(|name| Forwarded::parse(name).unwrap());
        let mut headers = HeaderMap::new();
        for name in ["x-request-id", "x-b3-traceid", "x-b3", "cookie"] {
            headers.insert(name, name.parse().unwrap());
        }
        let mut names: Vec<_> = forwarded(&wanted, &headers)
            .keys()
            .map(HeaderName::to_string)
            .collect();
        names.sort();
        assert_eq!(names, ["x-b3-traceid", "x-request-id"]);
        assert_eq!(Forwarded::parse("x y"), None);
        assert_eq!(wanted[1].text(), "x-b3-*");
    }

    #[test]
    fn an_id_is_made_where_there_is_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(request_id(&headers).len(), 36);
        headers.insert(REQUEST_ID, "abc".parse().unwrap());
        assert_eq!(request_id(&headers), "abc");
    }
}
