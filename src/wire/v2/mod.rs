//! The Open Inference Protocol as JSON, with the binary tensor extension, to and from the
//! generated messages. What the tensors mean is not known here.
//!
//! A body may be JSON alone, or JSON whose length stands in a header and the raw tensors behind it
//! in the order of the inputs. Both become a message with raw contents; binary tensors are cut
//! from the body without copying.

mod data;
mod describe;
mod response;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

pub use self::describe::{config, index, metadata, server, statistics};
pub use self::response::{Answer, answer};
use super::triton::infer_parameter::ParameterChoice;
use super::triton::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use super::triton::{InferParameter, ModelInferRequest};

/// What is wrong with a body. The text names the place and never quotes what stands there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(String);

fn wrong<T>(text: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError(text.into()))
}

/// An inference request as it was sent.
#[derive(Debug)]
pub struct Infer {
    /// The message, with raw contents; model and version are the path's and left empty.
    pub message: ModelInferRequest,
    /// Whether BYTES elements were JSON strings.
    pub strings: bool,
    /// How the answer is wanted.
    pub form: Form,
}

/// Which outputs are wanted as binary data behind the JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    binary: bool,
    outputs: HashMap<String, bool>,
}

impl Form {
    fn is_binary(&self, output: &str) -> bool {
        self.outputs.get(output).copied().unwrap_or(self.binary)
    }
}

#[derive(serde::Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    inputs: Option<Few<Input<'a>>>,
    #[serde(borrow)]
    outputs: Option<Few<Output<'a>>>,
}

#[derive(serde::Deserialize)]
struct Input<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    datatype: Option<&'a RawValue>,
    #[serde(borrow)]
    shape: Option<&'a RawValue>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(serde::Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
}

/// A list of tensors. No model has more than a few, and a body of empty ones would take many times
/// its own size.
struct Few<T>(Vec<T>);

const MAX_TENSORS: usize = 64;

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FewVisitor(PhantomData))
    }
}

struct FewVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FewVisitor<T> {
    type Value = Few<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of tensors")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Few<T>, A::Error> {
        let mut tensors = Vec::new();
        while let Some(tensor) = list.next_element()? {
            if tensors.len() == MAX_TENSORS {
                return Err(A::Error::custom("too many tensors"));
            }
            tensors.push(tensor);
        }
        Ok(Few(tensors))
    }
}

/// Reads a body. `json_length` is the value of `Inference-Header-Content-Length`, if it was sent.
///
/// # Errors
///
/// What is malformed, and where.
pub fn parse(body: &Bytes, json_length: Option<usize>) -> Result<Infer, ParseError> {
    let json_length = json_length.unwrap_or(body.len());
    if json_length > body.len() {
        return wrong(format!(
            "Inference-Header-Content-Length is {json_length}, but the body has {} bytes",
            body.len()
        ));
    }
    let json = &body[..json_length];
    let binary = body.slice(json_length..);
    if json.trim_ascii().is_empty() {
        return wrong("the body is empty; an inference request is a JSON object with inputs");
    }
    match serde_json::from_slice(json) {
        Ok(parsed) => request(parsed, binary),
        // Triton reads NaN and Infinity, which JSON does not have.
        Err(error) if error.is_syntax() => match data::quote_non_finite(json) {
            Some(quoted) => match serde_json::from_slice(&quoted) {
                Ok(parsed) => request(parsed, binary),
                Err(_) => Err(malformed(&error)),
            },
            None => Err(malformed(&error)),
        },
        Err(error) => Err(malformed(&error)),
    }
}

/// serde's own text may quote what it found.
fn malformed(error: &serde_json::Error) -> ParseError {
    let what = if error.is_data() {
        "the body must be a JSON object, its inputs and outputs lists of at most 64 objects, each key once"
    } else {
        "the body is not JSON"
    };
    let (line, column) = (error.line(), error.column());
    ParseError(format!("{what} (line {line}, column {column})"))
}

fn request(body: Body<'_>, mut binary: Bytes) -> Result<Infer, ParseError> {
    let Some(Few(given)) = body.inputs else {
        return wrong("inputs is missing: a list of tensors");
    };
    let mut inputs = Vec::with_capacity(given.len());
    let mut raw_input_contents = Vec::with_capacity(given.len());
    let mut strings = false;
    for (index, input) in given.into_iter().enumerate() {
        let place = format!("inputs[{index}]");
        let parameters = parameters(input.parameters, &place)?;
        let datatype = text(input.datatype, &format!("{place}.datatype"))?;
        let contents = match (input.data, binary_size(&parameters, &place)?) {
            (Some(_), Some(_)) => {
                return wrong(format!("{place} has both data and binary_data_size"));
            }
            // Its values lie elsewhere; who reads the message refuses that.
            (None, None)
                if parameters
                    .keys()
                    .any(|key| key.starts_with("shared_memory_")) =>
            {
                Bytes::new()
            }
            (None, None) => {
                return wrong(format!("{place} has neither data nor binary_data_size"));
            }
            (None, Some(size)) if size <= binary.len() => binary.split_to(size),
            (None, Some(size)) => {
                return wrong(format!(
                    "{place}: binary_data_size is {size}, but {} bytes are left in the body",
                    binary.len()
                ));
            }
            (Some(data), None) => {
                strings = true;
                data::contents(&datatype, data, &place)?
            }
        };
        raw_input_contents.push(contents);
        inputs.push(InferInputTensor {
            name: text(input.name, &format!("{place}.name"))?,
            datatype,
            shape: shape(input.shape, &place)?,
            parameters,
            contents: None,
        });
    }
    if !binary.is_empty() {
        return wrong(format!(
            "{} bytes are left in the body behind the last input",
            binary.len()
        ));
    }
    let parameters = parameters(body.parameters, "the body")?;
    let mut form = Form {
        binary: flag(&parameters, "binary_data_output", "the body")?.unwrap_or(false),
        outputs: HashMap::new(),
    };
    let outputs = outputs(
        body.outputs.map_or_else(Vec::new, |Few(outputs)| outputs),
        &mut form,
    )?;
    let message = ModelInferRequest {
        id: match body.id {
            Some(id) => text(Some(id), "id")?,
            None => String::new(),
        },
        parameters,
        inputs,
        outputs,
        raw_input_contents,
        ..Default::default()
    };
    Ok(Infer {
        message,
        strings,
        form,
    })
}

