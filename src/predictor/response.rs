//! Whether a response is what the signature promises: any other would be scores of other images, or
//! of another model.

use bytes::{BufMut, Bytes, BytesMut};

use crate::predictor::Signature;
use crate::predictor::retry::Failure;
use crate::wire::tensor::Tensor;
use crate::wire::triton::ModelInferResponse;

/// The output of the signature for `rows` rows, without copying raw contents. `batch_axis` is
/// false for a model whose tensors have no axis for rows.
pub(super) fn decode_output(
    signature: &Signature,
    rows: usize,
    batch_axis: bool,
    response: &ModelInferResponse,
) -> Result<Tensor, Failure> {
    let invalid = |text: String| Err(Failure::invalid_response(text));
    let name = &signature.output;
    let outputs = &response.outputs;
    let Some(index) = outputs.iter().position(|output| output.name == *name) else {
        let found: Vec<_> = outputs.iter().map(|output| output.name.as_str()).collect();
        return invalid(format!("no output {name:?}; it has {found:?}"));
    };
    let output = &outputs[index];
    if output.datatype != "FP32" {
        return invalid(format!(
            "output {name:?} is {:?}, expected FP32",
            output.datatype
        ));
    }
    let mut expected = Vec::with_capacity(signature.output_row.len() + 1);
    if batch_axis {
        expected.push(rows as i64);
    }
    expected.extend_from_slice(&signature.output_row);
    if output.shape != expected {
        return invalid(format!(
            "output {name:?} has shape {:?}, expected {expected:?}",
            output.shape
        ));
    }
    let data = match &output.contents {
        Some(contents) if !contents.fp32_contents.is_empty() => bytes_of(&contents.fp32_contents),
        // Raw contents belong to the outputs that have no typed ones.
        _ => {
            let before = outputs[..index]
                .iter()
                .filter(|output| output.contents.is_none())
                .count();
            let raw = response.raw_output_contents.get(before).cloned();
            let Some(raw) = raw else {
                return invalid(format!("output {name:?} has no contents"));
            };
            raw
        }
    };
    let bytes = expected.iter().product::<i64>() as usize * 4;
    if data.len() != bytes {
        return invalid(format!(
            "output {name:?} has {} bytes, expected {bytes}",
            data.len()
        ));
    }
    Ok(Tensor::shared(data, rows, &signature.output_row))
}

fn bytes_of(values: &[f32]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(values.len() * 4);
    values.iter().for_each(|&value| bytes.put_f32_le(value));
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predictor::tests::signature;
    use crate::wire::tensor::fp32;
    use crate::wire::triton::InferTensorContents;
    use crate::wire::triton::model_infer_response::InferOutputTensor;

    fn response() -> ModelInferResponse {
        let tensor = |name: &str| InferOutputTensor {
            name: name.to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![2, 1],
            ..InferOutputTensor::default()
        };
        ModelInferResponse {
            outputs: vec![tensor("other"), tensor("1346")],
            raw_output_contents: vec![bytes_of(&[7.0, 7.0]), bytes_of(&[0.25, 0.5])],
            ..ModelInferResponse::default()
        }
    }

    fn scores(response: &ModelInferResponse) -> Result<Vec<f32>, String> {
        decode_output(&signature(), 2, true, response)
            .map(|tensor| fp32(&tensor.into_data()).collect())
            .map_err(|failure| failure.error.to_string())
    }

    #[test]
    fn raw_and_typed_contents_are_read() {
        assert_eq!(scores(&response()).unwrap(), [0.25, 0.5]);
        let mut typed = response();
        typed.raw_output_contents.clear();
        for output in &mut typed.outputs {
            output.contents = Some(InferTensorContents {
                fp32_contents: vec![0.5, 0.75],
                ..InferTensorContents::default()
            });
        }
        assert_eq!(scores(&typed).unwrap(), [0.5, 0.75]);
    }

    #[test]
    fn an_invalid_response_is_named() {
        type Twist = fn(&mut ModelInferResponse);
        let cases: [(Twist, &str); 5] = [
            (
                |r| r.outputs[1].name = "x".to_owned(),
                r#"no output "1346"; it has ["other", "x"]"#,
            ),
            (
                |r| r.outputs[1].datatype = "FP16".to_owned(),
                r#"output "1346" is "FP16", expected FP32"#,
            ),
            (
                |r| r.outputs[1].shape = vec![1, 1],
                r#"output "1346" has shape [1, 1], expected [2, 1]"#,
            ),
            (
                |r| r.raw_output_contents[1] = Bytes::from_static(&[0; 9]),
                r#"output "1346" has 9 bytes, expected 8"#,
            ),
            (
                |r| r.raw_output_contents.clear(),
                r#"output "1346" has no contents"#,
            ),
        ];
        for (twist, expected) in cases {
            let mut response = response();
            twist(&mut response);
            assert_eq!(
                scores(&response).unwrap_err(),
                format!("invalid response from the predictor: {expected}")
            );
        }
    }
}
