//! What is sent: the bodies of all requests, built once before the clock starts, so that sending
//! one costs a reference count.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use serde_json::json;

use crate::loadtest::error::Error;
use crate::loadtest::protocol::Protocol;
use crate::loadtest::schedule::Random;
use crate::loadtest::settings::{Endpoint, ModelTensors};
use crate::wire::triton::ModelInferRequest;
use crate::wire::triton::model_infer_request::InferInputTensor;

/// Bodies above this are not built; the images left over are said to be unused.
const MAX_BYTES: usize = 512 << 20;

/// Different tensors, where tensors are sent instead of images.
const TENSORS: usize = 8;

/// An encoded image.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// The file's name without its folder: the key in a golden file.
    pub(crate) name: String,
    pub(crate) bytes: Bytes,
}

/// Reads the named files, and the files of the named folders by name.
pub(crate) fn read_images(paths: &[PathBuf]) -> Result<Vec<Image>, Error> {
    let failed = |path: &Path, error: std::io::Error| {
        Error::Usage(format!("--images: {}: {error}", path.display()))
    };
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut inside = fs::read_dir(path)
                .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
                .map_err(|error| failed(path, error))
                .map(|found: Vec<PathBuf>| found)?;
            inside.retain(|file| file.is_file());
            inside.sort();
            files.append(&mut inside);
        } else {
            files.push(path.clone());
        }
    }
    files
        .into_iter()
        .map(|file| {
            let bytes = fs::read(&file).map_err(|error| failed(&file, error))?;
            let name = file.file_name().unwrap_or(file.as_os_str());
            Ok(Image {
                name: name.to_string_lossy().into_owned(),
                bytes: bytes.into(),
            })
        })
        .collect()
}

/// A request ready to be sent.
#[derive(Debug)]
pub(crate) struct Request {
    /// The HTTP body; for gRPC the message in its frame.
    pub(crate) body: Bytes,
    /// The value of `inference-header-content-length`, for V2.
    pub(crate) json_length: Option<usize>,
    /// The numbers of its images, in order.
    pub(crate) images: Vec<usize>,
}

/// All requests; they are sent in turn.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) requests: Vec<Request>,
    /// The images' names, by number.
    pub(crate) names: Vec<String>,
    /// Images of `--images` that did not fit.
    pub(crate) unused: usize,
}

impl Workload {
    /// Builds requests of `batch` images each. Every image is in one of them.
    pub(crate) fn build(
        endpoint: &Endpoint,
        tensors: &ModelTensors,
        images: &[Image],
        batch: usize,
    ) -> Result<Self, Error> {
        let protocol = endpoint.protocol;
        if batch == 0 {
            return Err(Error::Usage("--batch must be at least 1".to_owned()));
        }
        if protocol == Protocol::Raw && batch > 1 {
            return Err(Error::Usage(
                "--protocol raw sends one image per request; leave --batch at 1".to_owned(),
            ));
        }
        let names: Vec<_> = if protocol.sends_tensors() {
            (0..TENSORS).map(|i| format!("noise-{i}")).collect()
        } else {
            images.iter().map(|image| image.name.clone()).collect()
        };
        if names.is_empty() {
            return Err(Error::Usage(
                "no images to send: name files or a folder with --images".to_owned(),
            ));
        }
        let rows: Vec<_> = if protocol.sends_tensors() {
            (0..TENSORS)
                .map(|i| noise(i as u64, &tensors.row))
                .collect()
        } else {
            Vec::new()
        };
        let model = &endpoint.model;
        let mut requests = Vec::new();
        let mut bytes = 0;
        let mut used = 0;
        while used < names.len() && bytes < MAX_BYTES {
            let chosen: Vec<_> = (used..used + batch).map(|i| i % names.len()).collect();
            let encoded = || chosen.iter().map(|&i| images[i].bytes.clone()).collect();
            let (body, json_length) = match protocol {
                Protocol::V1 => (v1(encoded()), None),
                Protocol::Raw => (images[chosen[0]].bytes.clone(), None),
                Protocol::V2 => {
                    let (body, length) = v2(encoded());
                    (body, Some(length))
                }
                Protocol::GrpcBytes | Protocol::GrpcStream => (infer_bytes(model, encoded()), None),
                Protocol::GrpcTensor | Protocol::Triton => {
                    let rows: Vec<_> = chosen.iter().map(|&i| rows[i].clone()).collect();
                    (infer_tensor(model, tensors, &rows), None)
                }
            };
            bytes += body.len();
            used += batch;
            requests.push(Request {
                body,
                json_length,
                images: chosen,
            });
        }
        Ok(Self {
            requests,
            unused: names.len().saturating_sub(used),
            names,
        })
    }
}

fn v1(images: Vec<Bytes>) -> Bytes {
    let request = |image: &Bytes| {
        let text = base64_simd::STANDARD.encode_to_string(image);
        json!({"data": {"item": format!("data:image/jpeg;base64,{text}")}})
    };
    let body = match images.as_slice() {
        [one] => request(one),
        many => json!({"multi_data": many.iter().map(request).collect::<Vec<_>>()}),
    };
    body.to_string().into()
}

