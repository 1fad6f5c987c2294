//! Scores out of an answer, for each protocol.

use bytes::Bytes;

use crate::loadtest::failure::{Failure, Fault};
use crate::loadtest::target::Reply;
use crate::loadtest::workload::Protocol;
use crate::wire;
use crate::wire::grpc::decode_message;
use crate::wire::tensor::fp32;
use crate::wire::triton::{ModelInferResponse, ModelStreamInferResponse};
use crate::wire::v1::response::parse_multi_response;

/// Names of the output that holds the scores; otherwise the first output does.
const OUTPUTS: [&str; 2] = ["score", "1346"];

/// One score per image, in order.
pub(super) fn scores(protocol: Protocol, reply: &Reply) -> Result<Vec<f64>, Failure> {
    match protocol {
        Protocol::V1 | Protocol::Raw => v1(&reply.body),
        Protocol::V2 => v2(reply),
        Protocol::GrpcBytes | Protocol::GrpcTensor | Protocol::Triton => {
            infer(decode_message(reply.body.clone()).map_err(malformed)?)
        }
        Protocol::GrpcStream => {
            let answer: ModelStreamInferResponse =
                decode_message(reply.body.clone()).map_err(malformed)?;
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

fn v1(body: &[u8]) -> Result<Vec<f64>, Failure> {
    let rows = parse_multi_response(body).map_err(malformed)?.into_iter();
    rows.map(|row| row.map_err(|error| Failure::new(Fault::ImageError, error)))
        .collect()
}

fn v2(reply: &Reply) -> Result<Vec<f64>, Failure> {
    let length = wire::v2::json_length(&reply.headers).map_err(malformed)?;
    let response = wire::v2::response::parse(&reply.body, length, |_| true);
    infer(response.map_err(malformed)?)
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
    use prost::Message as _;

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
            .insert(wire::v2::JSON_LENGTH, head.len().into());
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
