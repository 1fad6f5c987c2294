//! The Open Inference Protocol without its wire: requests in the generated messages are validated,
//! run by whatever takes tensors, and responded to in the generated messages. gRPC and V2 REST are
//! both thin over this, so that they cannot disagree.

mod contents;
mod describe;
mod engine;
mod log_settings;
mod service;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub(crate) use self::service::ERRORS;
#[cfg(test)]
pub(crate) use self::service::TensorSpec;
pub(crate) use self::service::{InferenceService, ModelDescription};
pub(crate) use self::validate::VERSION;
use self::validate::{ValidatedRequest, check_version, validate};
use crate::context::RequestContext;
use crate::error::{Error, Kind};
use crate::observe::timing::Stage;
use crate::wire::contents::from_raw;
use crate::wire::tensor::{DataType, Tensor};
use crate::wire::triton::infer_parameter::ParameterChoice;
use crate::wire::triton::model_infer_request::InferInputTensor;
use crate::wire::triton::model_infer_response::InferOutputTensor;
use crate::wire::triton::{InferTensorContents, ModelInferRequest, ModelInferResponse};
use crate::workers::CpuPool;

/// The protocol, spoken for a service's models.
#[derive(Clone)]
pub(crate) struct OpenInference {
    service: Arc<dyn InferenceService>,
    pool: CpuPool,
    /// `--enable_log_settings`.
    log_settable: bool,
}

impl OpenInference {
    /// Speaks for `service`; typed tensors of large requests are converted on `pool`.
    pub(crate) fn new(service: Arc<dyn InferenceService>, pool: CpuPool) -> Self {
        Self {
            service,
            pool,
            log_settable: false,
        }
    }

    /// The same, whose callers may change the log level if `settable`.
    pub(crate) fn with_log_settable(self, settable: bool) -> Self {
        Self {
            log_settable: settable,
            ..self
        }
    }

    /// What is spoken for.
    pub(crate) fn service(&self) -> &dyn InferenceService {
        &*self.service
    }

    /// That there is such a model and version.
    pub(crate) fn check_model(&self, name: &str, version: &str) -> Result<(), Error> {
        self.service.readiness(name)?;
        check_version(name, version)
    }

    /// The request is counted among those of the model, if there is one of this name.
    pub(crate) fn note_model(&self, name: &str, context: &RequestContext) {
        if let Ok(metrics) = self.service.metrics(name) {
            context.facts.set_model(metrics);
        }
    }

    /// Whether a model takes requests; false for an unknown one.
    pub(crate) fn model_ready(&self, name: &str, version: &str) -> bool {
        check_version(name, version).is_ok() && self.service.model_not_ready(name).is_none()
    }

    /// A request whose body is the contents of the model's one input and nothing else, as Triton
    /// takes it: an image, or the values of a tensor.
    pub(crate) fn raw_request(&self, model: &str, body: Bytes) -> Result<ModelInferRequest, Error> {
        let model = self.service.describe(model)?;
        let mut request = ModelInferRequest {
            model_name: model.name,
            ..Default::default()
        };
        if let Some(images) = model.images {
            request.inputs.push(InferInputTensor {
                name: images.to_owned(),
                datatype: "BYTES".to_owned(),
                shape: vec![1],
                contents: Some(InferTensorContents {
                    bytes_contents: vec![body],
                    ..Default::default()
                }),
                ..Default::default()
            });
            return Ok(request);
        }
        let [only] = model.tensors.as_slice() else {
            return Err(Error::new(
                Kind::Invalid,
                format!(
                    "model {:?} has {} inputs; a body without JSON holds the contents of one",
                    request.model_name,
                    model.tensors.len()
                ),
            ));
        };
        let elements = only.row.iter().product::<i64>() as usize;
        let row_bytes = elements * only.datatype.size().unwrap_or(1);
        let rows = body.len() / row_bytes.max(1);
        request.inputs.push(InferInputTensor {
            name: only.name.clone(),
            datatype: only.datatype.name().to_owned(),
            shape: only.with_first(rows as i64),
            ..Default::default()
        });
        request.raw_input_contents.push(body);
        Ok(request)
    }

