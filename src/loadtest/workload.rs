//! What is sent: the bodies of all requests, built once before the clock starts, so that sending
//! one costs a reference count.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use clap::ValueEnum;

use crate::loadtest::Error;
use crate::loadtest::schedule::Random;
use crate::wire::bytes_tensor::put_element;
use crate::wire::grpc;
use crate::wire::triton::ModelInferRequest;
use crate::wire::triton::model_infer_request::InferInputTensor;
use crate::wire::{v1, v2};

/// Bodies above this are not built; the images left over are said to be unused.
const PLAN_BYTES: usize = 512 << 20;

/// Different tensors where images are not what is sent.
const TENSORS: usize = 8;

/// The shape of one image as the quality model takes it.
const TENSOR_ROW: [i64; 3] = [3, 112, 112];

/// How the target is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// V1 JSON with base64 images.
    V1,
    /// The image itself as the body of a V1 predict.
    Raw,
    /// V2 REST with the binary tensor extension, input `image`.
    V2,
    /// ModelInfer, input `image` BYTES.
    GrpcBytes,
    /// ModelInfer, input `input.1` FP32.
    GrpcTensor,
    /// ModelStreamInfer, input `image` BYTES, one request after the other on each stream.
    GrpcStream,
    /// ModelInfer of the predictor's own model: Triton without the transformer.
    Triton,
}

impl Protocol {
    /// Whether it goes over HTTP/2 as gRPC.
    pub fn is_grpc(self) -> bool {
        !matches!(self, Self::V1 | Self::Raw | Self::V2)
    }

    /// Whether tensors are sent instead of images.
    pub fn sends_tensors(self) -> bool {
        matches!(self, Self::GrpcTensor | Self::Triton)
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::Raw => "raw",
            Self::V2 => "v2",
            Self::GrpcBytes => "grpc-bytes",
            Self::GrpcTensor => "grpc-tensor",
            Self::GrpcStream => "grpc-stream",
            Self::Triton => "triton",
        }
    }
}

/// An encoded image.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// The file's name without its folder: the key in a golden file.
    pub(super) name: String,
    pub(super) bytes: Bytes,
}

/// Reads the named files, and the files of the named folders by name.
pub(super) fn read_images(paths: &[PathBuf]) -> Result<Vec<Image>, Error> {
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
pub(super) struct Request {
    /// The HTTP body; for gRPC the message with its five bytes in front.
    pub(super) body: Bytes,
    /// The value of `inference-header-content-length`, for V2.
    pub(super) json_length: Option<usize>,
    /// The numbers of its images, in order.
    pub(super) images: Vec<usize>,
}

/// All requests; they are sent in turn.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) requests: Vec<Request>,
    /// The images' names, by number.
    pub(super) names: Vec<String>,
    /// Images of `--images` that did not fit.
    pub(super) unused: usize,
}

