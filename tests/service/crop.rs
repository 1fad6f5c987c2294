//! The output `crop`: the pixels that the quality model was given, equal to the tensor that the scripted
//! Triton received, over every protocol.

use bytes::Bytes;
use kserve_transformer::wire::tensor::{DataType, fp16, fp32};
use kserve_transformer::wire::triton::model_infer_request::{
    InferInputTensor, InferRequestedOutputTensor,
};
use kserve_transformer::wire::triton::{
    InferTensorContents, ModelInferRequest, ModelInferResponse,
};
use reqwest::Method;
use serde_json::{Value, json};
use tonic::Code;

use super::errors::grpc;
use crate::world::{World, grey};

const SIDE: usize = 112;
const PIXELS: usize = SIDE * SIDE;

fn face() -> Vec<u8> {
    std::fs::read("data/images/face.png").unwrap()
}

/// One row of the tensor that Triton received, as pixels: by the README's arithmetic.
fn pixels(row: &[u8], datatype: DataType) -> Vec<u8> {
    let byte = |value: f32| {
        let byte = value * 128.0 + 127.5;
        assert_eq!(byte.fract(), 0.0, "{value} is no byte's value");
        byte as u8
    };
    let planes: Vec<u8> = match datatype {
        DataType::Fp32 => fp32(row).map(byte).collect(),
        DataType::Fp16 => fp16(row).map(byte).collect(),
        _ => row.to_vec(),
    };
    let places = (0..PIXELS).flat_map(|pixel| [0, 1, 2].map(|plane| plane * PIXELS + pixel));
    places.map(|place| planes[place]).collect()
}

/// The rows of all calls so far.
fn sent(world: &World, datatype: DataType) -> Vec<Vec<u8>> {
    let bytes = 3 * PIXELS * datatype.size().unwrap();
    let inputs = world.triton.observed().inputs;
    let rows = inputs.iter().flat_map(|input| input.chunks(bytes));
    rows.map(|row| pixels(row, datatype)).collect()
}

fn request(model: &str, images: &[Vec<u8>], outputs: &[&str]) -> ModelInferRequest {
    let output = |name: &&str| InferRequestedOutputTensor {
        name: (*name).to_owned(),
        ..Default::default()
    };
    ModelInferRequest {
        model_name: model.to_owned(),
        inputs: vec![InferInputTensor {
            name: "image".to_owned(),
            datatype: "BYTES".to_owned(),
            shape: vec![images.len() as i64],
            contents: Some(InferTensorContents {
                bytes_contents: images.iter().cloned().map(Bytes::from).collect(),
                ..Default::default()
            }),
            ..Default::default()
        }],
        outputs: outputs.iter().map(output).collect(),
        ..Default::default()
    }
}

/// Images as raw contents: the outputs come raw too.
fn raw(mut request: ModelInferRequest) -> ModelInferRequest {
    let contents = request.inputs[0].contents.take().unwrap();
    let elements = contents.bytes_contents.iter();
    let elements = elements.flat_map(|image| {
        let length = (image.len() as u32).to_le_bytes();
        [length.as_slice(), image].concat()
    });
    request.raw_input_contents = vec![elements.collect::<Vec<_>>().into()];
    request
}

async fn infer(world: &World, request: ModelInferRequest) -> ModelInferResponse {
    let response = grpc(world).await.model_infer(request).await;
    response.unwrap().into_inner()
}

/// A V2 request of one image whose outputs are in JSON, or binary behind it.
async fn v2(world: &World, model: &str, image: &[u8], binary: bool) -> (Value, Vec<u8>) {
    let head = json!({
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1],
            "parameters": {"binary_data_size": image.len() + 4}}],
        "outputs": [{"name": "score"}, {"name": "crop", "parameters": {"binary_data": binary}}],
    });
    let head = head.to_string();
    let length = (image.len() as u32).to_le_bytes();
    let body = [head.as_bytes(), length.as_slice(), image].concat();
    let url = world.url(&format!("/v2/models/{model}/infer"));
    let request = world.client.request(Method::POST, url).body(body);
    let request = request.header("inference-header-content-length", head.len());
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let length = response.headers().get("inference-header-content-length");
    let length = length.map(|length| length.to_str().unwrap().parse::<usize>().unwrap());
    let body = response.bytes().await.unwrap();
    let (json, binary) = body.split_at(length.unwrap_or(body.len()));
    (serde_json::from_slice(json).unwrap(), binary.to_vec())
}

