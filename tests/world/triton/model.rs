//! The scripted Triton's one model, behind both protocols.

use bytes::{BufMut, BytesMut};
use http::HeaderMap;
use kserve_transformer::wire::tensor::{DataType, fp16, fp32};
use kserve_transformer::wire::triton::model_metadata_response::TensorMetadata;
use kserve_transformer::wire::triton::{
    InferTensorContents, ModelConfig, ModelInferRequest, ModelInferResponse, ModelInput,
    ModelMetadataResponse, ModelOutput, model_infer_response,
};
use tonic::Status;

use super::{Connections, Fault, Script, State};

/// Counts an inference out, however it ends.
struct Running<'a> {
    state: &'a State,
    answered: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let answered = self.answered;
        self.state.observed.send_modify(|observed| {
            observed.in_flight -= 1;
            observed.canceled += usize::from(!answered);
        });
    }
}

impl State {
    /// Comes back when the fake is not silent.
    pub(super) async fn answering(&self) {
        let mut script = self.script.subscribe();
        let _ = script.wait_for(|script| !script.silent).await;
    }

    /// Refuses a call without the header that is required.
    pub(super) fn check_header(&self, headers: &HeaderMap) -> Result<(), Status> {
        match self.script.borrow().required_header {
            Some((name, value)) if headers.get(name).is_none_or(|found| found != value) => {
                Err(Status::unauthenticated("a token is needed"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn live(&self) {
        self.observed.send_modify(|observed| observed.lives += 1);
    }

    pub(super) fn metadata(&self, model: &str) -> Result<ModelMetadataResponse, Status> {
        self.observed.send_modify(|observed| observed.metadata += 1);
        let script = self.loaded(model)?;
        let tensor = |name: &str, datatype: DataType, row: &[i64]| TensorMetadata {
            name: name.to_owned(),
            datatype: datatype.name().to_owned(),
            shape: match script.max_batch_size {
                0 => row.to_vec(),
                _ => [&[-1], row].concat(),
            },
        };
        Ok(ModelMetadataResponse {
            name: script.model.clone(),
            versions: vec!["1".to_owned()],
            platform: "tensorrt_plan".to_owned(),
            inputs: match script.no_tensors {
                true => Vec::new(),
                false => vec![tensor(
                    &script.input,
                    script.input_datatype,
                    &script.input_row,
                )],
            },
            outputs: match script.no_tensors {
                true => Vec::new(),
                false => vec![tensor(&script.output, DataType::Fp32, &output_row(&script))],
            },
        })
    }

    pub(super) fn config(&self, model: &str) -> Result<ModelConfig, Status> {
        let script = self.loaded(model)?;
        if let Some((code, text)) = script.config_refused {
            return Err(Status::new(code, text));
        }
        Ok(ModelConfig {
            name: script.model.clone(),
            platform: "tensorrt_plan".to_owned(),
            max_batch_size: script.max_batch_size,
            input: vec![ModelInput {
                name: script.input.clone(),
                data_type: script.input_datatype.config_type().into(),
                dims: script.input_row.clone(),
                ..ModelInput::default()
            }],
            output: vec![ModelOutput {
                name: script.output.clone(),
                data_type: 11,
                dims: output_row(&script),
                ..ModelOutput::default()
            }],
            ..ModelConfig::default()
        })
    }

    fn loaded(&self, model: &str) -> Result<Script, Status> {
        let script = self.script.borrow().clone();
        if script.unloaded || script.model != model {
            return Err(Status::not_found(format!(
                "Request for unknown model: '{model}' is not found"
            )));
        }
        Ok(script)
    }

    /// One inference; its tensor lies in `raw_input_contents`.
    pub(super) async fn infer(
        &self,
        request: ModelInferRequest,
        headers: HeaderMap,
    ) -> Result<ModelInferResponse, Status> {
        let input = request.inputs.first().cloned().unwrap_or_default();
        let kept = request.raw_input_contents.first();
        let kept = kept.filter(|_| self.script.borrow().keep_inputs).cloned();
        self.observed.send_modify(|observed| {
            observed.calls += 1;
            observed.in_flight += 1;
            observed.max_in_flight = observed.max_in_flight.max(observed.in_flight);
            observed
                .batches
                .push(input.shape.first().copied().unwrap_or_default());
            observed.inputs.extend(kept);
            observed.id.clone_from(&request.id);
            observed.parameters.clone_from(&request.parameters);
            observed.headers = headers;
        });
        let mut running = Running {
            state: self,
            answered: false,
        };
        let mut fault = None;
        self.script.send_if_modified(|script| {
            fault = script.faults.pop_front().or_else(|| script.always.clone());
            false
        });
        let script = self.loaded(&request.model_name)?;
        let mut held = self.script.subscribe();
        let _ = held.wait_for(|script| !script.hold).await;
        tokio::time::sleep(script.delay).await;
        if let Some(Fault::Cut) = fault {
            self.connections.send_replace(Connections::Cut);
            std::future::pending::<()>().await;
        }
        running.answered = true;
        if let Some(Fault::Status(code, text)) = fault {
            return Err(Status::new(code, text));
        }
        let mut response = score(&script, &request, &input.name, &input.shape)?;
        if let Some(Fault::Twist(twist)) = fault {
            twist(&mut response);
        }
        Ok(response)
    }
}

/// The output's shape as the configuration has it: the batch axis as at the input.
fn output_row(script: &Script) -> Vec<i64> {
    let axes = match script.max_batch_size {
        0 => script.input_row.len() - 3,
        _ => 0,
    };
    [&script.input_row[..axes], &[1]].concat()
}

/// The mean of each row.
fn score(
    script: &Script,
    request: &ModelInferRequest,
    input: &str,
    shape: &[i64],
) -> Result<ModelInferResponse, Status> {
    let config = &script.input_row;
    let (axes, row): (&[i64], &[i64]) = match script.max_batch_size {
        0 => config.split_at(config.len() - 3),
        _ => (&[-1], config),
    };
    let fits = shape.len() == config.len().max(axes.len() + row.len())
        && shape.ends_with(row)
        && (axes.is_empty() || axes[0] == -1 || axes[0] == shape[0]);
    let rows = if axes.is_empty() { 1 } else { shape[0] };
    let values = row.iter().product::<i64>();
    let size = script.input_datatype.size().unwrap();
    let data = request.raw_input_contents.first().cloned();
    let data = data.unwrap_or_default();
    if !fits || input != script.input || data.len() as i64 != rows * values * size as i64 {
        return Err(Status::invalid_argument(format!(
            "unexpected shape for input '{input}': {shape:?}"
        )));
    }
    if rows < 1 || script.max_batch_size > 0 && rows > i64::from(script.max_batch_size) {
        return Err(Status::invalid_argument(format!(
            "inference request batch-size must be <= {}",
            script.max_batch_size
        )));
    }
    // Of UINT8, the model's first node does the arithmetic.
    let sum = |row: &[u8]| match script.input_datatype {
        DataType::Uint8 => row
            .iter()
            .map(|&byte| (f32::from(byte) - 127.5) / 128.0)
            .sum(),
        DataType::Fp16 => fp16(row).sum(),
        _ => fp32(row).sum::<f32>(),
    };
    let means: Vec<f32> = data
        .chunks(values as usize * size)
        .map(|row| sum(row) / values as f32)
        .collect();
    let mut raw = BytesMut::new();
    means.iter().for_each(|&mean| raw.put_f32_le(mean));
    Ok(ModelInferResponse {
        model_name: script.model.clone(),
        model_version: "1".to_owned(),
        id: request.id.clone(),
        outputs: vec![model_infer_response::InferOutputTensor {
            name: script.output.clone(),
            datatype: "FP32".to_owned(),
            shape: if axes.is_empty() {
                vec![1]
            } else {
                vec![rows, 1]
            },
            contents: script.typed.then(|| InferTensorContents {
                fp32_contents: means,
                ..InferTensorContents::default()
            }),
            ..model_infer_response::InferOutputTensor::default()
        }],
        raw_output_contents: match script.typed {
            true => Vec::new(),
            false => vec![raw.freeze()],
        },
        ..ModelInferResponse::default()
    })
}
