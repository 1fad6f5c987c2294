//! The caller's trace, as the W3C's header `traceparent` names it.

use std::fmt;

use http::HeaderMap;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};

/// The id of a trace, and whether its spans are kept somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    id: u128,
    /// Whether whoever began the trace keeps it.
    pub(crate) sampled: bool,
}

impl Trace {
    /// The trace of this id.
    pub(crate) fn new(id: u128, sampled: bool) -> Self {
        Self { id, sampled }
    }

    /// What `00-{trace}-{span}-{flags}` says; nothing where it says nothing valid.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get("traceparent")?.to_str().ok()?;
        let mut parts = text.split('-');
        let (_version, id, _span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if id.len() != 32 || flags.len() != 2 || !is_hex(id) || !is_hex(flags) {
            return None;
        }
        let id = u128::from_str_radix(id, 16).ok().filter(|&id| id != 0)?;
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        Some(Self { id, sampled })
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.id)
    }
}

/// As the labels of an exemplar.
impl EncodeLabelSet for Trace {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        [("trace_id", self.to_string())].encode(encoder)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_traceparent_is_read_and_nonsense_is_none() {
        let trace = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", HeaderValue::from_static(text));
            Trace::of(&headers)
        };
        let sampled = trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        assert_eq!(sampled.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert!(sampled.sampled);
        let unsampled = trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").unwrap();
        assert!(!unsampled.sampled);
        for nonsense in [
            "",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(trace(nonsense), None, "{nonsense}");
        }
        assert_eq!(Trace::of(&HeaderMap::new()), None);
    }
}
