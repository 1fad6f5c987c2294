//! Scores out of a response, for each protocol.

use bytes::Bytes;
use prost::Message;
use serde::Deserialize;

use crate::loadtest::failure::{Failure, FailureKind};
use crate::loadtest::protocol::Protocol;
use crate::loadtest::target::{JSON_LENGTH, Response};
use crate::wire::tensor::fp32;
use crate::wire::triton::{ModelInferResponse, ModelStreamInferResponse};

/// One score per image, in order. Of several outputs it is one of these names that counts, else the
/// first.
pub(crate) fn read(
    protocol: Protocol,
    names: &[String],
    response: &Response,
) -> Result<Vec<f64>, Failure> {
    match protocol {
        Protocol::V1 | Protocol::Raw => v1(&response.body),
        Protocol::V2 => choose(v2(response)?, names),
        Protocol::GrpcBytes | Protocol::GrpcTensor | Protocol::Triton => {
            let message = ModelInferResponse::decode(response.body.clone()).map_err(malformed)?;
            choose(infer(message)?, names)
        }
        Protocol::GrpcStream => {
            let message =
                ModelStreamInferResponse::decode(response.body.clone()).map_err(malformed)?;
            if !message.error_message.is_empty() {
                return Err(Failure::new(
                    FailureKind::StreamError,
                    message.error_message,
                ));
            }
            choose(infer(message.infer_response.unwrap_or_default())?, names)
        }
    }
}

fn malformed(why: impl ToString) -> Failure {
    Failure::new(FailureKind::Malformed, why.to_string())
}

#[derive(Deserialize)]
struct MultiResponse {
    multi_data: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    data: Vec<Score>,
    extra_info: Option<ExtraInfo>,
}

#[derive(Deserialize)]
struct Score {
    score: f64,
}

#[derive(Deserialize)]
struct ExtraInfo {
    error: Option<String>,
}

fn v1(body: &[u8]) -> Result<Vec<f64>, Failure> {
    let response: MultiResponse = serde_json::from_slice(body).map_err(malformed)?;
    let mut scores = Vec::with_capacity(response.multi_data.len());
    for entry in response.multi_data {
        let error = entry.extra_info.and_then(|extra| extra.error);
        match (entry.data.as_slice(), error) {
            (_, Some(error)) => return Err(Failure::new(FailureKind::ImageError, error)),
            ([one], None) => scores.push(one.score),
            (others, None) => {
                let text = format!("{} scores for one image", others.len());
                return Err(malformed(text));
            }
        }
    }
    Ok(scores)
}

#[derive(Deserialize)]
struct V2Response {
    outputs: Vec<V2Output>,
}

#[derive(Deserialize)]
struct V2Output {
    name: String,
    #[serde(default)]
    parameters: V2Parameters,
    data: Option<Vec<f64>>,
}

#[derive(Default, Deserialize)]
struct V2Parameters {
    binary_data_size: Option<usize>,
}

fn v2(response: &Response) -> Result<Vec<Output>, Failure> {
    let length = match response.headers.get(JSON_LENGTH) {
        None => response.body.len(),
        Some(value) => value
            .to_str()
            .ok()
            .and_then(|text| text.parse().ok())
            .filter(|&length| length <= response.body.len())
            .ok_or_else(|| malformed("the length of the JSON part is wrong"))?,
    };
    let (head, mut tensors) = response.body.split_at(length);
    let response: V2Response = serde_json::from_slice(head).map_err(malformed)?;
    let mut found = Vec::with_capacity(response.outputs.len());
    for output in response.outputs {
        let values = match (output.parameters.binary_data_size, output.data) {
            (Some(size), _) => {
                let (tensor, rest) = tensors
                    .split_at_checked(size)
                    .ok_or_else(|| malformed("an output is shorter than it says"))?;
                tensors = rest;
                fp32(tensor).map(f64::from).collect()
            }
            (None, Some(data)) => data,
            (None, None) => return Err(malformed("an output has no data")),
        };
        found.push(Output {
            name: output.name,
            values,
        });
    }
    Ok(found)
}

fn infer(response: ModelInferResponse) -> Result<Vec<Output>, Failure> {
    let mut raw = response.raw_output_contents.into_iter();
    let mut found = Vec::with_capacity(response.outputs.len());
    for output in response.outputs {
        let values = match output.contents {
            Some(contents) => contents.fp32_contents.into_iter().map(f64::from).collect(),
            None => {
                let tensor: Bytes = raw
                    .next()
                    .ok_or_else(|| malformed("an output has no data"))?;
                fp32(&tensor).map(f64::from).collect()
            }
        };
        found.push(Output {
            name: output.name,
            values,
        });
    }
    Ok(found)
}

/// An output of the model.
struct Output {
    name: String,
    values: Vec<f64>,
}

fn choose(mut outputs: Vec<Output>, names: &[String]) -> Result<Vec<f64>, Failure> {
    if outputs.is_empty() {
        return Err(malformed("the response has no output"));
    }
    let named = outputs
        .iter()
        .position(|output| names.contains(&output.name));
    Ok(outputs.swap_remove(named.unwrap_or(0)).values)
}

#[cfg(test)]
mod tests {
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
        binary.headers.insert(JSON_LENGTH, head.len().into());
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
