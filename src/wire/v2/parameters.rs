//! The parameters of a request or a tensor: scalars by name. What they hold is bounded while it is
//! read, and what is not a scalar is not kept.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{MAX_TENSORS, ParseError, invalid};
use crate::wire::triton::InferParameter;
use crate::wire::triton::infer_parameter::ParameterChoice;

pub(super) type Parameters = HashMap<String, InferParameter>;

/// Reads the parameters of what stands at `place`.
pub(super) fn parse(value: Option<&RawValue>, place: &str) -> Result<Parameters, ParseError> {
    let Some(value) = value else {
        return Ok(Parameters::new());
    };
    let Ok(Bounded(values)) = serde_json::from_str(value.get()) else {
        return invalid(format!(
            "{place}: parameters must be an object of at most {MAX_TENSORS} values"
        ));
    };
    let parameter = |(key, value): (String, Scalar)| match value {
        Scalar(Some(choice)) => Ok((
            key,
            InferParameter {
                parameter_choice: Some(choice),
            },
        )),
        Scalar(None) => invalid(format!(
            "{place}: parameter {key:?} must be a string, a number or a boolean"
        )),
    };
    values.into_iter().map(parameter).collect()
}

/// A parameter that must be a boolean, if it is there.
pub(super) fn flag(
    parameters: &Parameters,
    key: &str,
    place: &str,
) -> Result<Option<bool>, ParseError> {
    match parameters.get(key).map(|value| &value.parameter_choice) {
        None => Ok(None),
        Some(Some(ParameterChoice::BoolParam(value))) => Ok(Some(*value)),
        Some(_) => invalid(format!("{place}: parameter {key:?} must be a boolean")),
    }
}

/// `binary_data_size`, if it is there.
pub(super) fn binary_size(
    parameters: &Parameters,
    place: &str,
) -> Result<Option<usize>, ParseError> {
    let key = "binary_data_size";
    match parameters.get(key).map(|value| &value.parameter_choice) {
        None => Ok(None),
        Some(Some(ParameterChoice::Int64Param(size))) if *size >= 0 => {
            Ok(Some(usize::try_from(*size).unwrap_or(usize::MAX)))
        }
        Some(_) => invalid(format!("{place}: parameter {key:?} must be a byte count")),
    }
}

struct Bounded(HashMap<String, Scalar>);

impl<'de> Deserialize<'de> for Bounded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BoundedVisitor)
    }
}

struct BoundedVisitor;

impl<'de> Visitor<'de> for BoundedVisitor {
    type Value = Bounded;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Bounded, A::Error> {
        let mut values = HashMap::new();
        while let Some((key, value)) = map.next_entry()? {
            values.insert(key, value);
            if values.len() > MAX_TENSORS {
                return Err(A::Error::custom("too many parameters"));
            }
        }
        Ok(Bounded(values))
    }
}

/// A scalar, or nothing in the place of anything else.
struct Scalar(Option<ParameterChoice>);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a scalar")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar(Some(ParameterChoice::BoolParam(value))))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar(Some(ParameterChoice::Int64Param(value))))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar(Some(match i64::try_from(value) {
            Ok(value) => ParameterChoice::Int64Param(value),
            Err(_) => ParameterChoice::DoubleParam(value as f64),
        })))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar(Some(ParameterChoice::DoubleParam(value))))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Scalar, E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E>(self, value: String) -> Result<Scalar, E> {
        Ok(Scalar(Some(ParameterChoice::StringParam(value))))
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar(None))
    }
}
