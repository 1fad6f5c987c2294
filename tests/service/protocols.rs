//! One image through every protocol and to every kind of predictor: the same score to the last bit.

use bytes::Bytes;
use kserve_transformer::wire::tensor::{DataType, fp32};
use kserve_transformer::wire::triton::ModelInferRequest;
use kserve_transformer::wire::triton::model_infer_request::InferInputTensor;
use reqwest::Method;
use serde_json::{Value, json};

use super::errors::{grpc, image_request};
use crate::world::{World, grey, item, read, score_of_grey, single};

fn face() -> Vec<u8> {
    std::fs::read("data/images/face.png").unwrap()
}

/// The tensor that the image becomes.
fn tensor(image: &[u8]) -> Bytes {
    use kserve_transformer::pixel;
    let options = pixel::Options {
        max_pixels: 1_000_000,
        exif_orientation: pixel::ExifOrientation::Ignore,
        formats: pixel::Formats::DEFAULT,
    };
    let mut planes = [(); 3].map(|()| bytes::BytesMut::with_capacity(112 * 112 * 4));
    pixel::to_planes(
        image,
        [112; 2],
        &options,
        &mut pixel::Scratch::default(),
        &mut planes,
    )
    .unwrap();
    planes.concat().into()
}

async fn v2(world: &World, json: &Value, binary: &[u8]) -> Value {
    let head = json.to_string();
    let mut request = world
        .client
        .request(Method::POST, world.url("/v2/models/facequality/infer"));
    if !binary.is_empty() {
        request = request.header("inference-header-content-length", head.len());
    }
    let body = [head.as_bytes(), binary].concat();
    let response = read(request.body(body).send().await.unwrap()).await;
    assert_eq!(response.status, 200, "{}", response.text);
    response.json()
}

