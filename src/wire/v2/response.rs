//! An inference response: written as a server does, with the outputs that are wanted so as binary
//! data behind the JSON, and read as a client does.

use std::collections::HashMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{BoundedVec, ParseError, data, invalid, split_body};
use crate::wire::contents::{from_raw, to_raw};
use crate::wire::tensor::{DataType, fp16, fp32};
use crate::wire::triton::ModelInferResponse;
use crate::wire::triton::model_infer_response::InferOutputTensor;

/// Which outputs are wanted as binary data behind the JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputEncoding {
    /// Those that are not named below.
    pub(super) binary: bool,
    pub(super) outputs: HashMap<String, bool>,
}

impl OutputEncoding {
    pub(super) fn is_binary(&self, output: &str) -> bool {
        self.outputs.get(output).copied().unwrap_or(self.binary)
    }
}

/// A body, and how much of it is JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedResponse {
    /// The JSON, and the binary data behind it.
    pub body: Bytes,
    /// Bytes of the JSON, if there is binary data: the value of [`JSON_LENGTH`](super::JSON_LENGTH).
    pub json_length: Option<usize>,
}

/// Writes a response, whose outputs may be raw or typed, in Triton's order of keys.
///
/// # Errors
///
/// serde_json's, which strings and numbers do not cause.
pub fn to_json(
    response: &ModelInferResponse,
    encoding: &OutputEncoding,
) -> serde_json::Result<EncodedResponse> {
    let mut json = Vec::with_capacity(256);
    let mut binary: Vec<Bytes> = Vec::new();
    json.push(b'{');
    if !response.id.is_empty() {
        json.extend_from_slice(b"\"id\":");
        serde_json::to_writer(&mut json, &response.id)?;
        json.push(b',');
    }
    json.extend_from_slice(b"\"model_name\":");
    serde_json::to_writer(&mut json, &response.model_name)?;
    json.extend_from_slice(b",\"model_version\":");
    serde_json::to_writer(&mut json, &response.model_version)?;
    json.extend_from_slice(b",\"outputs\":[");
    for (index, output) in response.outputs.iter().enumerate() {
        let raw = match response.raw_output_contents.get(index) {
            Some(raw) => raw.clone(),
            None => raw_of(output),
        };
        json.extend_from_slice(if index == 0 {
            b"{\"name\":"
        } else {
            b",{\"name\":"
        });
        serde_json::to_writer(&mut json, &output.name)?;
        json.extend_from_slice(b",\"datatype\":");
        serde_json::to_writer(&mut json, &output.datatype)?;
        json.extend_from_slice(b",\"shape\":");
        serde_json::to_writer(&mut json, &output.shape)?;
        if encoding.is_binary(&output.name) {
            let size = raw.len();
            let parameters = format!(",\"parameters\":{{\"binary_data_size\":{size}}}}}");
            json.extend_from_slice(parameters.as_bytes());
            binary.push(raw);
        } else {
            json.extend_from_slice(b",\"data\":[");
            values(&mut json, &output.datatype, &raw)?;
            json.extend_from_slice(b"]}");
        }
    }
    json.extend_from_slice(b"]}");
    let json_length = (!binary.is_empty()).then_some(json.len());
    for raw in binary {
        json.extend_from_slice(&raw);
    }
    Ok(EncodedResponse {
        body: Bytes::from(json),
        json_length,
    })
}

/// The bytes of an output that is typed.
fn raw_of(output: &InferOutputTensor) -> Bytes {
    let datatype = DataType::from_name(&output.datatype);
    let raw = datatype.zip(output.contents.as_ref());
    raw.and_then(|(datatype, typed)| to_raw(datatype, typed))
        .unwrap_or_default()
}

/// Values of this datatype with commas between them.
fn values(json: &mut Vec<u8>, datatype: &str, raw: &Bytes) -> serde_json::Result<()> {
    let Some(datatype) = DataType::from_name(datatype) else {
        return Ok(());
    };
    let typed = match datatype {
        DataType::Fp32 => return list(json, fp32(raw), number),
        DataType::Fp16 => return list(json, fp16(raw), number),
        other => from_raw(other, raw.clone()),
    };
    match datatype {
        DataType::Bool => list(json, typed.bool_contents, write),
        DataType::Uint8 => list(json, typed.uint_contents, write),
        DataType::Int64 => list(json, typed.int64_contents, write),
        DataType::Bytes => list(json, typed.bytes_contents, |json, element| {
            write(json, String::from_utf8_lossy(&element))
        }),
        _ => list(json, typed.int_contents, write),
    }
}