/// BYTES elements: each preceded by its length.
fn bytes_tensor(images: &[Bytes]) -> BytesMut {
    let mut tensor = BytesMut::new();
    for image in images {
        tensor.put_u32_le(image.len() as u32);
        tensor.put_slice(image);
    }
    tensor
}

fn v2(images: Vec<Bytes>) -> (Bytes, usize) {
    let tensor = bytes_tensor(&images);
    let head = json!({
        "inputs": [{
            "name": "image",
            "datatype": "BYTES",
            "shape": [images.len()],
            "parameters": {"binary_data_size": tensor.len()},
        }],
        "parameters": {"binary_data_output": true},
    })
    .to_string();
    let body = [head.as_bytes(), &tensor].concat();
    (body.into(), head.len())
}

fn infer_bytes(model: &str, images: Vec<Bytes>) -> Bytes {
    let tensor = bytes_tensor(&images).freeze();
    infer(model, "image", "BYTES", vec![images.len() as i64], tensor)
}

fn infer_tensor(model: &str, tensors: &ModelTensors, rows: &[Bytes]) -> Bytes {
    let shape = [&[rows.len() as i64], tensors.row.as_slice()].concat();
    infer(model, &tensors.input, "FP32", shape, rows.concat().into())
}

fn infer(model: &str, input: &str, datatype: &str, shape: Vec<i64>, tensor: Bytes) -> Bytes {
    let message = ModelInferRequest {
        model_name: model.to_owned(),
        inputs: vec![InferInputTensor {
            name: input.to_owned(),
            datatype: datatype.to_owned(),
            shape,
            ..Default::default()
        }],
        raw_input_contents: vec![tensor],
        ..Default::default()
    };
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(5 + length);
    frame.put_u8(0); // not compressed
    frame.put_u32(length as u32);
    frame.put_slice(&message.encode_to_vec());
    frame.freeze()
}

/// One row of values in [-1, 1), as normalised pixels are.
fn noise(seed: u64, row: &[i64]) -> Bytes {
    let mut random = Random(seed);
    let values: i64 = row.iter().product();
    (0..values)
        .flat_map(|_| ((random.unit() * 2.0 - 1.0) as f32).to_le_bytes())
        .collect()
}

#[cfg(test)]
impl Workload {
    /// A workload for a model of three values per image.
    pub(crate) fn for_tests(
        protocol: Protocol,
        images: &[Image],
        batch: usize,
    ) -> Result<Self, Error> {
        let endpoint = Endpoint {
            url: String::new(),
            protocol,
            model: "m".to_owned(),
            pid: None,
        };
        let tensors = ModelTensors {
            input: "x".to_owned(),
            row: vec![3],
            outputs: Vec::new(),
        };
        Self::build(&endpoint, &tensors, images, batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(count: u8) -> Vec<Image> {
        (0..count)
            .map(|i| Image {
                name: format!("{i}.jpg"),
                bytes: vec![i; 10].into(),
            })
            .collect()
    }

    #[test]
    fn every_image_is_sent_and_batches_are_full() {
        let workload = Workload::for_tests(Protocol::V1, &images(5), 2).unwrap();
        let chosen: Vec<_> = workload.requests.iter().map(|r| r.images.clone()).collect();
        assert_eq!(chosen, [[0, 1], [2, 3], [4, 0]]);
        let body: serde_json::Value = serde_json::from_slice(&workload.requests[1].body).unwrap();
        assert_eq!(body["multi_data"].as_array().unwrap().len(), 2);
        let item = &body["multi_data"][0]["data"]["item"];
        assert_eq!(item, "data:image/jpeg;base64,AgICAgICAgICAg==");
    }

    #[test]
    fn a_grpc_body_is_a_frame_with_one_tensor() {
        let workload = Workload::for_tests(Protocol::GrpcTensor, &[], 3).unwrap();
        let body = &workload.requests[0].body;
        assert_eq!(body[0], 0);
        let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
        assert_eq!(length, body.len() - 5);
        let message = ModelInferRequest::decode(&body[5..]).unwrap();
        assert_eq!(message.inputs[0].shape, [3, 3]);
        assert_eq!(message.raw_input_contents[0].len(), 3 * 3 * 4);
    }

    #[test]
    fn a_v2_body_says_where_its_json_ends() {
        let workload = Workload::for_tests(Protocol::V2, &images(1), 1).unwrap();
        let request = &workload.requests[0];
        let (head, tensor) = request.body.split_at(request.json_length.unwrap());
        let head: serde_json::Value = serde_json::from_slice(head).unwrap();
        assert_eq!(head["inputs"][0]["parameters"]["binary_data_size"], 14);
        assert_eq!(tensor.len(), 14);
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        assert!(Workload::for_tests(Protocol::V1, &[], 1).is_err());
        assert!(Workload::for_tests(Protocol::V1, &images(1), 0).is_err());
        assert!(Workload::for_tests(Protocol::Raw, &images(1), 2).is_err());
    }
}
