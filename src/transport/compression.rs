//! Bodies in gzip or deflate: requests and gRPC messages are inflated within the body limit,
//! responses are compressed for callers that accept it.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderMap, HeaderValue};

use super::BodyError;

/// Smaller responses are sent as they are: they fit one packet either way, and HTTP libraries offer
/// to inflate by habit.
const WORTH_COMPRESSING: usize = 1024;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
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

    /// The encoding of this name, as `content-encoding` and `grpc-encoding` write it.
    pub(super) fn parse(name: &str) -> Option<Self> {
        // The old name is the same thing (RFC 9110).
        if name.eq_ignore_ascii_case("x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL
            .into_iter()
            .find(|encoding| encoding.name().eq_ignore_ascii_case(name))
    }

    /// How a request's body is encoded; nothing if it is as it is.
    pub(super) fn of_request(headers: &HeaderMap) -> Result<Option<Self>, BodyError> {
        let Some(value) = headers.get(CONTENT_ENCODING) else {
            return Ok(None);
        };
        let name = value.to_str().unwrap_or_default().trim();
        if name.is_empty() || name.eq_ignore_ascii_case("identity") {
            return Ok(None);
        }
        let encoding = Self::parse(name).ok_or(BodyError::UnsupportedEncoding)?;
        Ok(Some(encoding))
    }

    /// What a response is to be encoded in: the best by the weights of `accept-encoding`, of equals
    /// the first; nothing if none is accepted.
    pub(crate) fn accepted(headers: &HeaderMap) -> Option<Self> {
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

    /// Appends the body as it was before it was encoded, of at most `limit` bytes, to what
    /// `inflated` holds.
    pub(crate) fn inflate_into(
        self,
        body: &[u8],
        limit: usize,
        inflated: &mut Vec<u8>,
    ) -> Result<(), BodyError> {
        let decoder: &mut dyn Read = match self {
            // A body may be several members, one behind the other.
            Self::Gzip => &mut MultiGzDecoder::new(body),
            Self::Deflate => &mut ZlibDecoder::new(body),
        };
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        let read = decoder.take(most).read_to_end(inflated);
        let bytes = read.map_err(|_| BodyError::Damaged {
            encoding: self.name(),
        })?;
        if bytes > limit {
            return Err(BodyError::TooLarge {
                what: "inflated body",
                bytes,
                limit,
            });
        }
        Ok(())
    }

    /// A response's body, encoded if that is worth it, with the header that says so.
    pub(crate) fn compress(self, body: Bytes) -> (Bytes, Option<HeaderValue>) {
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
            // Writing to memory does not fail; if it did, the plain body is a response too.
            Err(_) => (body, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflate(encoding: Encoding, body: &[u8], limit: usize) -> Result<Vec<u8>, BodyError> {
        let mut inflated = Vec::new();
        encoding.inflate_into(body, limit, &mut inflated)?;
        Ok(inflated)
    }

    fn headers(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn the_best_of_what_is_accepted() {
        let accepted = |value| Encoding::accepted(&headers(ACCEPT_ENCODING, value));
        assert_eq!(accepted("gzip, deflate"), Some(Encoding::Gzip));
        assert_eq!(accepted("deflate, gzip"), Some(Encoding::Deflate));
        assert_eq!(
            accepted("gzip;q=0.5, deflate;q=0.8"),
            Some(Encoding::Deflate)
        );
        assert_eq!(accepted("br, GZIP"), Some(Encoding::Gzip));
        for none in ["", "*", "br", "identity", "gzip;q=0", "gzip;q=x"] {
            assert_eq!(accepted(none), None, "{none}");
        }
        assert_eq!(Encoding::accepted(&HeaderMap::new()), None);
    }

    #[test]
    fn what_a_request_says() {
        let of = |value| Encoding::of_request(&headers(CONTENT_ENCODING, value));
        assert_eq!(of("gzip").unwrap(), Some(Encoding::Gzip));
        assert_eq!(of("x-gzip").unwrap(), Some(Encoding::Gzip));
        assert_eq!(of("Identity").unwrap(), None);
        for unknown in ["br", "gzip, gzip"] {
            let error = of(unknown).unwrap_err();
            assert!(matches!(error, BodyError::UnsupportedEncoding), "{unknown}");
        }
    }

    #[test]
    fn gzip_of_several_members_is_one_body() {
        let part = Bytes::from(vec![7; 2000]);
        let (member, _) = Encoding::Gzip.compress(part);
        let members = [member.as_ref(), member.as_ref()].concat();
        let inflated = inflate(Encoding::Gzip, &members, 4000).unwrap();
        assert_eq!(inflated, [7; 4000]);
        assert!(inflate(Encoding::Gzip, &members, 3999).is_err());
    }

    #[test]
    fn there_and_back_within_the_limit() {
        let body = Bytes::from(vec![7; 5000]);
        for encoding in Encoding::ALL {
            let (written, header) = encoding.compress(body.clone());
            assert_eq!(header.unwrap(), encoding.name());
            assert!(written.len() < 200);
            assert_eq!(inflate(encoding, &written, 5000).unwrap(), body);
            let larger = inflate(encoding, &written, 4999).unwrap_err();
            assert!(matches!(larger, BodyError::TooLarge { bytes: 5000, .. }));
            let half = &written[..written.len() / 2];
            let damaged = inflate(encoding, half, 5000).unwrap_err();
            assert!(matches!(damaged, BodyError::Damaged { .. }));
            let (small, header) = encoding.compress(Bytes::from_static(b"small"));
            assert_eq!((small.as_ref(), header), (b"small".as_slice(), None));
        }
    }
}
