//! The Open Inference Protocol as JSON, with the binary tensor extension, to and from the
//! generated messages, as servers and as clients see it.
//!
//! A body may be JSON alone, or JSON whose length stands in a header and the raw tensors behind it
//! in the order of the inputs or outputs. Both become a message with raw contents; binary tensors
//! are cut from the body without copying.

mod data;
mod describe;
mod logging;
mod parameters;
pub mod request;
pub mod response;
pub mod schema;

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use super::bounds::MAX_TENSORS;

pub use self::logging::{log_settings, parse_log_settings};

pub use self::describe::{
    config, index, index_filter, metadata, parse_config, parse_metadata, server, statistics,
};

/// The header that says how much of a body is JSON; the rest is binary tensors.
pub const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// What is wrong with a body. The text names the place and never quotes what stands there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(String);

fn invalid<T>(text: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError(text.into()))
}

/// The value of [`JSON_LENGTH`], if it was sent.
///
/// # Errors
///
/// When it is not a number of bytes.
pub fn json_length(headers: &HeaderMap) -> Result<Option<usize>, ParseError> {
    let Some(value) = headers.get(JSON_LENGTH) else {
        return Ok(None);
    };
    let length = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    match length {
        Some(length) => Ok(Some(length)),
        None => invalid(
            "Inference-Header-Content-Length must be the number of bytes of JSON in front of the \
             binary data, 0 where there is none",
        ),
    }
}

/// The JSON of a body and the binary tensors behind it.
fn split_body(body: &Bytes, json_length: Option<usize>) -> Result<(Bytes, Bytes), ParseError> {
    let mut json = body.clone();
    match json_length {
        None => Ok((json, Bytes::new())),
        Some(length) if length <= json.len() => {
            let binary = json.split_off(length);
            Ok((json, binary))
        }
        Some(length) => invalid(format!(
            "Inference-Header-Content-Length is {length}, but the body has {} bytes",
            body.len()
        )),
    }
}

/// A list of at most `MAX` elements: a body of empty tensors would take many times its own size in
/// memory.
struct BoundedVec<T, const MAX: usize = MAX_TENSORS>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for BoundedVec<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(BoundedVisitor::<T, MAX>(PhantomData))
    }
}

struct BoundedVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for BoundedVisitor<T, MAX> {
    type Value = BoundedVec<T, MAX>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a list of at most {MAX}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<BoundedVec<T, MAX>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            if elements.len() == MAX {
                return Err(A::Error::custom("too many elements"));
            }
            elements.push(element);
        }
        Ok(BoundedVec(elements))
    }
}

#[cfg(test)]
mod tests;
