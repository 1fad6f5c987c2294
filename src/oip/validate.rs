//! What a request must be before anything runs: names, types, shapes, contents. Each refusal says
//! what was found and what is expected.

use std::collections::HashMap;

use super::contents::{self, Contents};
use super::service::ModelDescription;
use crate::error::{Error, Kind};
use crate::quote::quote;
use crate::transformer::Input;
use crate::wire::tensor::Tensor;
use crate::wire::triton::infer_parameter::ParameterChoice;
use crate::wire::triton::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::wire::triton::{InferParameter, ModelInferRequest};

/// The one version of every model.
pub(super) const VERSION: &str = "1";

/// A request in the engine's terms.
pub(super) struct ValidatedRequest {
    /// Its images or tensor.
    pub(super) input: Input,
    /// The names under which the output is requested.
    pub(super) outputs: Vec<String>,
    /// Whether its contents were raw.
    pub(super) raw: bool,
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, text)
}

/// The newest version by the empty name, or the one there is by its name. As in Triton, what is not
/// a number is malformed and not merely unknown.
pub(super) fn check_version(model: &str, version: &str) -> Result<(), Error> {
    if version.is_empty() || version == VERSION {
        return Ok(());
    }
    if version.parse().map_or(true, |number: u64| number == 0) {
        return Err(invalid(format!(
            "invalid version {}: expected a positive number (model {model:?} has version \
             {VERSION:?})",
            quote(version)
        )));
    }
    Err(Error::new(
        Kind::NotFound,
        format!(
            "model {model:?} has no version {}; it has version {VERSION:?}",
            quote(version)
        ),
    ))
}

/// Validates a request against the model's tensors and takes it apart.
pub(super) fn validate(
    request: ModelInferRequest,
    model: &ModelDescription,
    base64_elements: bool,
) -> Result<ValidatedRequest, Error> {
    check_parameters(&request.parameters)?;
    let outputs = check_outputs(request.outputs, model)?;
    let raw = !request.raw_input_contents.is_empty();
    check_raw(&request.inputs, request.raw_input_contents.len())?;
    let input = single_input(request.inputs, model)?;
    let contents = match request.raw_input_contents.into_iter().next() {
        Some(bytes) => Contents::Raw(bytes),
        None => Contents::Typed(input.contents.unwrap_or_default()),
    };
    let name = &input.name;
    let input = if model.images == Some(name) {
        check_datatype(name, &input.datatype, "BYTES")?;
        let count = image_count(name, &input.shape, model.max_images)?;
        Input::Images(contents::images(name, contents, count, base64_elements)?)
    } else {
        check_datatype(name, &input.datatype, "FP32")?;
        let (rows, values) = tensor_size(name, &input.shape, model)?;
        let values = contents::values(name, contents, values)?;
        Input::Tensor(Tensor::shared(values, rows, &model.input.row))
    };
    Ok(ValidatedRequest {
        input,
        outputs,
        raw,
    })
}

fn check_parameters(parameters: &HashMap<String, InferParameter>) -> Result<(), Error> {
    for (name, parameter) in parameters {
        let Some(choice) = &parameter.parameter_choice else {
            return Err(invalid(format!("parameter {} has no value", quote(name))));
        };
        let is_integer = matches!(
            choice,
            ParameterChoice::Int64Param(_) | ParameterChoice::Uint64Param(_)
        );
        if name == "timeout" && !is_integer {
            return Err(invalid(
                "parameter \"timeout\" must be an int64, in microseconds",
            ));
        }
        if name == "priority" && !is_integer {
            return Err(invalid("parameter \"priority\" must be an integer"));
        }
        if name.starts_with("triton_") && name != "triton_enable_empty_final_response" {
            return Err(invalid(format!(
                "parameter {} is reserved: names that start with triton_ belong to the server",
                quote(name)
            )));
        }
    }
    Ok(())
}

/// Refuses extensions of a tensor which would change where its values are.
fn check_extensions(
    what: &str,
    name: &str,
    parameters: &HashMap<String, InferParameter>,
) -> Result<(), Error> {
    let not_built_in = |text| Error::new(Kind::Unimplemented, format!("{what} {name:?}: {text}"));
    if parameters
        .keys()
        .any(|key| key.starts_with("shared_memory_"))
    {
        return Err(not_built_in(
            "shared memory is not built in; send the values in the request",
        ));
    }
    if parameters.contains_key("classification") {
        return Err(not_built_in(
            "the classification extension is not built in; ask for the values",
        ));
    }
    Ok(())
}