    /// One inference. What is wrong with the request's names, types, shapes and contents is said
    /// before anything runs. `base64_elements`: BYTES elements were JSON strings, so that one that
    /// is not an item is an image in base64.
    ///
    /// The request's own id goes on in place of the context's, and comes back in the response. Its
    /// parameter `timeout` may make the deadline sooner.
    pub(crate) async fn infer(
        &self,
        request: ModelInferRequest,
        base64_elements: bool,
        context: &mut RequestContext,
    ) -> Result<ModelInferResponse, Error> {
        let model = self.service.describe(&request.model_name)?;
        check_version(&request.model_name, &request.model_version)?;
        let id = request.id.clone();
        if !id.is_empty() {
            context.id.clone_from(&id);
            context.facts.set_id(&id);
        }
        context.model.clone_from(&model.name);
        self.note_model(&model.name, context);
        let (timeout, priority) = (integer(&request, "timeout"), integer(&request, "priority"));
        if let Some(microseconds) = timeout.and_then(|timeout| u64::try_from(timeout).ok())
            && microseconds > 0
        {
            context.tighten(Duration::from_micros(microseconds));
        }
        context.priority = priority;
        let bytes = request.inputs.iter().map(contents::typed_bytes).sum();
        let description = model.clone();
        let ValidatedRequest {
            input,
            outputs,
            raw,
        } = {
            let _timer = context.timings.stage(Stage::Parse);
            let validate = move || validate(request, &description, base64_elements);
            self.pool.run(bytes, validate).await??
        };
        let on_request = model.outputs_on_request.iter().map(|output| &output.name);
        context.outputs_on_request = on_request
            .filter(|name| outputs.contains(name))
            .cloned()
            .collect();
        let report_errors = outputs.iter().any(|output| output == ERRORS);
        let tensors = self.service.run(input, report_errors, context).await;
        let tensors = tensors.map_err(|error| match (error.image, model.images) {
            (Some(index), Some(name)) => error.with_location(&format!("{name}[{index}]")),
            _ => error,
        })?;
        let raw = raw || model.always_raw;
        let made = &context.outputs_on_request;
        Ok(response(id, &model, made, outputs, tensors, raw))
    }
}

/// A parameter of the request that is an integer.
fn integer(request: &ModelInferRequest, name: &str) -> Option<i64> {
    match request.parameters.get(name)?.parameter_choice {
        Some(ParameterChoice::Int64Param(value)) => Some(value),
        Some(ParameterChoice::Uint64Param(value)) => i64::try_from(value).ok(),
        _ => None,
    }
}

/// The outputs of these names; `made` are those on request.
fn response(
    id: String,
    model: &ModelDescription,
    made: &[String],
    names: Vec<String>,
    tensors: Vec<Tensor>,
    raw: bool,
) -> ModelInferResponse {
    let mut response = ModelInferResponse {
        model_name: model.name.clone(),
        model_version: VERSION.to_owned(),
        id,
        ..Default::default()
    };
    let own = model.outputs.iter().map(|output| output.name.as_str());
    let outputs: Vec<_> = own
        .chain(made.iter().map(String::as_str))
        .chain([ERRORS])
        .zip(tensors)
        .map(|(name, tensor)| {
            let (datatype, shape) = (tensor.datatype(), tensor.shape().to_vec());
            (name, datatype, shape, tensor.into_data())
        })
        .collect();
    // There are no typed contents of FP16, and either all outputs are raw or none is.
    let raw = raw
        || outputs
            .iter()
            .any(|(_, datatype, ..)| *datatype == DataType::Fp16);
    for requested in names {
        let alias = model.output_alias.as_ref() == Some(&requested);
        let found = outputs
            .iter()
            .find(|(name, ..)| *name == requested)
            .or_else(|| outputs.first().filter(|_| alias));
        // They were found before anything ran.
        let Some((_, datatype, shape, values)) = found else {
            continue;
        };
        let mut output = InferOutputTensor {
            name: requested,
            datatype: datatype.name().to_owned(),
            shape: shape.clone(),
            ..Default::default()
        };
        if raw {
            response.raw_output_contents.push(values.clone());
        } else {
            output.contents = Some(from_raw(*datatype, values.clone()));
        }
        response.outputs.push(output);
    }
    response
}
