//! An inference request: read as a server does, and written as a client does.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::response::OutputEncoding;
use super::{BoundedVec, MAX_TENSORS, ParseError, data, invalid, parameters, split_body};
use crate::wire::bounds::MAX_AXES;
use crate::wire::triton::infer_parameter::ParameterChoice;
use crate::wire::triton::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::wire::triton::{InferParameter, ModelInferRequest};

/// An inference request as it was sent.
#[derive(Debug)]
pub struct InferRequest {
    /// The message, with raw contents; model and version are the path's and left empty.
    pub message: ModelInferRequest,
    /// Whether BYTES elements were JSON strings.
    pub base64_elements: bool,
    /// How the outputs of the response are wanted.
    pub encoding: OutputEncoding,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    inputs: Option<BoundedVec<Input<'a>>>,
    #[serde(borrow)]
    outputs: Option<BoundedVec<Output<'a>>>,
}

#[derive(Deserialize)]
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

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
}

/// Reads a body. `json_length` is the value of `Inference-Header-Content-Length`, if it was sent.
///
/// # Errors
///
/// What is malformed, and where.
pub fn parse(body: &Bytes, json_length: Option<usize>) -> Result<InferRequest, ParseError> {
    let (json, binary) = split_body(body, json_length)?;
    if json.trim_ascii().is_empty() {
        return invalid("the body is empty; an inference request is a JSON object with inputs");
    }
    let quoted;
    let parsed = match serde_json::from_slice(&json) {
        Ok(parsed) => parsed,
        Err(error) => {
            quoted = data::quote_non_finite(&json, &error).ok_or_else(|| malformed(&error))?;
            serde_json::from_slice(&quoted).map_err(|_| malformed(&error))?
        }
    };
    request(parsed, binary)
}

/// serde's own text may quote what it found.
fn malformed(error: &serde_json::Error) -> ParseError {
    let what = if error.is_data() {
        format!(
            "the body must be a JSON object, its inputs and outputs lists of at most {MAX_TENSORS} \
             objects, each key once"
        )
    } else {
        "the body is not JSON".to_owned()
    };
    let (line, column) = (error.line(), error.column());
    ParseError(format!("{what} (line {line}, column {column})"))
}

fn request(body: Body<'_>, mut binary: Bytes) -> Result<InferRequest, ParseError> {
    let Some(BoundedVec(given)) = body.inputs else {
        return invalid("inputs is missing: a list of tensors");
    };
    let mut inputs = Vec::with_capacity(given.len());
    let mut raw_input_contents = Vec::with_capacity(given.len());
    let mut base64_elements = false;
    for (index, input) in given.into_iter().enumerate() {
        let place = format!("inputs[{index}]");
        let parameters = parameters::parse(input.parameters, &place)?;
        let datatype = text(input.datatype, &format!("{place}.datatype"))?;
        let contents = match (input.data, parameters::binary_size(&parameters, &place)?) {
            (Some(_), Some(_)) => {
                return invalid(format!("{place} has both data and binary_data_size"));
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
                return invalid(format!("{place} has neither data nor binary_data_size"));
            }
            (None, Some(size)) if size <= binary.len() => binary.split_to(size),
            (None, Some(size)) => {
                return invalid(format!(
                    "{place}: binary_data_size is {size}, but {} bytes are left in the body",
                    binary.len()
                ));
            }
            (Some(data), None) => {
                base64_elements = true;
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
        return invalid(format!(
            "{} bytes are left in the body behind the last input",
            binary.len()
        ));
    }
    let parameters = parameters::parse(body.parameters, "the body")?;
    let mut encoding = OutputEncoding {
        binary: parameters::flag(&parameters, "binary_data_output", "the body")?.unwrap_or(false),
        outputs: HashMap::new(),
    };
    let outputs = outputs(
        body.outputs
            .map_or_else(Vec::new, |BoundedVec(outputs)| outputs),
        &mut encoding,
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
    Ok(InferRequest {
        message,
        base64_elements,
        encoding,
    })
}

fn outputs(
    given: Vec<Output<'_>>,
    encoding: &mut OutputEncoding,
) -> Result<Vec<InferRequestedOutputTensor>, ParseError> {
    let mut outputs = Vec::with_capacity(given.len());
    for (index, output) in given.into_iter().enumerate() {
        let place = format!("outputs[{index}]");
        let name = text(output.name, &format!("{place}.name"))?;
        let parameters = parameters::parse(output.parameters, &place)?;
        if let Some(binary) = parameters::flag(&parameters, "binary_data", &place)? {
            encoding.outputs.insert(name.clone(), binary);
        }
        outputs.push(InferRequestedOutputTensor { name, parameters });
    }
    Ok(outputs)
}

fn text(value: Option<&RawValue>, place: &str) -> Result<String, ParseError> {
    let Some(value) = value else {
        return invalid(format!("{place} is missing"));
    };
    match serde_json::from_str::<Cow<'_, str>>(value.get()) {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => invalid(format!("{place} must be a string")),
    }
}

fn shape(value: Option<&RawValue>, place: &str) -> Result<Vec<i64>, ParseError> {
    let Some(value) = value else {
        return invalid(format!("{place}.shape is missing"));
    };
    match serde_json::from_str(value.get()) {
        Ok(BoundedVec::<i64, MAX_AXES>(shape)) => Ok(shape),
        Err(_) => invalid(format!(
            "{place}.shape must be a list of at most {MAX_AXES} integers"
        )),
    }
}

/// Writes the JSON in front of the raw tensors of `message`, whose sizes are `tensor_bytes` in the
/// order of the inputs. The outputs are wanted as binary data.
pub fn to_json(message: &ModelInferRequest, tensor_bytes: &[usize]) -> Vec<u8> {
    debug_assert_eq!(message.inputs.len(), tensor_bytes.len());
    let inputs = message
        .inputs
        .iter()
        .zip(tensor_bytes)
        .map(|(input, size)| {
            json!({
                "name": input.name,
                "datatype": input.datatype,
                "shape": input.shape,
                "parameters": {"binary_data_size": size},
            })
        });
    let outputs = message
        .outputs
        .iter()
        .map(|output| json!({"name": output.name, "parameters": {"binary_data": true}}));
    let parameters = message.parameters.iter();
    let mut parameters: serde_json::Map<_, _> = parameters
        .filter_map(|(name, value)| Some((name.clone(), parameter_value(value)?)))
        .collect();
    let mut body = json!({"inputs": inputs.collect::<Vec<_>>()});
    if !message.id.is_empty() {
        body["id"] = Value::from(message.id.as_str());
    }
    if message.outputs.is_empty() {
        parameters.insert("binary_data_output".to_owned(), Value::Bool(true));
    } else {
        body["outputs"] = outputs.collect();
    }
    if !parameters.is_empty() {
        body["parameters"] = Value::Object(parameters);
    }
    body.to_string().into_bytes()
}

fn parameter_value(parameter: &InferParameter) -> Option<Value> {
    Some(match parameter.parameter_choice.as_ref()? {
        ParameterChoice::BoolParam(value) => Value::from(*value),
        ParameterChoice::Int64Param(value) => Value::from(*value),
        ParameterChoice::Uint64Param(value) => Value::from(*value),
        ParameterChoice::DoubleParam(value) => Value::from(*value),
        ParameterChoice::StringParam(value) => Value::from(value.as_str()),
    })
}