impl Plan {
    /// Builds requests of `batch` images each. Every image is in one of them.
    pub(super) fn build(
        protocol: Protocol,
        model: &str,
        images: &[Image],
        batch: usize,
    ) -> Result<Self, Error> {
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
            images.iter().map(|p| p.name.clone()).collect()
        };
        if names.is_empty() {
            return Err(Error::Usage(
                "there are no images to send; name files or a folder with --images".to_owned(),
            ));
        }
        let tensors: Vec<_> = if protocol.sends_tensors() {
            (0..TENSORS).map(|i| noise(i as u64)).collect()
        } else {
            Vec::new()
        };
        let mut requests = Vec::new();
        let mut bytes = 0;
        let mut used = 0;
        while used < names.len() && bytes < PLAN_BYTES {
            let chosen: Vec<_> = (used..used + batch).map(|i| i % names.len()).collect();
            let parts = |all: &[Bytes]| chosen.iter().map(|&i| all[i].clone()).collect();
            let encoded = || chosen.iter().map(|&i| images[i].bytes.clone()).collect();
            let (body, json_length) = match protocol {
                Protocol::V1 => (v1(encoded()), None),
                Protocol::Raw => (images[chosen[0]].bytes.clone(), None),
                Protocol::V2 => {
                    let (body, length) = v2(encoded())?;
                    (body, Some(length))
                }
                Protocol::GrpcBytes | Protocol::GrpcStream => {
                    (infer_bytes(model, encoded())?, None)
                }
                Protocol::GrpcTensor | Protocol::Triton => {
                    (infer_tensor(model, parts(&tensors)), None)
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
    let item = |image: &Bytes| {
        let text = base64_simd::STANDARD.encode_to_string(image);
        format!("data:image/jpeg;base64,{text}")
    };
    let items: Vec<_> = images.iter().map(item).collect();
    v1::request::to_json(&items).into()
}

fn bytes_tensor(images: &[Bytes]) -> Result<Bytes, Error> {
    let mut tensor = BytesMut::new();
    for image in images {
        put_element(&mut tensor, image)
            .map_err(|_| Error::Usage("an image of --images has 4 GiB or more".to_owned()))?;
    }
    Ok(tensor.freeze())
}

fn v2(images: Vec<Bytes>) -> Result<(Bytes, usize), Error> {
    let tensor = bytes_tensor(&images)?;
    let message = infer_request("", "image", "BYTES", vec![images.len() as i64]);
    let head = v2::request::to_json(&message, &[tensor.len()]);
    let body = [&head[..], &tensor].concat();
    Ok((body.into(), head.len()))
}

fn infer_bytes(model: &str, images: Vec<Bytes>) -> Result<Bytes, Error> {
    let tensor = bytes_tensor(&images)?;
    let message = infer_request(model, "image", "BYTES", vec![images.len() as i64]);
    Ok(framed(message, tensor))
}

fn infer_tensor(model: &str, rows: Vec<Bytes>) -> Bytes {
    let shape = [&[rows.len() as i64], TENSOR_ROW.as_slice()].concat();
    let message = infer_request(model, "input.1", "FP32", shape);
    framed(message, rows.concat().into())
}

fn infer_request(model: &str, input: &str, datatype: &str, shape: Vec<i64>) -> ModelInferRequest {
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

/// One row of values in [-1, 1), as normalised pixels are.
fn noise(seed: u64) -> Bytes {
    let mut random = Random(seed);
    let values: i64 = TENSOR_ROW.iter().product();
    (0..values)
        .flat_map(|_| ((random.unit() * 2.0 - 1.0) as f32).to_le_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use prost::Message;

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
        let plan = Plan::build(Protocol::V1, "m", &images(5), 2).unwrap();
        let chosen: Vec<_> = plan.requests.iter().map(|r| r.images.clone()).collect();
        assert_eq!(chosen, [[0, 1], [2, 3], [4, 0]]);
        let body: serde_json::Value = serde_json::from_slice(&plan.requests[1].body).unwrap();
        assert_eq!(body["multi_data"].as_array().unwrap().len(), 2);
        let item = &body["multi_data"][0]["data"]["item"];
        assert_eq!(item, "data:image/jpeg;base64,AgICAgICAgICAg==");
    }

    #[test]
    fn a_grpc_body_is_a_frame_with_one_tensor() {
        let plan = Plan::build(Protocol::GrpcTensor, "m", &[], 3).unwrap();
        let body = &plan.requests[0].body;
        assert_eq!(body[0], 0);
        let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
        assert_eq!(length, body.len() - 5);
        let message = ModelInferRequest::decode(&body[5..]).unwrap();
        assert_eq!(message.inputs[0].shape, [3, 3, 112, 112]);
        assert_eq!(message.raw_input_contents[0].len(), 3 * 150_528);
    }

    #[test]
    fn a_v2_body_says_where_its_json_ends() {
        let plan = Plan::build(Protocol::V2, "m", &images(1), 1).unwrap();
        let request = &plan.requests[0];
        let (head, tensor) = request.body.split_at(request.json_length.unwrap());
        let head: serde_json::Value = serde_json::from_slice(head).unwrap();
        assert_eq!(head["inputs"][0]["parameters"]["binary_data_size"], 14);
        assert_eq!(tensor.len(), 14);
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        assert!(Plan::build(Protocol::V1, "m", &[], 1).is_err());
        assert!(Plan::build(Protocol::V1, "m", &images(1), 0).is_err());
        assert!(Plan::build(Protocol::Raw, "m", &images(1), 2).is_err());
    }
}
