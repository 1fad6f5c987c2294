//! An inference answer as JSON, with the outputs that are wanted so as binary data behind it.

use bytes::Bytes;

use super::Form;
use crate::wire::tensor::fp32;
use crate::wire::triton::ModelInferResponse;

/// A body, and how much of it is JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The JSON, and the binary data behind it.
    pub body: Bytes,
    /// Bytes of the JSON, if there is binary data: the value of `Inference-Header-Content-Length`.
    pub json_length: Option<usize>,
}

/// Writes a response whose outputs are raw FP32, in Triton's order of keys.
///
/// # Errors
///
/// None that JSON of strings and numbers can have.
pub fn answer(response: &ModelInferResponse, form: &Form) -> serde_json::Result<Answer> {
    let mut json = Vec::with_capacity(256);
    let mut binary: Vec<&Bytes> = Vec::new();
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
    let outputs = response.outputs.iter().zip(&response.raw_output_contents);
    for (index, (output, raw)) in outputs.enumerate() {
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
        if form.is_binary(&output.name) {
            let size = raw.len();
            let parameters = format!(",\"parameters\":{{\"binary_data_size\":{size}}}}}");
            json.extend_from_slice(parameters.as_bytes());
            binary.push(raw);
        } else {
            json.extend_from_slice(b",\"data\":[");
            for (index, value) in fp32(raw).enumerate() {
                if index > 0 {
                    json.push(b',');
                }
                number(&mut json, value)?;
            }
            json.extend_from_slice(b"]}");
        }
    }
    json.extend_from_slice(b"]}");
    let json_length = (!binary.is_empty()).then_some(json.len());
    for raw in binary {
        json.extend_from_slice(raw);
    }
    Ok(Answer {
        body: Bytes::from(json),
        json_length,
    })
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
