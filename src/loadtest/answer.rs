//! Scores out of an answer, for each protocol.

use bytes::Bytes;
use prost::Message;
use serde::Deserialize;

use crate::loadtest::failure::{Failure, Fault};
use crate::loadtest::target::Reply;
use crate::loadtest::workload::Protocol;
use crate::wire::tensor::fp32;
use crate::wire::triton::{ModelInferResponse, ModelStreamInferResponse};

/// Names of the output that holds the scores; otherwise the first output does.
const OUTPUTS: [&str; 2] = ["score", "1346"];

/// One score per image, in order.
pub(super) fn scores(protocol: Protocol, reply: &Reply) -> Result<Vec<f64>, Failure> {
    match protocol {
        Protocol::V1 | Protocol::Raw => v1(&reply.body),
        Protocol::V2 => v2(reply),
        Protocol::GrpcBytes | Protocol::GrpcTensor | Protocol::Triton => {
            infer(ModelInferResponse::decode(reply.body.clone()).map_err(malformed)?)
        }
        Protocol::GrpcStream => {
            let answer = ModelStreamInferResponse::decode(reply.body.clone()).map_err(malformed)?;
            if !answer.error_message.is_empty() {
                return Err(Failure::new(Fault::StreamError, answer.error_message));
            }
            infer(answer.infer_response.unwrap_or_default())
        }
    }
}

fn malformed(why: impl ToString) -> Failure {
    Failure::new(Fault::Malformed, why.to_string())
}

#[derive(Deserialize)]
struct MultiResponse {
    multi_data: Vec<Response>,
}

#[derive(Deserialize)]
struct Response {
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
    let answer: MultiResponse = serde_json::from_slice(body).map_err(malformed)?;
    let mut scores = Vec::with_capacity(answer.multi_data.len());
    for response in answer.multi_data {
        let error = response.extra_info.and_then(|extra| extra.error);
        match (response.data.as_slice(), error) {
            (_, Some(error)) => return Err(Failure::new(Fault::ImageError, error)),
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
struct V2Answer {
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

fn v2(reply: &Reply) -> Result<Vec<f64>, Failure> {
    let length = match reply.headers.get(crate::loadtest::target::JSON_LENGTH) {
        None => reply.body.len(),
        Some(value) => value
            .to_str()
            .ok()
            .and_then(|text| text.parse().ok())
            .filter(|&length| length <= reply.body.len())
            .ok_or_else(|| malformed("the length of the JSON part is wrong"))?,
    };
    let (head, mut tensors) = reply.body.split_at(length);
    let answer: V2Answer = serde_json::from_slice(head).map_err(malformed)?;
    let mut found = Vec::with_capacity(answer.outputs.len());
    for output in answer.outputs {
        let values = match (output.parameters.binary_data_size, output.data) {
            (Some(size), _) => {
                let (tensor, rest) = tensors
                    .split_at_checked(size)
                    .ok_or_else(|| malformed("an output is shorter than it says"))?;
                tensors = rest;
                fp32(tensor).map(f64::from).collect()
            }
            (None, Some(data)) => data,
            (None, None) => return Err(malformed("an output without data")),
        };
        found.push((output.name, values));
    }
    choose(found)
}

fn infer(answer: ModelInferResponse) -> Result<Vec<f64>, Failure> {
    let mut raw = answer.raw_output_contents.into_iter();
    let mut found = Vec::with_capacity(answer.outputs.len());
    for output in answer.outputs {
        let values = match output.contents {
            Some(contents) => contents.fp32_contents.into_iter().map(f64::from).collect(),
            None => {
                let tensor: Bytes = raw
                    .next()
                    .ok_or_else(|| malformed("an output without data"))?;
                fp32(&tensor).map(f64::from).collect()
            }
        };
        found.push((output.name, values));
    }
    choose(found)
}

fn choose(mut outputs: Vec<(String, Vec<f64>)>) -> Result<Vec<f64>, Failure> {
    let named = outputs
        .iter()
        .position(|(name, _)| OUTPUTS.contains(&name.as_str()));
    if outputs.is_empty() {
        return Err(malformed("no output"));
    }
    Ok(outputs.swap_remove(named.unwrap_or(0)).1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::triton::model_infer_response::InferOutputTensor;

    fn reply(body: impl Into<Bytes>) -> Reply {
        Reply {
            body: body.into(),
            headers: http::HeaderMap::new(),
        }
    }

    #[test]
    fn v1_answers_hold_a_score_for_each_image() {
        let body = r#"{"multi_data":[{"data":[{"score":0.5}],"extra_info":{"source":"s"}},{"data":[{"score":0.25}]}]}"#;
        assert_eq!(scores(Protocol::V1, &reply(body)).unwrap(), [0.5, 0.25]);
    }

    #[test]
    fn a_reported_image_error_is_one() {
        let body = r#"{"multi_data":[{"data":[],"extra_info":{"source":"s","error":"no"}}]}"#;
        let failure = scores(Protocol::V1, &reply(body)).unwrap_err();
        assert_eq!(failure.fault, Fault::ImageError);
    }

    #[test]
    fn v2_answers_are_read_in_both_forms() {
        let body = r#"{"outputs":[{"name":"score","datatype":"FP32","shape":[1,1],"data":[0.5]}]}"#;
        assert_eq!(scores(Protocol::V2, &reply(body)).unwrap(), [0.5]);

        let head = r#"{"outputs":[{"name":"score","parameters":{"binary_data_size":8}}]}"#;
        let tensor = [0.5f32, 0.25].map(f32::to_le_bytes).concat();
        let mut binary = reply([head.as_bytes(), &tensor].concat());
        binary
            .headers
            .insert(crate::loadtest::target::JSON_LENGTH, head.len().into());
        assert_eq!(scores(Protocol::V2, &binary).unwrap(), [0.5, 0.25]);
    }

    #[test]
    fn the_score_is_found_among_other_outputs() {
        let output = |name: &str| InferOutputTensor {
            name: name.to_owned(),
            ..Default::default()
        };
        let answer = ModelInferResponse {
            outputs: vec![output("other"), output("1346")],
            raw_output_contents: [[1.0f32; 2], [0.5, 0.25]]
                .map(|values| Bytes::from(values.map(f32::to_le_bytes).concat()))
                .to_vec(),
            ..Default::default()
        };
        let read = scores(Protocol::Triton, &reply(answer.encode_to_vec())).unwrap();
        assert_eq!(read, [0.5, 0.25]);
    }

    #[test]
    fn nonsense_is_malformed() {
        for (protocol, body) in [
            (Protocol::V1, "<html>"),
            (Protocol::V1, r#"{"multi_data":[{"data":[]}]}"#),
            (Protocol::V2, r#"{"outputs":[]}"#),
            (Protocol::GrpcBytes, ""),
        ] {
            let failure = scores(protocol, &reply(body)).unwrap_err();
            assert_eq!(failure.fault, Fault::Malformed, "{body}");
        }
    }
}
