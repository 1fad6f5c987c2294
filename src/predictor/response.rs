//! Whether a response is what the signature promises: any other would be scores of other images, or
//! of another model.

use crate::predictor::retry::Failure;
use crate::predictor::{Signature, TensorSpec};
use crate::wire::bytes_tensor;
use crate::wire::contents;
use crate::wire::tensor::{DataType, Tensor};
use crate::wire::triton::ModelInferResponse;

/// The signature's outputs for `rows` rows, in its order, without copying raw contents. `batch_axis` is
/// false for a model whose tensors have no axis for rows.
pub(super) fn decode_outputs(
    signature: &Signature,
    rows: usize,
    batch_axis: bool,
    response: &ModelInferResponse,
) -> Result<Vec<Tensor>, Failure> {
    let outputs = signature.outputs.iter();
    outputs
        .map(|spec| decode_output(spec, rows, batch_axis, response))
        .collect::<Result<_, _>>()
        .map_err(Failure::invalid_response)
}

fn decode_output(
    spec: &TensorSpec,
    rows: usize,
    batch_axis: bool,
    response: &ModelInferResponse,
) -> Result<Tensor, String> {
    let name = &spec.name;
    let outputs = &response.outputs;
    let Some(index) = outputs.iter().position(|output| output.name == *name) else {
        let found: Vec<_> = outputs.iter().map(|output| output.name.as_str()).collect();
        return Err(format!("no output {name:?}; it has {found:?}"));
    };
    let output = &outputs[index];
    let datatype = DataType::from_name(&output.datatype)
        .filter(|datatype| spec.datatypes.contains(datatype))
        .ok_or_else(|| {
            let (found, expected) = (&output.datatype, DataType::one_of(&spec.datatypes));
            format!("output {name:?} is {found:?}, expected {expected}")
        })?;
    let row = match output.shape.as_slice() {
        [first, row @ ..] if batch_axis && *first == rows as i64 => Some(row),
        row if !batch_axis => Some(row),
        _ => None,
    };
    let Some(row) = row.filter(|row| spec.fits(row)) else {
        let rows = batch_axis.then_some(rows as i64);
        let expected: Vec<_> = rows.into_iter().chain(spec.row.iter().copied()).collect();
        return Err(format!(
            "output {name:?} has shape {:?}, expected {expected:?}",
            output.shape
        ));
    };
    let typed = output.contents.as_ref();
    let data = match typed.filter(|typed| contents::count(datatype, typed) > 0) {
        Some(typed) => contents::to_raw(datatype, typed)
            .ok_or_else(|| format!("output {name:?} has values that are not {datatype}"))?,
        // Raw contents belong to the outputs that have no typed ones.
        None => {
            let before = outputs[..index]
                .iter()
                .filter(|output| output.contents.is_none())
                .count();
            let raw = response.raw_output_contents.get(before).cloned();
            raw.ok_or_else(|| format!("output {name:?} has no contents"))?
        }
    };
    let sizes = row.iter().map(|&size| size as usize);
    let elements = sizes.fold(rows, usize::saturating_mul);
    if let Some(size) = datatype.size() {
        let bytes = elements.saturating_mul(size);
        if data.len() != bytes {
            return Err(format!(
                "output {name:?} has {} bytes, expected {bytes}",
                data.len()
            ));
        }
    } else if bytes_tensor::count(data.clone()) != Some(elements) {
        return Err(format!(
            "output {name:?} has other than the {elements} elements that are expected"
        ));
    }
    let shape = std::iter::once(rows as i64).chain(row.iter().copied());
    Ok(Tensor::new(datatype, shape.collect(), data))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::predictor::tests::signature;
    use crate::wire::tensor::fp32;
    use crate::wire::triton::InferTensorContents;
    use crate::wire::triton::model_infer_response::InferOutputTensor;

    fn bytes_of(values: &[f32]) -> Bytes {
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    }

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
        decode_outputs(&signature(), 2, true, response)
            .map(|mut outputs| fp32(&outputs.remove(0).into_data()).collect())
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
