//! The `data` of an input or output: JSON values in any nesting to the raw form of a tensor.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{ParseError, invalid};
use crate::wire::bytes_tensor::put_element;
use crate::wire::tensor::DataType;

/// Numbers that Triton reads and JSON does not have.
const NON_FINITE: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// The raw form of `data`: values, or strings each preceded by its length. Of unknown datatypes it is
/// empty; the reader of the message refuses them by name.
pub(super) fn contents(datatype: &str, data: &RawValue, place: &str) -> Result<Bytes, ParseError> {
    let mut raw = BytesMut::new();
    let Some(datatype) = DataType::from_name(datatype) else {
        return Ok(Bytes::new());
    };
    let flat = Flat {
        datatype,
        raw: &mut raw,
    };
    let mut json = serde_json::Deserializer::from_str(data.get());
    match flat.deserialize(&mut json) {
        Ok(()) => Ok(raw.freeze()),
        Err(_) => {
            let what = match datatype {
                DataType::Fp32 | DataType::Fp16 => "numbers",
                DataType::Bytes => "strings",
                DataType::Bool => "true or false",
                _ => "whole numbers of its range",
            };
            invalid(format!(
                "{place}.data: {datatype} data must be {what}, in lists of any nesting"
            ))
        }
    }
}

/// Appends what it visits, however deep.
struct Flat<'a> {
    datatype: DataType,
    raw: &'a mut BytesMut,
}

impl Flat<'_> {
    fn number<E: Error>(self, value: f64) -> Result<(), E> {
        match self.datatype {
            DataType::Fp32 => self.raw.put_f32_le(value as f32),
            DataType::Fp16 => self
                .raw
                .put_slice(&half::f16::from_f64(value).to_le_bytes()),
            _ => return Err(E::custom("a number")),
        }
        Ok(())
    }

    fn integer<E: Error>(self, value: i64) -> Result<(), E> {
        match self.datatype {
            DataType::Uint8 => self.raw.put_u8(u8::try_from(value).map_err(E::custom)?),
            DataType::Int8 => self.raw.put_i8(i8::try_from(value).map_err(E::custom)?),
            DataType::Int32 => self
                .raw
                .put_i32_le(i32::try_from(value).map_err(E::custom)?),
            DataType::Int64 => self.raw.put_i64_le(value),
            _ => return self.number(value as f64),
        }
        Ok(())
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
        let Self { datatype, raw } = self;
        while list
            .next_element_seed(Flat {
                datatype,
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
        match i64::try_from(value) {
            Ok(value) => self.integer(value),
            Err(_) => self.number(value as f64),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.integer(value)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.datatype {
            DataType::Bool => {
                self.raw.put_u8(u8::from(value));
                Ok(())
            }
            _ => Err(E::custom("a boolean")),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match (self.datatype, text) {
            (DataType::Bytes, _) => put_element(self.raw, text.as_bytes()).map_err(E::custom),
            (DataType::Fp32 | DataType::Fp16, "NaN") => self.number(f64::NAN),
            (DataType::Fp32 | DataType::Fp16, "Infinity") => self.number(f64::INFINITY),
            (DataType::Fp32 | DataType::Fp16, "-Infinity") => self.number(f64::NEG_INFINITY),
            _ => Err(E::custom("a string")),
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
