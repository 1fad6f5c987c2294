//! Bodies in gzip or deflate: requests are inflated within the body limit, answers compressed for
//! those who ask.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderMap, HeaderValue};

use crate::error::{Error, Kind};

/// Smaller answers are sent as they are: they fit one packet either way, and HTTP libraries ask for
/// compression by habit.
const WORTH_COMPRESSING: usize = 1024;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// gzip.
    Gzip,
    /// The zlib form, as HTTP means the word.
    Deflate,
}

impl Encoding {
    const ALL: [Self; 2] = [Self::Gzip, Self::Deflate];

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|encoding| encoding.name().eq_ignore_ascii_case(name))
    }

    /// How a request's body is encoded; nothing if it is as it is.
    ///
    /// # Errors
    ///
    /// An encoding that is not understood.
    pub fn of_request(headers: &HeaderMap) -> Result<Option<Self>, Error> {
        let Some(value) = headers.get(CONTENT_ENCODING) else {
            return Ok(None);
        };
        let name = value.to_str().unwrap_or_default().trim();
        if name.is_empty() || name.eq_ignore_ascii_case("identity") {
            return Ok(None);
        }
        Self::parse(name).map(Some).ok_or_else(|| {
            Error::new(
                Kind::UnsupportedEncoding,
                "this content-encoding is not understood; gzip and deflate are, or send the body \
                 as it is",
            )
        })
    }

    /// What an answer is to be encoded in: the best by the weights of `accept-encoding`, of equals
    /// the first; nothing if none is asked for.
    pub fn asked(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(ACCEPT_ENCODING)?.to_str().ok()?;
        let mut best = None;
        for part in value.split(',') {
            let (name, parameters) = part.split_once(';').unwrap_or((part, ""));
            let weight = match parameters.trim().strip_prefix("q=") {
                Some(weight) => weight.trim().parse().unwrap_or(0.0),
                None => 1.0,
            };
            if let Some(encoding) = Self::parse(name.trim())
                && weight > best.map_or(0.0, |(weight, _)| weight)
            {
                best = Some((weight, encoding));
            }
        }
        best.map(|(_, encoding)| encoding)
    }

    /// The body as it was before it was encoded, of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// When it is damaged or larger.
    pub fn inflate(self, body: &[u8], limit: usize) -> Result<Bytes, Error> {
        match self {
            Self::Gzip => self.inflate_by(GzDecoder::new(body), limit),
            Self::Deflate => self.inflate_by(ZlibDecoder::new(body), limit),
        }
    }

    fn inflate_by(self, decoder: impl Read, limit: usize) -> Result<Bytes, Error> {
        let mut inflated = Vec::new();
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        decoder.take(most).read_to_end(&mut inflated).map_err(|_| {
            let name = self.name();
            Error::new(
                Kind::Invalid,
                format!("the body cannot be inflated: it is not {name}, or damaged"),
            )
        })?;
        if inflated.len() > limit {
            return Err(Error::new(
                Kind::TooLarge,
                format!(
                    "the body has more than {limit} bytes when inflated; no more are allowed \
                     (--max_body_bytes)"
                ),
            ));
        }
        Ok(Bytes::from(inflated))
    }

    /// An answer's body, encoded if that is worth it, with the header that says so.
    pub fn compress(self, body: Bytes) -> (Bytes, Option<HeaderValue>) {
        if body.len() < WORTH_COMPRESSING {
            return (body, None);
        }
        let written = match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(&body).and_then(|()| encoder.finish())
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(&body).and_then(|()| encoder.finish())
            }
        };
        match written {
            Ok(written) => (
                Bytes::from(written),
                Some(HeaderValue::from_static(self.name())),
            ),
            // Writing to memory does not fail; if it did, the plain body is an answer too.
            Err(_) => (body, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn what_is_asked_for() {
        let asked = |value| Encoding::asked(&headers(ACCEPT_ENCODING, value));
        assert_eq!(asked("gzip, deflate"), Some(Encoding::Gzip));
        assert_eq!(asked("deflate, gzip"), Some(Encoding::Deflate));
        assert_eq!(asked("gzip;q=0.5, deflate;q=0.8"), Some(Encoding::Deflate));
        assert_eq!(asked("br, GZIP"), Some(Encoding::Gzip));
        for none in ["", "*", "br", "identity", "gzip;q=0", "gzip;q=x"] {
            assert_eq!(asked(none), None, "{none}");
        }
        assert_eq!(Encoding::asked(&HeaderMap::new()), None);
    }

    #[test]
    fn what_a_request_says() {
        let of = |value| Encoding::of_request(&headers(CONTENT_ENCODING, value));
        assert_eq!(of("gzip").unwrap(), Some(Encoding::Gzip));
        assert_eq!(of("Identity").unwrap(), None);
        assert_eq!(of("br").unwrap_err().kind, Kind::UnsupportedEncoding);
        assert_eq!(
            of("gzip, gzip").unwrap_err().kind,
            Kind::UnsupportedEncoding
        );
    }

    #[test]
    fn there_and_back_within_the_limit() {
        let body = Bytes::from(vec![7; 5000]);
        for encoding in Encoding::ALL {
            let (written, header) = encoding.compress(body.clone());
            assert_eq!(header.unwrap(), encoding.name());
            assert!(written.len() < 200);
            assert_eq!(encoding.inflate(&written, 5000).unwrap(), body);
            let larger = encoding.inflate(&written, 4999).unwrap_err();
            assert_eq!(larger.kind, Kind::TooLarge);
            let half = &written[..written.len() / 2];
            assert_eq!(
                encoding.inflate(half, 5000).unwrap_err().kind,
                Kind::Invalid
            );
            let (small, header) = encoding.compress(Bytes::from_static(b"small"));
            assert_eq!((small.as_ref(), header), (b"small".as_slice(), None));
        }
    }
}
