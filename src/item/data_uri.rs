//! `data:[mime][;param]*;base64,PAYLOAD` to bytes.
//!
//! The MIME type is not looked at: the bytes decide what the image is. Synchronous arithmetic
//! without I/O, for the pixel threads.
//!
//! A clean payload is decoded at memory speed straight into the caller's buffer. One with white
//! space or of mixed alphabets takes a second, lenient pass, which also finds where a payload is
//! wrong.

use super::{Error, ErrorKind};

const SCHEME: &[u8] = b"data:";

/// A buffer with a larger capacity gives the rest back at the next image.
const KEEP_BYTES: usize = 16 << 20;

/// Whether an item is a `data:` item.
pub fn is_data_uri(item: &[u8]) -> bool {
    item.get(..SCHEME.len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case(SCHEME))
}

/// Decodes the payload of a `data:` item into `out`, which is cleared first.
///
/// # Errors
///
/// When there is no base64 payload, it has an invalid character, or it holds more than `max_bytes`.
pub fn decode_into(item: &[u8], max_bytes: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    Payload::of(item)?.decode_into(max_bytes, out)
}

/// Decodes base64 without a scheme, as in KServe's `b64`, into `out`, which is cleared first.
///
/// # Errors
///
/// As [`decode_into`].
pub fn decode_base64_into(text: &[u8], max_bytes: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    Payload::from_offset(text, 0)?.decode_into(max_bytes, out)
}

/// The first `bytes` bytes (or fewer) of the payload of a `data:` item; none if its text there is not
/// plain base64.
pub(crate) fn decode_beginning(item: &[u8], bytes: usize) -> Option<Vec<u8>> {
    Payload::of(item).ok()?.decode_beginning(bytes)
}

/// The same of base64 without a scheme.
pub(crate) fn decode_base64_beginning(text: &[u8], bytes: usize) -> Option<Vec<u8>> {
    Payload::from_offset(text, 0).ok()?.decode_beginning(bytes)
}

/// Refuses an image of more than `max_bytes`.
///
/// # Errors
///
/// When `length` is more.
pub fn check_length(length: usize, max_bytes: usize) -> Result<(), Error> {
    if length <= max_bytes {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::TooLarge,
        format!("the image has more than {max_bytes} bytes (--max_item_bytes)"),
    ))
}

/// The base64 text of an item.
struct Payload<'a> {
    text: &'a [u8],
    /// Where it begins, in bytes of the item.
    begin: usize,
}

impl<'a> Payload<'a> {
    /// The text after the comma, without white space around it and without the `b'…'` that Python
    /// writes around bytes.
    fn of(item: &'a [u8]) -> Result<Self, Error> {
        let Some(comma) = memchr::memchr(b',', item) else {
            return Err(Error::refused(
                "the data: item has no comma; its form is data:[type];base64,PAYLOAD",
            ));
        };
        let mut parameters = item[..comma].rsplit(|&byte| byte == b';');
        let marker = parameters.next().unwrap_or_default();
        if !marker.trim_ascii().eq_ignore_ascii_case(b"base64") {
            return Err(Error::refused(
                "the data: item has no ;base64 before its comma; other encodings are not supported",
            ));
        }
        Self::from_offset(item, comma + 1)
    }

    /// The same from the byte `start` of an item.
    fn from_offset(item: &'a [u8], start: usize) -> Result<Self, Error> {
        let mut text = item[start..].trim_ascii();
        for (open, close) in [(&b"b'"[..], &b"'"[..]), (&b"b\""[..], &b"\""[..])] {
            if let Some(inner) = text.strip_prefix(open).and_then(|t| t.strip_suffix(close)) {
                text = inner.trim_ascii();
                break;
            }
        }
        if text.is_empty() {
            return Err(Error::refused("the base64 payload is empty"));
        }
        let begin = text.as_ptr().addr() - item.as_ptr().addr();
        Ok(Self { text, begin })
    }

    fn decode_beginning(&self, bytes: usize) -> Option<Vec<u8>> {
        let symbols = bytes.div_ceil(3) * 4;
        let text = &self.text[..self.text.len().min(symbols)];
        let begin = self.begin;
        let mut out = Vec::with_capacity(symbols / 4 * 3);
        Self { text, begin }.decode_clean(&mut out).then_some(out)
    }

    fn decode_into(&self, max_bytes: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        out.clear();
        self.check_size(max_bytes)?;
        if out.capacity() > KEEP_BYTES {
            out.shrink_to(KEEP_BYTES);
        }
        if self.decode_clean(out) {
            return Ok(());
        }
        self.decode_lenient(out)
    }

