//! What a request must be before anything runs: names, types, shapes, contents. Each refusal says
//! what was found and what is expected.

use std::collections::HashMap;

use super::contents::{self, Contents};
use super::service::{ERRORS, ModelDescription, TensorSpec};
use crate::error::{Error, Kind};
use crate::quote::quote;
use crate::transformer::Input;
use crate::wire::tensor::Tensor;
use crate::wire::triton::infer_parameter::ParameterChoice;
use crate::wire::triton::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::wire::triton::{InferParameter, ModelInferRequest};

/// The one version of every model.
pub(crate) const VERSION: &str = "1";

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
    check_inputs(&request.inputs, model)?;
    let mut raw_contents = request.raw_input_contents.into_iter();
    let given: HashMap<_, _> = request
        .inputs
        .into_iter()
        .map(|mut input| {
            let contents = match raw_contents.next() {
                Some(bytes) => Contents::Raw(bytes),
                None => Contents::Typed(input.contents.take().unwrap_or_default()),
            };
            (std::mem::take(&mut input.name), (input, contents))
        })
        .collect();
    let input = self::input(given, model, base64_elements)?;
    if let Input::Tensors(_) = input {
        check_of_images(&outputs, model)?;
    }
    Ok(ValidatedRequest {
        input,
        outputs,
        raw,
    })
}

/// The inputs of a request by name, each with its contents.
type Given = HashMap<String, (InferInputTensor, Contents)>;

/// The images, or all tensors of the model in its order.
fn input(
    mut given: Given,
    model: &ModelDescription,
    base64_elements: bool,
) -> Result<Input, Error> {
    if let Some(name) = model.images
        && let Some((input, contents)) = given.remove(name)
    {
        check_datatype(name, &input.datatype, "BYTES")?;
        let count = image_count(name, &input.shape, model.max_images)?;
        let images = contents::images(name, contents, count, base64_elements)?;
        return Ok(Input::Images(images));
    }
    let mut tensors: Vec<Tensor> = Vec::with_capacity(model.tensors.len());
    for spec in &model.tensors {
        let name = &spec.name;
        // That all are there was checked.
        let Some((input, contents)) = given.remove(name) else {
            continue;
        };
        check_datatype(name, &input.datatype, spec.datatype.name())?;
        let (rows, values) = tensor_size(spec, &input.shape, model)?;
        if let Some(first) = tensors.first().filter(|first| first.rows() != rows) {
            return Err(invalid(format!(
                "input {name:?} has {rows} rows where the first has {}",
                first.rows()
            )));
        }
        let values = contents::values(name, contents, spec.datatype, values)?;
        tensors.push(Tensor::new(spec.datatype, input.shape, values));
    }
    Ok(Input::Tensors(tensors))
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
    let own = |name: &str| {
        let mut outputs = model.outputs.iter().chain(&model.outputs_on_request);
        outputs.any(|output| output.name == name)
    };
    for output in requested {
        let name = &output.name;
        let errors = model.images.is_some() && name == ERRORS;
        if !own(name) && model.output_alias.as_ref() != Some(name) && !errors {
            return Err(invalid(format!(
                "model {:?} has no output {}; it has {}",
                model.name,
                quote(name),
                listed(&model.outputs)
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
        names.extend(model.outputs.iter().map(|output| output.name.clone()));
    }
    Ok(names)
}

/// Refuses outputs that tensors cannot give.
fn check_of_images(outputs: &[String], model: &ModelDescription) -> Result<(), Error> {
    let of_images = &model.outputs_on_request;
    match of_images.iter().find(|of| outputs.contains(&of.name)) {
        Some(output) => Err(invalid(format!(
            "output {:?} is made of images; model {:?} was given tensors",
            output.name, model.name
        ))),
        None => Ok(()),
    }
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

/// Names in a sentence.
fn listed(tensors: &[TensorSpec]) -> String {
    let names: Vec<_> = tensors
        .iter()
        .map(|tensor| format!("{:?}", tensor.name))
        .collect();
    names.join(", ")
}

/// Either the input for images or all of the tensors, each once.
fn check_inputs(inputs: &[InferInputTensor], model: &ModelDescription) -> Result<(), Error> {
    let is_images = |input: &InferInputTensor| model.images == Some(&input.name);
    let tensors = model.tensors.iter();
    let tensors: Vec<_> = tensors
        .map(|tensor| format!("{:?} ({})", tensor.name, tensor.datatype))
        .collect();
    let images = model.images.map(|images| format!("{images:?} (BYTES)"));
    let tensors = (!tensors.is_empty()).then(|| tensors.join(" and "));
    let takes: Vec<_> = images.into_iter().chain(tensors).collect();
    let takes = takes.join(" or ");
    for (index, input) in inputs.iter().enumerate() {
        let own = model.tensors.iter().any(|tensor| tensor.name == input.name);
        if !own && !is_images(input) {
            return Err(invalid(format!(
                "model {:?} has no input {}; it takes {takes}",
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
    let images = inputs.iter().any(is_images);
    let problem = match inputs.len() {
        0 => "no input is given",
        1 if images => return Ok(()),
        2 if images => "both inputs are given",
        _ if images => "images and tensors are given",
        given if given < model.tensors.len() => "an input is missing",
        _ => return Ok(()),
    };
    Err(invalid(format!(
        "{problem}; model {:?} takes {takes}",
        model.name
    )))
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

/// Rows and values by a shape of `[N, …row]`, where a free axis has any size.
fn tensor_size(
    spec: &TensorSpec,
    shape: &[i64],
    model: &ModelDescription,
) -> Result<(usize, usize), Error> {
    let name = &spec.name;
    let expected = spec.with_first(-1);
    let fits = |row: &[i64]| {
        let mut sizes = row.iter().zip(&spec.row);
        row.len() == spec.row.len()
            && sizes.all(|(&size, &wanted)| size == wanted || wanted == -1 && size > 0)
    };
    let (rows, row) = match shape {
        [rows, row @ ..] if fits(row) && *rows >= 0 => (*rows, row),
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
    row.iter()
        .try_fold(rows, |values, &size| {
            values.checked_mul(usize::try_from(size).ok()?)
        })
        // So that their bytes can be counted too.
        .filter(|values| values.checked_mul(size_of::<i64>()).is_some())
        .map(|values| (rows, values))
        .ok_or_else(|| invalid(format!("input {name:?}: shape {shape:?} is too large")))
}
