//! `-H 'NAME: VALUE'`, as curl takes it.

use std::str::FromStr;

use http::{HeaderMap, HeaderName, HeaderValue};

/// A header of the requests that a command sends.
#[derive(Clone, Debug)]
pub struct Header {
    name: HeaderName,
    /// Marked as sensitive: it may be a token, which no log shows then.
    value: HeaderValue,
}

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once(':')
            .ok_or("expected NAME: VALUE, as in 'Host: face.example'")?;
        let name = HeaderName::from_str(name.trim())
            .map_err(|_| format!("invalid header name {:?}", name.trim()))?;
        let mut value = HeaderValue::from_str(value.trim())
            .map_err(|_| format!("the value of {name} has characters that a header cannot have"))?;
        value.set_sensitive(true);
        Ok(Self { name, value })
    }
}

/// All of them; a name that is given twice is sent twice.
pub(super) fn header_map(headers: &[Header]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for Header { name, value } in headers {
        map.append(name, value.clone());
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_name_and_a_value() {
        let headers = ["Host: face.example", "x-a:1", "X-A: 2:3"].map(|h| h.parse().unwrap());
        let map = header_map(&headers);
        assert_eq!(map["host"], "face.example");
        let values: Vec<_> = map.get_all("x-a").into_iter().collect();
        assert_eq!(values, ["1", "2:3"]);
        assert!(!format!("{map:?}").contains("face.example"));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "Host", ": x", "a b: c", "x: \u{7f}"] {
            assert!(text.parse::<Header>().is_err(), "{text:?}");
        }
    }
}