    /// Refuses more than `max_bytes` before memory is taken for them.
    fn check_size(&self, max_bytes: usize) -> Result<(), Error> {
        let bytes_of = |symbols: usize| symbols / 4 * 3 + (symbols % 4).saturating_sub(1);
        if bytes_of(self.text.len()) <= max_bytes {
            return Ok(());
        }
        // White space and padding are part of the length: count the symbols.
        let symbols = self
            .text
            .iter()
            .filter(|byte| !byte.is_ascii_whitespace() && **byte != b'=')
            .count();
        check_length(bytes_of(symbols), max_bytes)
    }

    /// Whether the whole text is plain base64 of one alphabet, padded or not; then it is in `out`.
    fn decode_clean(&self, out: &mut Vec<u8>) -> bool {
        let alphabets = if self.text.len().is_multiple_of(4) {
            [base64_simd::STANDARD, base64_simd::URL_SAFE]
        } else {
            [base64_simd::STANDARD_NO_PAD, base64_simd::URL_SAFE_NO_PAD]
        };
        alphabets
            .iter()
            .any(|alphabet| alphabet.decode_append(self.text, out).is_ok())
    }

    /// Symbol by symbol: both alphabets, white space, padding or none.
    fn decode_lenient(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.reserve_exact(self.text.len() / 4 * 3 + 3);
        let mut group = 0_u32;
        let mut symbols = 0_usize;
        let mut padding = 0_usize;
        for (index, &byte) in self.text.iter().enumerate() {
            match SYMBOLS[usize::from(byte)] {
                value @ 0..64 if padding == 0 => {
                    group = group << 6 | u32::from(value);
                    symbols += 1;
                    if symbols.is_multiple_of(4) {
                        out.extend_from_slice(&group.to_be_bytes()[1..]);
                        group = 0;
                    }
                }
                SPACE => {}
                PADDING if padding < padding_after(symbols) => padding += 1,
                _ => {
                    return Err(Error::refused(format!(
                        "the base64 payload has an invalid character at byte {} of the item (counted \
                         from 0)",
                        self.begin + index
                    )));
                }
            }
        }
        match symbols % 4 {
            1 => {
                return Err(Error::refused(
                    "the base64 payload is truncated: its last group has only one character",
                ));
            }
            2 => out.push((group >> 4) as u8),
            3 => out.extend_from_slice(&((group >> 2) as u16).to_be_bytes()),
            _ => {}
        }
        if out.is_empty() {
            return Err(Error::refused("the base64 payload is empty"));
        }
        Ok(())
    }
}

/// How many `=` may follow that many symbols.
fn padding_after(symbols: usize) -> usize {
    match symbols % 4 {
        2 => 2,
        3 => 1,
        _ => 0,
    }
}

const SPACE: u8 = 64;
const PADDING: u8 = 65;
const NEITHER: u8 = 66;