async fn every_protocol(world: &World) -> f32 {
    let image = face();
    let tensor = tensor(&image);
    let score = world.predict(single(&item(&image))).await.scores()[0] as f32;
    let raw = world.predict(image.clone()).await.scores()[0] as f32;
    assert_eq!(raw.to_bits(), score.to_bits(), "raw body");

    let base64 = base64_simd::STANDARD.encode_to_string(&image);
    let input = json!({"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64]});
    let response = v2(world, &json!({"inputs": [input]}), b"").await;
    let found = response["outputs"][0]["data"][0].as_f64().unwrap() as f32;
    assert_eq!(found.to_bits(), score.to_bits(), "V2 JSON: {response}");

    let element = [&(image.len() as u32).to_le_bytes(), image.as_slice()].concat();
    let input = json!({"name": "image", "datatype": "BYTES", "shape": [1],
        "parameters": {"binary_data_size": element.len()}});
    let response = v2(world, &json!({"inputs": [input]}), &element).await;
    let found = response["outputs"][0]["data"][0].as_f64().unwrap() as f32;
    assert_eq!(found.to_bits(), score.to_bits(), "V2 binary: {response}");

    let request = image_request("facequality", &image);
    let response = grpc(world)
        .await
        .model_infer(request)
        .await
        .unwrap()
        .into_inner();
    let found = fp32(&response.raw_output_contents[0]).next().unwrap();
    assert_eq!(found.to_bits(), score.to_bits(), "gRPC bytes");

    let request = ModelInferRequest {
        model_name: "facequality".to_owned(),
        inputs: vec![InferInputTensor {
            name: "input.1".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1, 3, 112, 112],
            ..Default::default()
        }],
        raw_input_contents: vec![tensor],
        ..Default::default()
    };
    let response = grpc(world)
        .await
        .model_infer(request)
        .await
        .unwrap()
        .into_inner();
    let found = fp32(&response.raw_output_contents[0]).next().unwrap();
    assert_eq!(found.to_bits(), score.to_bits(), "gRPC tensor");
    score
}

#[tokio::test]
async fn every_protocol_gives_the_same_score() {
    let world = World::new().await;
    let by_grpc = every_protocol(&world).await;
    let world = World::with(&["--predictor_protocol=v2"], |_| ()).await;
    let by_rest = every_protocol(&world).await;
    assert_eq!(by_grpc.to_bits(), by_rest.to_bits());
}

#[cfg(feature = "embedded")]
#[tokio::test]
async fn the_embedded_model_scores_alike_here_and_behind_the_predictor_command() {
    use clap::Parser;
    use kserve_transformer::command::predictor::{self, Args};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    let flags = ["x", "--host=127.0.0.1", "--grpc_port=0", "--http_port=0"];
    let behind = predictor::start(Line::parse_from(flags).args)
        .await
        .unwrap();
    let mut scores = Vec::new();
    for flags in [
        vec![],
        vec![
            format!("--predictor_host={}", behind.grpc.unwrap()),
            "--predictor_protocol=grpc-v2".to_owned(),
        ],
        vec![
            format!("--predictor_host={}", behind.http),
            "--predictor_protocol=v2".to_owned(),
        ],
    ] {
        let world = World {
            triton: crate::world::triton::FakeTriton::start().await,
            service: crate::world::service(&flags).await,
            client: reqwest::Client::new(),
        };
        world.wait_ready().await;
        scores.push(every_protocol(&world).await.to_bits());
    }
    assert_eq!(scores, [scores[0]; 3]);
}

#[tokio::test]
async fn the_predictor_sees_the_allow_list_and_nothing_else() {
    for protocol in ["--predictor_protocol=grpc-v2", "--predictor_protocol=v2"] {
        let world = World::with(&[protocol], |_| ()).await;
        let request = world
            .client
            .post(world.url("/v1/models/facequality:predict"))
            .header("x-request-id", "r")
            .header("traceparent", "t")
            .header("x-b3-traceid", "b")
            .header("authorization", "secret")
            .header("cookie", "c")
            .header("x-other", "o");
        let response = request.body(single(&item(&face()))).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let mut over_grpc = tonic::Request::new(image_request("facequality", &face()));
        let rest = world.triton.observed().headers;
        for (name, value) in [
            ("x-request-id", "r"),
            ("traceparent", "t"),
            ("x-b3-traceid", "b"),
            ("authorization", "secret"),
            ("cookie", "c"),
            ("x-other", "o"),
        ] {
            over_grpc
                .metadata_mut()
                .insert(name, value.parse().unwrap());
        }
        grpc(&world).await.model_infer(over_grpc).await.unwrap();
        let grpc = world.triton.observed().headers;
        for headers in [rest, grpc] {
            let mut received: Vec<_> = headers
                .keys()
                .map(|name| name.as_str())
                // What every call of the protocol carries.
                .filter(|name| {
                    ![
                        "content-type",
                        "te",
                        "user-agent",
                        "grpc-timeout",
                        "host",
                        "accept",
                        "content-length",
                        "inference-header-content-length",
                    ]
                    .contains(name)
                })
                .collect();
            received.sort_unstable();
            assert_eq!(
                received,
                [
                    "authorization",
                    "traceparent",
                    "x-b3-traceid",
                    "x-request-id"
                ],
                "{protocol}"
            );
        }
    }
}

#[tokio::test]
async fn old_connections_of_every_port_are_closed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    const GOAWAY: u8 = 7;
    let world = World::with(&["--grpc_max_connection_age_seconds=1"], |_| ()).await;
    let mut kept = TcpStream::connect(world.service.http).await.unwrap();
    let request = b"GET /v2/health/live HTTP/1.1\r\n\r\n";
    kept.write_all(request).await.unwrap();
    let mut response = String::new();
    kept.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    for address in [world.service.http, world.service.grpc.unwrap()] {
        let mut peer = TcpStream::connect(address).await.unwrap();
        let begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        peer.write_all(begin).await.unwrap();
        loop {
            let mut head = [0; 9];
            peer.read_exact(&mut head).await.unwrap();
            if head[3] == GOAWAY {
                break;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            peer.read_exact(&mut vec![0; length as usize])
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn the_tensor_goes_out_as_the_model_takes_it() {
    // The values of grey images are exact in FP16 too.
    let images: Vec<_> = [0, 77, 255].map(grey).to_vec();
    for datatype in [DataType::Fp32, DataType::Fp16, DataType::Uint8] {
        let world = World::with(&[], |script| script.input_datatype = datatype).await;
        let expected = [0, 77, 255].map(score_of_grey);
        assert_eq!(world.scores(&images).await, expected, "{datatype}");
        let metadata = world.get("/v2/models/facequality-tensor").await.json();
        assert_eq!(metadata["inputs"][0]["datatype"], datatype.name());
    }
}

#[tokio::test]
async fn ready_made_tensors_are_a_model_of_their_own() {
    let world = World::new().await;
    let metadata = |model: &str| format!("/v2/models/{model}");
    let shown = world.get(&metadata("facequality")).await.json();
    assert_eq!(
        shown["inputs"],
        json!([{"name": "image", "datatype": "BYTES", "shape": [-1, 1]}])
    );
    let shown = world.get(&metadata("facequality-tensor")).await.json();
    assert_eq!(
        shown["inputs"],
        json!([{"name": "input.1", "datatype": "FP32", "shape": [-1, 3, 112, 112]}])
    );
    let config = world.get("/v2/models/facequality/config").await.json();
    assert_eq!(config["max_batch_size"], 256);
    assert_eq!(config["input"][0]["dims"], json!([1]));
    let tensor = tensor(&face());
    let input = json!({"name": "input.1", "datatype": "FP32", "shape": [1, 3, 112, 112],
        "parameters": {"binary_data_size": tensor.len()}});
    let head = json!({"inputs": [input]}).to_string();
    let mut scores = Vec::new();
    for model in ["facequality", "facequality-tensor"] {
        let request = world
            .client
            .request(
                Method::POST,
                world.url(&format!("/v2/models/{model}/infer")),
            )
            .header("inference-header-content-length", head.len())
            .body([head.as_bytes(), &tensor].concat());
        let response = read(request.send().await.unwrap()).await;
        assert_eq!(response.status, 200, "{}", response.text);
        scores.push(response.json()["outputs"][0]["data"][0].clone());
    }
    assert_eq!(scores[0], scores[1]);
    let url = "/v1/models/facequality-tensor:predict";
    let refused = world.send(Method::POST, url, single(&item(&face()))).await;
    assert_eq!(refused.status, 400);
    assert!(
        refused.error().contains("\"facequality\""),
        "{}",
        refused.text
    );
}