fn outputs(
    given: Vec<Output<'_>>,
    form: &mut Form,
) -> Result<Vec<InferRequestedOutputTensor>, ParseError> {
    let mut outputs = Vec::with_capacity(given.len());
    for (index, output) in given.into_iter().enumerate() {
        let place = format!("outputs[{index}]");
        let name = text(output.name, &format!("{place}.name"))?;
        let parameters = parameters(output.parameters, &place)?;
        if let Some(binary) = flag(&parameters, "binary_data", &place)? {
            form.outputs.insert(name.clone(), binary);
        }
        outputs.push(InferRequestedOutputTensor { name, parameters });
    }
    Ok(outputs)
}

/// Whether only models that are ready are asked for, by the body of a repository index; an empty
/// one asks for all.
///
/// # Errors
///
/// When it is something else than JSON's object with a boolean.
pub fn index_filter(body: &[u8]) -> Result<bool, ParseError> {
    #[derive(serde::Deserialize)]
    struct Filter {
        ready: Option<bool>,
    }
    if body.trim_ascii().is_empty() {
        return Ok(false);
    }
    match serde_json::from_slice::<Filter>(body) {
        Ok(filter) => Ok(filter.ready.unwrap_or(false)),
        Err(_) => wrong("the body must be a JSON object; its key ready, if any, a boolean"),
    }
}

fn text(value: Option<&RawValue>, place: &str) -> Result<String, ParseError> {
    let Some(value) = value else {
        return wrong(format!("{place} is missing"));
    };
    match serde_json::from_str::<Cow<'_, str>>(value.get()) {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => wrong(format!("{place} must be a string")),
    }
}

fn shape(value: Option<&RawValue>, place: &str) -> Result<Vec<i64>, ParseError> {
    let Some(value) = value else {
        return wrong(format!("{place}.shape is missing"));
    };
    serde_json::from_str(value.get())
        .or_else(|_| wrong(format!("{place}.shape must be a list of integers")))
}

type Parameters = HashMap<String, InferParameter>;

fn parameters(value: Option<&RawValue>, place: &str) -> Result<Parameters, ParseError> {
    let Some(value) = value else {
        return Ok(Parameters::new());
    };
    let Ok(values) = serde_json::from_str::<HashMap<String, Value>>(value.get()) else {
        return wrong(format!("{place}: parameters must be an object"));
    };
    let parameter = |(key, value): (String, Value)| {
        let choice = match value {
            Value::Bool(value) => ParameterChoice::BoolParam(value),
            Value::String(value) => ParameterChoice::StringParam(value),
            Value::Number(value) => match (value.as_i64(), value.as_f64()) {
                (Some(value), _) => ParameterChoice::Int64Param(value),
                (None, value) => ParameterChoice::DoubleParam(value.unwrap_or(f64::NAN)),
            },
            _ => {
                return wrong(format!(
                    "{place}: parameter {key:?} must be a string, a number or a boolean"
                ));
            }
        };
        let parameter = InferParameter {
            parameter_choice: Some(choice),
        };
        Ok((key, parameter))
    };
    values.into_iter().map(parameter).collect()
}

fn flag(parameters: &Parameters, key: &str, place: &str) -> Result<Option<bool>, ParseError> {
    match parameters.get(key).map(|value| &value.parameter_choice) {
        None => Ok(None),
        Some(Some(ParameterChoice::BoolParam(value))) => Ok(Some(*value)),
        Some(_) => wrong(format!("{place}: parameter {key:?} must be a boolean")),
    }
}

fn binary_size(parameters: &Parameters, place: &str) -> Result<Option<usize>, ParseError> {
    let key = "binary_data_size";
    match parameters.get(key).map(|value| &value.parameter_choice) {
        None => Ok(None),
        Some(Some(ParameterChoice::Int64Param(size))) if *size >= 0 => {
            Ok(Some(usize::try_from(*size).unwrap_or(usize::MAX)))
        }
        Some(_) => wrong(format!("{place}: parameter {key:?} must be a byte count")),
    }
}

#[cfg(test)]
mod tests;