fn check_outputs(
    requested: Vec<InferRequestedOutputTensor>,
    model: &ModelDescription,
) -> Result<Vec<String>, Error> {
    let mut names: Vec<String> = Vec::new();
    for output in requested {
        let known =
            output.name == model.output.name || Some(&output.name) == model.output_alias.as_ref();
        if !known {
            return Err(invalid(format!(
                "model {:?} has no output {}; it has {:?}",
                model.name,
                quote(&output.name),
                model.output.name
            )));
        }
        check_extensions("output", &output.name, &output.parameters)?;
        if names.contains(&output.name) {
            return Err(invalid(format!(
                "output {:?} is requested twice",
                output.name
            )));
        }
        names.push(output.name);
    }
    if names.is_empty() {
        names.push(model.output.name.clone());
    }
    Ok(names)
}

/// Either every input is raw or none is.
fn check_raw(inputs: &[InferInputTensor], raw: usize) -> Result<(), Error> {
    if raw == 0 {
        return Ok(());
    }
    if let Some(input) = inputs.iter().find(|input| input.contents.is_some()) {
        return Err(invalid(format!(
            "input {} has contents beside raw_input_contents; send one of the two",
            quote(&input.name)
        )));
    }
    if raw != inputs.len() {
        return Err(invalid(format!(
            "{raw} raw_input_contents for {} inputs; each input needs one",
            inputs.len()
        )));
    }
    Ok(())
}

/// The input of a request, which may have one only.
fn single_input(
    inputs: Vec<InferInputTensor>,
    model: &ModelDescription,
) -> Result<InferInputTensor, Error> {
    let values = &model.input.name;
    let wanted = match model.images {
        Some(images) => format!("{images:?} (BYTES) or {values:?} (FP32)"),
        None => format!("{values:?} (FP32)"),
    };
    for (index, input) in inputs.iter().enumerate() {
        if input.name != *values && model.images != Some(&input.name) {
            return Err(invalid(format!(
                "model {:?} has no input {}; it takes {wanted}",
                model.name,
                quote(&input.name)
            )));
        }
        check_extensions("input", &input.name, &input.parameters)?;
        let before = &inputs[..index];
        if before.iter().any(|other| other.name == input.name) {
            return Err(invalid(format!("input {:?} is given twice", input.name)));
        }
    }
    let count = inputs.len();
    let mut inputs = inputs.into_iter();
    match (inputs.next(), count) {
        (Some(input), 1) => Ok(input),
        (Some(_), _) => Err(invalid(format!(
            "both inputs are given; model {:?} takes {wanted}",
            model.name
        ))),
        (None, _) => Err(invalid(format!(
            "no input is given; model {:?} takes {wanted}",
            model.name
        ))),
    }
}

fn check_datatype(name: &str, found: &str, expected: &str) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    Err(invalid(format!(
        "input {name:?}: datatype {} where {expected} is expected",
        quote(found)
    )))
}

/// Images by a shape of `[N]` or `[N,1]`.
fn image_count(name: &str, shape: &[i64], max_images: usize) -> Result<usize, Error> {
    match *shape {
        [count] | [count, 1] if count > 0 => {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            if count > max_images {
                return Err(invalid(format!(
                    "input {name:?}: {count} images in one request; at most {max_images} are allowed \
                     (--max_images)"
                )));
            }
            Ok(count)
        }
        [0] | [0, 1] => Err(invalid(format!(
            "input {name:?}: the shape's first dimension is 0; send at least one image"
        ))),
        _ => Err(invalid(format!(
            "input {name:?}: shape {shape:?} where [N] or [N,1] is expected"
        ))),
    }
}

/// Rows and values by a shape of `[N, …row]`.
fn tensor_size(
    name: &str,
    shape: &[i64],
    model: &ModelDescription,
) -> Result<(usize, usize), Error> {
    let expected = model.input.with_first(-1);
    let rows = match shape {
        [rows, row @ ..] if *row == model.input.row && *rows >= 0 => *rows,
        _ => {
            return Err(invalid(format!(
                "input {name:?}: shape {shape:?} where {expected:?} is expected (-1 is any \
                 number of images)"
            )));
        }
    };
    if rows == 0 {
        return Err(invalid(format!(
            "input {name:?}: the shape's first dimension is 0; send at least one image"
        )));
    }
    let rows = usize::try_from(rows).unwrap_or(usize::MAX);
    if model.max_batch > 0 && rows > model.max_batch {
        return Err(invalid(format!(
            "input {name:?}: a batch of {rows} is above the max_batch_size {} of model {:?}",
            model.max_batch, model.name
        )));
    }
    let row: i64 = model.input.row.iter().product();
    usize::try_from(row)
        .ok()
        .and_then(|row| rows.checked_mul(row))
        // So that their bytes can be counted too.
        .filter(|values| values.checked_mul(size_of::<f32>()).is_some())
        .map(|values| (rows, values))
        .ok_or_else(|| invalid(format!("input {name:?}: shape {shape:?} is too large")))
}
