//! The `data` of an input or output: JSON values in any nesting to the raw form of a tensor.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{ParseError, invalid};
use crate::wire::bytes_tensor::put_element;

/// Numbers that Triton reads and JSON does not have.
const NON_FINITE: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// The raw form of `data`: FP32 values, or strings each preceded by its length. Of other datatypes
/// it is empty; the reader of the message refuses them by name.
pub(super) fn contents(datatype: &str, data: &RawValue, place: &str) -> Result<Bytes, ParseError> {
    let mut raw = BytesMut::new();
    let (element, what) = match datatype {
        "FP32" => (Element::Fp32, "FP32 data must be numbers"),
        "BYTES" => (Element::Bytes, "BYTES data must be strings"),
        _ => return Ok(Bytes::new()),
    };
    let flat = Flat {
        element,
        raw: &mut raw,
    };
    let mut json = serde_json::Deserializer::from_str(data.get());
    match flat.deserialize(&mut json) {
        Ok(()) => Ok(raw.freeze()),
        Err(_) => invalid(format!("{place}.data: {what}, in lists of any nesting")),
    }
}

#[derive(Clone, Copy)]
enum Element {
    Fp32,
    Bytes,
}

/// Appends what it visits, however deep.
struct Flat<'a> {
    element: Element,
    raw: &'a mut BytesMut,
}

impl Flat<'_> {
    fn number<E: Error>(self, value: f64) -> Result<(), E> {
        match self.element {
            Element::Fp32 => {
                self.raw.put_f32_le(value as f32);
                Ok(())
            }
            Element::Bytes => Err(E::custom("a number")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Flat<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Flat<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("values in lists")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { element, raw } = self;
        while list
            .next_element_seed(Flat {
                element,
                raw: &mut *raw,
            })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.number(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.number(value as f64)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.number(value as f64)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match (self.element, text) {
            (Element::Bytes, _) => put_element(self.raw, text.as_bytes()).map_err(E::custom),
            (Element::Fp32, "NaN") => self.number(f64::NAN),
            (Element::Fp32, "Infinity") => self.number(f64::INFINITY),
            (Element::Fp32, "-Infinity") => self.number(f64::NEG_INFINITY),
            (Element::Fp32, _) => Err(E::custom("a string")),
        }
    }
}

/// JSON that failed by `error`, with NaN and Infinity in quotes, which Triton reads and writes and
/// JSON does not have; nothing if they are not what is wrong with it.
pub(super) fn quote_non_finite(json: &[u8], error: &serde_json::Error) -> Option<Vec<u8>> {
    if !error.is_syntax() {
        return None;
    }
    let mut quoted = Vec::with_capacity(json.len() + 64);
    let mut rest = json;
    let mut found = false;
    while let Some(&byte) = rest.first() {
        let word = NON_FINITE
            .into_iter()
            .find(|word| rest.starts_with(word.as_bytes()));
        let length = match word {
            Some(word) => {
                found = true;
                quoted.push(b'"');
                quoted.extend_from_slice(word.as_bytes());
                quoted.push(b'"');
                rest = &rest[word.len()..];
                continue;
            }
            None if byte == b'"' => string_length(rest),
            None => 1,
        };
        quoted.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
    }
    found.then_some(quoted)
}

/// Bytes of the string that begins here, with its quotes; all there is if it does not end.
fn string_length(json: &[u8]) -> usize {
    let mut escaped = false;
    for (index, &byte) in json.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    json.len()
}
