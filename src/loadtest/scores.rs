//! Scores out of a response, for each protocol.

use crate::loadtest::failure::{Failure, FailureKind};
use crate::loadtest::protocol::Protocol;
use crate::loadtest::target::Response;
use crate::wire::grpc::decode_message;
use crate::wire::tensor::fp32;
use crate::wire::triton::{ModelInferResponse, ModelStreamInferResponse};
use crate::wire::v1::response::parse_multi_response;
use crate::wire::v2;

/// One score per image, in order. Of several outputs it is one of these names that counts, else the
/// first.
pub(crate) fn read(
    protocol: Protocol,
    names: &[String],
    response: &Response,
) -> Result<Vec<f64>, Failure> {
    match protocol {
        Protocol::V1 | Protocol::Raw => v1(&response.body),
        Protocol::V2 => {
            let length = v2::json_length(&response.headers).map_err(malformed)?;
            let message = v2::response::parse(&response.body, length, |_| true);
            tensor(message.map_err(malformed)?, names)
        }
        Protocol::GrpcBytes | Protocol::GrpcTensor | Protocol::Triton => {
            let message = decode_message(response.body.clone()).map_err(malformed)?;
            tensor(message, names)
        }
        Protocol::GrpcStream => {
            let message: ModelStreamInferResponse =
                decode_message(response.body.clone()).map_err(malformed)?;
            if !message.error_message.is_empty() {
                return Err(Failure::new(
                    FailureKind::StreamError,
                    message.error_message,
                ));
            }
            tensor(message.infer_response.unwrap_or_default(), names)
        }
    }
}

fn malformed(reason: impl ToString) -> Failure {
    Failure::new(FailureKind::Malformed, reason.to_string())
}

fn v1(body: &[u8]) -> Result<Vec<f64>, Failure> {
    let rows = parse_multi_response(body).map_err(malformed)?;
    rows.into_iter()
        .map(|row| row.map_err(|error| Failure::new(FailureKind::ImageError, error)))
        .collect()
}

/// The values of the output that holds the scores.
fn tensor(response: ModelInferResponse, names: &[String]) -> Result<Vec<f64>, Failure> {
    let outputs = &response.outputs;
    let index = outputs
        .iter()
        .position(|output| names.contains(&output.name))
        .unwrap_or(0);
    let output = outputs
        .get(index)
        .ok_or_else(|| malformed("the response has no output"))?;
    if let Some(contents) = &output.contents {
        let values = &contents.fp32_contents;
        return Ok(values.iter().copied().map(f64::from).collect());
    }
    // Outputs with contents of their own have no part in the raw ones.
    let raw = outputs[..index]
        .iter()
        .filter(|output| output.contents.is_none())
        .count();
    let raw = response
        .raw_output_contents
        .get(raw)
        .ok_or_else(|| malformed("the output has no data"))?;
    Ok(fp32(raw).map(f64::from).collect())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message;

    use super::*;
    use crate::wire::triton::model_infer_response::InferOutputTensor;

    fn response(body: impl Into<Bytes>) -> Response {
        Response {
            body: body.into(),
            headers: http::HeaderMap::new(),
        }
    }

    #[test]
    fn v1_responses_hold_a_score_for_each_image() {
        let body = r#"{"multi_data":[{"data":[{"score":0.5}],"extra_info":{"source":"s"}},{"data":[{"score":0.25}]}]}"#;
        assert_eq!(
            read(Protocol::V1, &[], &response(body)).unwrap(),
            [0.5, 0.25]
        );
    }

    #[test]
    fn a_reported_image_error_is_one() {
        let body = r#"{"multi_data":[{"data":[],"extra_info":{"source":"s","error":"no"}}]}"#;
        let failure = read(Protocol::V1, &[], &response(body)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::ImageError);
    }

    #[test]
    fn v2_responses_are_read_in_both_forms() {
        let body = r#"{"outputs":[{"name":"score","datatype":"FP32","shape":[1,1],"data":[0.5]}]}"#;
        assert_eq!(read(Protocol::V2, &[], &response(body)).unwrap(), [0.5]);

        let head = r#"{"outputs":[{"name":"score","parameters":{"binary_data_size":8}}]}"#;
        let tensor = [0.5f32, 0.25].map(f32::to_le_bytes).concat();
        let mut binary = response([head.as_bytes(), &tensor].concat());
        binary.headers.insert(v2::JSON_LENGTH, head.len().into());
        assert_eq!(read(Protocol::V2, &[], &binary).unwrap(), [0.5, 0.25]);
    }

    #[test]
    fn the_score_is_found_among_other_outputs() {
        let output = |name: &str| InferOutputTensor {
            name: name.to_owned(),
            ..Default::default()
        };
        let message = ModelInferResponse {
            outputs: vec![output("other"), output("1346")],
            raw_output_contents: [[1.0f32; 2], [0.5, 0.25]]
                .map(|values| Bytes::from(values.map(f32::to_le_bytes).concat()))
                .to_vec(),
            ..Default::default()
        };
        let read = read(
            Protocol::Triton,
            &["1346".to_owned()],
            &response(message.encode_to_vec()),
        );
        assert_eq!(read.unwrap(), [0.5, 0.25]);
    }

    #[test]
    fn what_cannot_be_read_is_malformed() {
        for (protocol, body) in [
            (Protocol::V1, "<html>"),
            (Protocol::V1, r#"{"multi_data":[{"data":[]}]}"#),
            (Protocol::V2, r#"{"outputs":[]}"#),
            (Protocol::GrpcBytes, ""),
        ] {
            let failure = read(protocol, &[], &response(body)).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Malformed, "{body}");
        }
    }
}
