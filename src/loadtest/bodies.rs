//! The bodies of requests, as each protocol wants them.

use bytes::{Bytes, BytesMut};

use crate::loadtest::error::Error;
use crate::loadtest::protocol::Protocol;
use crate::loadtest::settings::{Endpoint, ModelTensors};
use crate::wire::bytes_tensor::put_element;
use crate::wire::triton::ModelInferRequest;
use crate::wire::triton::model_infer_request::InferInputTensor;
use crate::wire::{grpc, v1, v2};

/// The service's input for encoded images.
const IMAGE_INPUT: &str = "image";

/// A body ready to be sent.
#[derive(Debug)]
pub(crate) struct Body {
    /// The HTTP body; for gRPC the message in its frame.
    pub(crate) bytes: Bytes,
    /// Bytes of JSON in front of the binary data, for V2.
    pub(crate) json_length: Option<usize>,
}

/// A request with these images, or with these rows where tensors are sent.
pub(crate) fn write(
    endpoint: &Endpoint,
    tensors: &ModelTensors,
    elements: &[Bytes],
) -> Result<Body, Error> {
    let model = &endpoint.model;
    let mut json_length = None;
    let bytes = match endpoint.protocol {
        Protocol::V1 => {
            let items: Vec<_> = elements.iter().map(data_uri).collect();
            v1::request::to_json(&items).into()
        }
        Protocol::Raw => {
            debug_assert_eq!(elements.len(), 1, "a raw body is one image");
            elements.concat().into()
        }
        Protocol::V2 => {
            let tensor = bytes_tensor(elements)?;
            let message = message("", IMAGE_INPUT, "BYTES", vec![elements.len() as i64]);
            let json = v2::request::to_json(&message, &[tensor.len()]);
            json_length = Some(json.len());
            [&json[..], &tensor].concat().into()
        }
        Protocol::GrpcBytes | Protocol::GrpcStream => {
            let shape = vec![elements.len() as i64];
            let message = message(model, IMAGE_INPUT, "BYTES", shape);
            framed(message, bytes_tensor(elements)?)
        }
        Protocol::GrpcTensor | Protocol::Triton => {
            let shape = [&[elements.len() as i64], tensors.row.as_slice()].concat();
            let message = message(model, &tensors.input, "FP32", shape);
            framed(message, elements.concat().into())
        }
    };
    Ok(Body { bytes, json_length })
}

fn data_uri(image: &Bytes) -> String {
    let base64 = base64_simd::STANDARD.encode_to_string(image);
    format!("data:image/jpeg;base64,{base64}")
}

fn bytes_tensor(images: &[Bytes]) -> Result<Bytes, Error> {
    let mut tensor = BytesMut::new();
    for image in images {
        put_element(&mut tensor, image)
            .map_err(|_| Error::Usage("an image of --images has 4 GiB or more".to_owned()))?;
    }
    Ok(tensor.freeze())
}

fn message(model: &str, input: &str, datatype: &str, shape: Vec<i64>) -> ModelInferRequest {
    ModelInferRequest {
        model_name: model.to_owned(),
        inputs: vec![InferInputTensor {
            name: input.to_owned(),
            datatype: datatype.to_owned(),
            shape,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn framed(message: ModelInferRequest, tensor: Bytes) -> Bytes {
    grpc::encode(&ModelInferRequest {
        raw_input_contents: vec![tensor],
        ..message
    })
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn body(protocol: Protocol, elements: &[&'static [u8]]) -> Body {
        let endpoint = Endpoint {
            url: String::new(),
            protocol,
            model: "m".to_owned(),
            pid: None,
        };
        let tensors = ModelTensors {
            input: "x".to_owned(),
            row: vec![1],
            outputs: Vec::new(),
        };
        let elements: Vec<_> = elements.iter().map(|e| Bytes::from_static(e)).collect();
        write(&endpoint, &tensors, &elements).unwrap()
    }

    #[test]
    fn v1_is_a_request_or_a_multi_request() {
        let json = |elements: &[&'static [u8]]| -> serde_json::Value {
            serde_json::from_slice(&body(Protocol::V1, elements).bytes).unwrap()
        };
        let item = "data:image/jpeg;base64,AgIC";
        assert_eq!(json(&[&[2; 3]])["data"]["item"], item);
        let many = json(&[&[2; 3], &[2; 3]]);
        assert_eq!(many["multi_data"].as_array().unwrap().len(), 2);
        assert_eq!(many["multi_data"][1]["data"]["item"], item);
    }

    #[test]
    fn a_grpc_body_is_a_frame_with_one_tensor() {
        let bytes = body(Protocol::GrpcTensor, &[&[0; 4], &[0; 4], &[0; 4]]).bytes;
        assert_eq!(bytes[0], 0);
        let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
        assert_eq!(length, bytes.len() - 5);
        let message = ModelInferRequest::decode(&bytes[5..]).unwrap();
        assert_eq!(message.model_name, "m");
        assert_eq!(message.inputs[0].shape, [3, 1]);
        assert_eq!(message.raw_input_contents[0].len(), 12);
    }

    #[test]
    fn a_v2_body_says_where_its_json_ends() {
        let body = body(Protocol::V2, &[&[7; 10]]);
        let (json, tensor) = body.bytes.split_at(body.json_length.unwrap());
        let json: serde_json::Value = serde_json::from_slice(json).unwrap();
        assert_eq!(json["inputs"][0]["parameters"]["binary_data_size"], 14);
        assert_eq!(tensor.len(), 14);
    }
}