fn list<T>(
    json: &mut Vec<u8>,
    values: impl IntoIterator<Item = T>,
    write: impl Fn(&mut Vec<u8>, T) -> serde_json::Result<()>,
) -> serde_json::Result<()> {
    for (index, value) in values.into_iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        write(json, value)?;
    }
    Ok(())
}

fn write(json: &mut Vec<u8>, value: impl Serialize) -> serde_json::Result<()> {
    serde_json::to_writer(json, &value)
}

/// FP32 widened to a double, as in every protocol here; what JSON has no number for is written as
/// Triton writes it.
fn number(json: &mut Vec<u8>, value: f32) -> serde_json::Result<()> {
    if value.is_finite() {
        return serde_json::to_writer(json, &f64::from(value));
    }
    json.extend_from_slice(if value.is_nan() {
        b"NaN"
    } else if value > 0.0 {
        b"Infinity"
    } else {
        b"-Infinity"
    });
    Ok(())
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    outputs: Option<BoundedVec<Output<'a>>>,
}

#[derive(Deserialize)]
struct Output<'a> {
    name: Option<String>,
    datatype: Option<String>,
    shape: Option<Vec<i64>>,
    parameters: Option<Parameters>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Parameters {
    binary_data_size: Option<usize>,
}

/// Reads a response into a message with raw contents. Only the values of the outputs that are
/// `wanted` by name are read; those of others, which some servers send unasked, stay empty if they
/// are JSON. Null is like absent. `json_length` is the value of [`JSON_LENGTH`](super::JSON_LENGTH).
///
/// # Errors
///
/// What is malformed, and where.
pub fn parse(
    body: &Bytes,
    json_length: Option<usize>,
    wanted: impl Fn(&str) -> bool,
) -> Result<ModelInferResponse, ParseError> {
    let (json, mut binary) = split_body(body, json_length)?;
    let quoted;
    let parsed: Body<'_> = match serde_json::from_slice(&json) {
        Ok(parsed) => parsed,
        Err(error) => {
            quoted = data::quote_non_finite(&json, &error).ok_or_else(|| malformed(&error))?;
            serde_json::from_slice(&quoted).map_err(|_| malformed(&error))?
        }
    };
    let mut response = ModelInferResponse::default();
    let outputs = parsed
        .outputs
        .map_or_else(Vec::new, |BoundedVec(list)| list);
    for (index, output) in outputs.into_iter().enumerate() {
        let place = format!("outputs[{index}]");
        let name = output.name.unwrap_or_default();
        let datatype = output.datatype.unwrap_or_default();
        let size = output.parameters.and_then(|given| given.binary_data_size);
        let contents = match (size, output.data) {
            (Some(size), _) if size <= binary.len() => binary.split_to(size),
            (Some(size), _) => {
                return invalid(format!(
                    "{place}: binary_data_size is {size}, but {} bytes are left in the body",
                    binary.len()
                ));
            }
            (None, _) if !wanted(&name) => Bytes::new(),
            (None, Some(data)) => data::contents(&datatype, data, &place)?,
            (None, None) => {
                return invalid(format!("{place} has neither data nor binary_data_size"));
            }
        };
        response.raw_output_contents.push(contents);
        response.outputs.push(InferOutputTensor {
            name,
            datatype,
            shape: output.shape.unwrap_or_default(),
            ..InferOutputTensor::default()
        });
    }
    Ok(response)
}

/// serde's own text may quote what it found.
fn malformed(error: &serde_json::Error) -> ParseError {
    let what = if error.is_data() {
        "the body is not an inference response with a list of outputs"
    } else {
        "the body is not JSON"
    };
    let (line, column) = (error.line(), error.column());
    ParseError(format!("{what} (line {line}, column {column})"))
}