/// The value of each byte in either alphabet.
static SYMBOLS: [u8; 256] = {
    let mut table = [NEITHER; 256];
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut value = 0;
    while value < letters.len() {
        table[letters[value] as usize] = value as u8;
        value += 1;
    }
    table[b'+' as usize] = 62;
    table[b'-' as usize] = 62;
    table[b'/' as usize] = 63;
    table[b'_' as usize] = 63;
    table[b'=' as usize] = PADDING;
    table[b' ' as usize] = SPACE;
    table[b'\t' as usize] = SPACE;
    table[b'\n' as usize] = SPACE;
    table[b'\r' as usize] = SPACE;
    table[b'\x0c' as usize] = SPACE;
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    fn decode(item: &str) -> Result<Vec<u8>, Error> {
        let mut out = b"left from before".to_vec();
        decode_into(item.as_bytes(), LIMIT, &mut out).map(|()| out)
    }

    fn refusal(item: &str) -> String {
        let error = decode(item).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        error.to_string()
    }

    #[test]
    fn headers() {
        for head in [
            "data:;base64,",
            "data:image/jpeg;base64,",
            "data:image/jpeg;charset=utf-8;name=a;base64,",
            "data:no type at all;BASE64 ,",
            "DATA:image/png;base64,",
        ] {
            assert_eq!(decode(&format!("{head}aGVsbG8=")).unwrap(), b"hello");
        }
    }

    #[test]
    fn both_alphabets_padding_or_none_white_space_and_python() {
        let bytes = [0xfb, 0xef, 0xbe, 0xff, 0xfe, 0x00, 0x3f];
        for payload in [
            "++++//4APw==",
            "++++//4APw=",
            "++++//4APw",
            "----__4APw==",
            "-+-+_/4APw",
            " ++++\r\n//4A\tPw =\n= ",
            "b'++++//4APw=='",
            "b\"++++//4APw==\"",
            "b'----__4APw'\n",
            "b'++++//4APw==\n'",
        ] {
            assert_eq!(
                decode(&format!("data:image/png;base64,{payload}")).unwrap(),
                bytes,
                "{payload}"
            );
        }
    }

    #[test]
    fn every_length_both_ways() {
        let bytes: Vec<u8> = (0..300_u32).map(|n| (n * 167 + 13) as u8).collect();
        for length in 1..bytes.len() {
            let text = base64_simd::STANDARD.encode_to_string(&bytes[..length]);
            assert_eq!(
                decode(&format!("data:;base64,{text}")).unwrap(),
                bytes[..length]
            );
            let lines: Vec<_> = text.as_bytes().chunks(76).collect();
            let wrapped = String::from_utf8(lines.join(&b'\n')).unwrap();
            let unpadded = wrapped.trim_end_matches('=').replace('+', "-");
            assert_eq!(
                decode(&format!("data:;base64,{unpadded}")).unwrap(),
                bytes[..length]
            );
        }
    }

    #[test]
    fn bits_after_the_last_byte_are_ignored() {
        assert_eq!(decode("data:;base64,QR==").unwrap(), b"A");
        assert_eq!(decode("data:;base64,QUJD\nQUK").unwrap(), b"ABCAB");
    }

    #[test]
    fn an_invalid_character_is_reported_with_its_position() {
        for (item, place) in [
            ("data:;base64,aGVs*G8=", 17),
            ("data:;base64,aGVsbG8=aGVsbG8=", 21),
            ("data:;base64,=", 13),
            ("data:;base64,aG===", 17),
            ("data:;base64,aGVs====", 17),
            ("data:;base64,  aGVs%3D", 19),
            ("data:;base64,b'aGVs", 14),
            ("data:;base64,b'aGVs\"", 14),
            ("data:;base64,aGVs,aGVs", 17),
            ("data:;base64,aGVs\u{e9}", 17),
            ("data:;base64,aGVs\0", 17),
        ] {
            assert!(
                refusal(item).contains(&format!("at byte {place} of the item")),
                "{item}: {}",
                refusal(item)
            );
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for (item, word) in [
            ("data:", "no comma"),
            ("data:image/png;base64", "no comma"),
            ("data:,hello", ";base64"),
            ("data:text/plain,hello", ";base64"),
            ("data:image/png;base64;x=y,aGVsbG8=", ";base64"),
            ("data:image/png;base64,", "payload is empty"),
            ("data:image/png;base64, \n", "payload is empty"),
            ("data:image/png;base64,b''", "payload is empty"),
            ("data:image/png;base64,aGVsb", "truncated"),
            ("data:image/png;base64,a", "truncated"),
        ] {
            assert!(refusal(item).contains(word), "{item}: {}", refusal(item));
        }
    }

    #[test]
    fn base64_without_a_scheme() {
        let mut out = Vec::new();
        decode_base64_into(b"b'aGVsbG8='", 5, &mut out).unwrap();
        assert_eq!(out, b"hello");
        let refusal = decode_base64_into(b"aGV,", 5, &mut out).unwrap_err();
        assert!(refusal.to_string().contains("at byte 3"), "{refusal}");
        assert!(decode_base64_into(b"", 5, &mut out).is_err());
    }

    #[test]
    fn the_limit_is_exact_and_white_space_does_not_count() {
        let mut out = Vec::new();
        for (payload, bytes) in [
            ("AAAAAAAA", 6),
            ("AAAAAA==", 4),
            ("AAAAAA", 4),
            ("A A A A\n\n", 3),
        ] {
            let item = format!("data:;base64,{payload}");
            decode_into(item.as_bytes(), bytes, &mut out).unwrap();
            assert_eq!(out.len(), bytes);
            let error = decode_into(item.as_bytes(), bytes - 1, &mut out).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge);
            assert!(error.to_string().contains("--max_item_bytes"));
        }
        assert_eq!(out.len(), 0);
    }

    #[test]
    fn a_big_buffer_is_given_back() {
        let mut out = Vec::with_capacity(KEEP_BYTES * 2);
        decode_into(b"data:;base64,AAAA", LIMIT, &mut out).unwrap();
        assert!(out.capacity() <= KEEP_BYTES);
        let kept = out.as_ptr();
        decode_into(b"data:;base64,BBBB", LIMIT, &mut out).unwrap();
        assert_eq!(out.as_ptr(), kept);
    }
}