#[tokio::test]
async fn it_is_what_was_sent_in_every_datatype_and_over_every_protocol() {
    for datatype in [DataType::Fp32, DataType::Fp16, DataType::Uint8] {
        let world = World::with(&[], |script| {
            script.input_datatype = datatype;
            script.keep_inputs = true;
        })
        .await;
        let typed = request("facequality", &[face()], &["crop", "score"]);
        let response = infer(&world, typed.clone()).await;
        let [expected] = sent(&world, datatype).try_into().unwrap();
        assert_eq!(response.outputs[0].datatype, "UINT8");
        assert_eq!(response.outputs[0].shape, [1, 112, 112, 3]);
        let contents = response.outputs[0].contents.as_ref().unwrap();
        let values = contents.uint_contents.iter().map(|&value| value as u8);
        assert!(
            values.eq(expected.iter().copied()),
            "{datatype}: gRPC, typed"
        );
        let response = infer(&world, raw(typed)).await;
        assert_eq!(response.raw_output_contents[0], expected, "{datatype}: raw");
        let (json, _) = v2(&world, "facequality", &face(), false).await;
        let output = &json["outputs"][1];
        assert_eq!(output["shape"], json!([1, 112, 112, 3]));
        let values = output["data"].as_array().unwrap().iter();
        let values: Vec<u8> = values.map(|value| value.as_u64().unwrap() as u8).collect();
        assert_eq!(values, expected, "{datatype}: V2 in JSON");
        let (json, binary) = v2(&world, "facequality", &face(), true).await;
        let size = &json["outputs"][1]["parameters"]["binary_data_size"];
        assert_eq!(size, expected.len());
        assert_eq!(binary, expected, "{datatype}: V2 binary");
        // All of them were sent the same.
        let rows = sent(&world, datatype);
        assert!(rows.len() == 4 && rows.iter().all(|row| *row == expected));
        let metrics = world.get("/metrics").await.text;
        assert!(
            metrics.contains("\nfacequality_bytes_in_flight 0\n"),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn each_image_has_its_own_and_one_that_failed_is_black() {
    let world = World::new().await;
    let mut images: Vec<_> = (0..40).map(|value| grey(value * 5)).collect();
    images[7] = b"\xff\xd8\xffnot an image".to_vec();
    let asked = request("facequality", &images, &["error", "crop", "score"]);
    let response = infer(&world, raw(asked)).await;
    assert_eq!(response.outputs[1].shape, [40, 112, 112, 3]);
    let crops = response.raw_output_contents[1].chunks(3 * PIXELS);
    for (index, crop) in crops.enumerate() {
        let expected = if index == 7 { 0 } else { index as u8 * 5 };
        assert!(crop.iter().all(|&byte| byte == expected), "image {index}");
    }
}

#[tokio::test]
async fn it_is_made_for_those_who_ask_and_only_of_images() {
    let world = World::new().await;
    let response = infer(&world, request("facequality", &[grey(3)], &[])).await;
    let names: Vec<_> = response.outputs.iter().map(|output| &output.name).collect();
    assert_eq!(names, ["score"]);
    for what in ["", "/config"] {
        let described = world.get(&format!("/v2/models/facequality{what}")).await;
        assert!(!described.text.contains("crop"), "{}", described.text);
    }
    let mut tensors = request("facequality", &[], &["crop"]);
    tensors.inputs = vec![InferInputTensor {
        name: "input.1".to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![1, 3, 112, 112],
        ..Default::default()
    }];
    tensors.raw_input_contents = vec![vec![0; 3 * PIXELS * 4].into()];
    let mut client = grpc(&world).await;
    let refused = client.model_infer(tensors.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("made of images"), "{refused}");
    tensors.model_name = "facequality-tensor".to_owned();
    let refused = client.model_infer(tensors).await.unwrap_err();
    assert!(refused.message().contains("no output"), "{refused}");
}

#[tokio::test]
async fn crops_beyond_the_bytes_in_flight_are_refused() {
    let world = World::with(&["--max_bytes_in_flight=1MiB"], |_| ()).await;
    let images: Vec<_> = (0..40).map(|value| grey(value * 5)).collect();
    let asked = |outputs: &[&str]| raw(request("facequality", &images, outputs));
    let mut client = grpc(&world).await;
    client.model_infer(asked(&["score"])).await.unwrap();
    let refused = client.model_infer(asked(&["crop"])).await.unwrap_err();
    assert!(
        refused.message().contains("--max_bytes_in_flight"),
        "{refused}"
    );
}

#[cfg(feature = "embedded")]
#[tokio::test]
async fn each_face_of_a_photo_has_its_own_the_best_first() {
    let flags = ["--model_host=centerface=embedded", "--detect_side=320"];
    let world = World::with(&flags, |script| script.keep_inputs = true).await;
    let photo = super::photo::beside_a_blurred_copy();
    let images = [photo, grey(100)];
    let asked = request("facephoto", &images, &["image_index", "score", "crop"]);
    let response = infer(&world, raw(asked)).await;
    assert_eq!(response.outputs[2].shape, [2, 112, 112, 3]);
    let scores: Vec<f32> = fp32(&response.raw_output_contents[1]).collect();
    assert!(scores[0] > scores[1], "{scores:?}");
    let rows = sent(&world, DataType::Fp32);
    assert_eq!(rows.len(), 2);
    assert_ne!(rows[0], rows[1]);
    let crops = response.raw_output_contents[2].chunks(3 * PIXELS);
    for (crop, score) in crops.zip(scores) {
        assert!(rows.iter().any(|row| row == crop), "it was not sent");
        // The scripted Triton's score is the mean of what it was sent.
        let sum: f64 = crop.iter().map(|&byte| f64::from(byte)).sum();
        let mean = (sum / crop.len() as f64 - 127.5) / 128.0;
        assert!((mean - f64::from(score)).abs() < 1e-3, "{mean} {score}");
    }
}
