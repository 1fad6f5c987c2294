//! Whole photos: every face found, cut out and scored. The detector and the quality model are the real
//! ones, in the process or behind Triton's protocols; scripted where they have to fail.

use clap::Parser;
use kserve_transformer::command::predictor::{self, Args};
use kserve_transformer::pixel::{
    ExifOrientation, Formats, ImageBuf, Options, Scratch, decode_owned,
};
use kserve_transformer::wire::triton::grpc_inference_service_client::GrpcInferenceServiceClient;
use kserve_transformer::wire::triton::model_infer_request::{
    InferInputTensor, InferRequestedOutputTensor,
};
use kserve_transformer::wire::triton::{InferTensorContents, ModelInferRequest};
use reqwest::Method;
use serde_json::{Value, json};
use tonic::Code;

use crate::world::triton::{FakeTriton, Fault};
use crate::world::{Answer, World, grey, item, multi, service};

/// A photo of 512 × 512 with one face.
const PHOTO: &[u8] = include_bytes!("../../data/images/astronaut.jpg");

/// Where the face is.
const FACE: [f64; 4] = [182.0, 58.0, 88.0, 120.0];

/// So that a photo costs a test little.
const SMALL: &str = "--detect_side=320";

/// The detector in the process, the quality model scripted.
async fn scripted_quality() -> World {
    let flags = ["--model_host=centerface=embedded", SMALL];
    World::with(&flags, |_| ()).await
}

async fn photo(world: &World, body: String) -> Answer {
    let path = "/v1/models/facephoto:predict";
    world.send(Method::POST, path, body).await
}

fn faces(answer: &Answer, image: usize) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let entry = &answer.json()["multi_data"][image];
    assert_eq!(entry["extra_info"]["source"], "face_quality_score");
    entry["data"].as_array().unwrap().clone()
}

/// Intersection over union of two boxes.
fn overlap(a: [f64; 4], b: [f64; 4]) -> f64 {
    let shared = |axis: usize| {
        let end = (a[axis] + a[axis + 2]).min(b[axis] + b[axis + 2]);
        (end - a[axis].max(b[axis])).max(0.0)
    };
    let both = shared(0) * shared(1);
    both / (a[2] * a[3] + b[2] * b[3] - both)
}

fn numbers<const N: usize>(value: &Value) -> [f64; N] {
    let values = value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap());
    values.collect::<Vec<_>>().try_into().unwrap()
}

/// The photo beside a blurred copy of itself.
pub(super) fn beside_a_blurred_copy() -> Vec<u8> {
    let options = Options {
        max_pixels: 1 << 20,
        exif_orientation: ExifOrientation::Ignore,
        formats: Formats::DEFAULT,
    };
    let sharp = decode_owned(PHOTO, &options, &mut Scratch::default()).unwrap();
    let (width, height) = (sharp.width(), sharp.height());
    let blurred = blur(blur(sharp.clone()));
    let mut rgb = Vec::new();
    for y in 0..height {
        rgb.extend_from_slice(sharp.image().row(y));
        rgb.extend_from_slice(blurred.image().row(y));
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 2 * width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&rgb).unwrap();
    writer.finish().unwrap();
    file
}

/// Each pixel the mean of a square of 9 × 9.
fn blur(image: ImageBuf) -> ImageBuf {
    let (width, height) = (image.width(), image.height());
    let mut rgb = vec![0; width * height * 3];
    for y in 0..height {
        let rows: Vec<_> = (y.saturating_sub(4)..(y + 5).min(height))
            .map(|y| image.image().row(y))
            .collect();
        for x in 0..width {
            let columns = x.saturating_sub(4)..(x + 5).min(width);
            let count = (columns.len() * rows.len()) as u32;
            for colour in 0..3 {
                let values = rows
                    .iter()
                    .flat_map(|row| columns.clone().map(|x| u32::from(row[x * 3 + colour])));
                rgb[(y * width + x) * 3 + colour] = (values.sum::<u32>() / count) as u8;
            }
        }
    }
    ImageBuf::new(rgb, width, height).unwrap()
}

#[tokio::test]
async fn answers_are_the_same_wherever_the_models_are() {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }
    let line = ["x", "--host=127.0.0.1", "--http_port=0", "--grpc_port=0"];
    let predictor = predictor::start(Line::parse_from(line).args).await;
    let predictor = predictor.unwrap();
    let remote = |protocol: &str, address: std::net::SocketAddr| {
        vec![
            format!("--predictor_host={address}"),
            format!("--predictor_protocol={protocol}"),
            "--enable_facephoto".to_owned(),
        ]
    };
    let services = [
        Vec::new(),
        remote("grpc-v2", predictor.grpc.unwrap()),
        remote("v2", predictor.http),
    ];
    let mut answers = Vec::new();
    for flags in services {
        let flags = [flags, vec![SMALL.to_owned()]].concat();
        let service = service(&flags).await;
        let client = reqwest::Client::new();
        let url = format!("http://{}", service.http);
        while client
            .get(format!("{url}/v2/health/ready"))
            .send()
            .await
            .unwrap()
            .status()
            != 200
        {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let request = client
            .post(format!("{url}/v1/models/facephoto:predict"))
            .body(multi(&[PHOTO.to_vec(), grey(100), beside_a_blurred_copy()]));
        answers.push(crate::world::read(request.send().await.unwrap()).await);
        service.drain().await;
    }
    let first = &answers[0];
    let [face] = faces(first, 0).try_into().unwrap();
    let found = overlap(numbers(&face["box"]), FACE);
    assert!(found >= 0.7, "{face}");
    assert!(face["detection"].as_f64().unwrap() > 0.5);
    let landmarks = face["landmarks"].as_array().unwrap();
    let [left_eye, right_eye]: [[f64; 2]; 2] = [numbers(&landmarks[0]), numbers(&landmarks[1])];
    assert!(landmarks.len() == 5 && left_eye[0] < right_eye[0], "{face}");
    assert!(faces(first, 1).is_empty(), "a face on a grey image");
    let [sharp, blurred] = faces(first, 2).try_into().unwrap();
    let [sharp_box, blurred_box]: [[f64; 4]; 2] =
        [numbers(&sharp["box"]), numbers(&blurred["box"])];
    assert!(sharp_box[0] < 512.0 && blurred_box[0] > 512.0);
    assert!(sharp["score"].as_f64() > blurred["score"].as_f64());
    for other in &answers[1..] {
        assert_eq!(other.text, first.text);
    }
    predictor.drain().await;
}

#[tokio::test]
async fn photos_are_detected_side_by_side() {
    let detector = FakeTriton::start_with(|script| {
        script.model = "centerface".to_owned();
        script.no_tensors = true;
        script.hold = true;
        script.always = Some(Fault::Status(Code::Internal, "a dead CUDA context"));
    })
    .await;
    let host = format!("--model_host=centerface={}", detector.host());
    let world = World::with(&[&host], |_| ()).await;
    let request = photo(&world, multi(&vec![PHOTO.to_vec(); 16]));
    let release = async {
        detector.wait(|observed| observed.in_flight >= 4).await;
        detector.set(|script| script.hold = false);
    };
    let (answer, ()) = tokio::join!(request, release);
    // A detector that fails is not a photo without faces.
    assert_eq!(answer.status, 502, "{}", answer.text);
    let error = answer.error();
    assert!(
        error.contains("centerface") && error.contains("a dead CUDA context"),
        "{error}"
    );
    assert_eq!(world.triton.observed().calls, 0);
}

#[tokio::test]
async fn all_faces_are_scored_in_one_batch() {
    let world = scripted_quality().await;
    let answer = photo(&world, multi(&vec![PHOTO.to_vec(); 16])).await;
    assert!((0..16).all(|image| faces(&answer, image).len() == 1));
    assert_eq!(world.triton.observed().batches, [16]);
}

#[tokio::test]
async fn a_broken_photo_fails_alone() {
    let world = scripted_quality().await;
    let photos = [PHOTO.to_vec(), b"\xff\xd8\xffnot a photo".to_vec(), grey(1)];
    let reporting = json!({
        "multi_data": photos.iter().map(|photo| json!({"data": {"item": item(photo)}})).collect::<Vec<_>>(),
        "extra_info": {"image_errors": "report"},
    });
    let answer = photo(&world, reporting.to_string()).await;
    assert_eq!((faces(&answer, 0).len(), faces(&answer, 2).len()), (1, 0));
    let broken = &answer.json()["multi_data"][1];
    assert_eq!(broken["data"], json!([]));
    assert_eq!(broken["extra_info"]["status"], 400);
    let failing = photo(&world, multi(&photos)).await;
    assert_eq!(failing.status, 400);
    assert!(
        failing.error().starts_with("multi_data[1].data.item: "),
        "{}",
        failing.text
    );
}

#[tokio::test]
async fn a_line_for_each_face_over_grpc_and_errors_on_request() {
    let world = scripted_quality().await;
    let address = format!("http://{}", world.service.http);
    let mut client = GrpcInferenceServiceClient::connect(address).await.unwrap();
    let output = |name: &str| InferRequestedOutputTensor {
        name: name.to_owned(),
        ..Default::default()
    };
    let request = ModelInferRequest {
        model_name: "facephoto".to_owned(),
        inputs: vec![InferInputTensor {
            name: "image".to_owned(),
            datatype: "BYTES".to_owned(),
            shape: vec![3],
            contents: Some(InferTensorContents {
                bytes_contents: vec![
                    grey(3).into(),
                    b"\xff\xd8\xff".as_slice().into(),
                    PHOTO.into(),
                ],
                ..Default::default()
            }),
            ..Default::default()
        }],
        outputs: [
            "score",
            "box",
            "landmarks",
            "detection",
            "image_index",
            "error",
        ]
        .map(output)
        .to_vec(),
        ..Default::default()
    };
    let response = client.model_infer(request).await.unwrap().into_inner();
    let shapes: Vec<_> = response
        .outputs
        .iter()
        .map(|output| output.shape.clone())
        .collect();
    let expected: [&[i64]; 6] = [&[1, 1], &[1, 4], &[1, 5, 2], &[1, 1], &[1, 1], &[3, 1]];
    assert_eq!(shapes, expected);
    let contents = |index: usize| response.outputs[index].contents.clone().unwrap();
    assert_eq!(contents(4).int_contents, [2]);
    let rect = contents(1).fp32_contents.into_iter().map(f64::from);
    let rect: [f64; 4] = rect.collect::<Vec<_>>().try_into().unwrap();
    assert!(overlap(rect, FACE) >= 0.7, "{rect:?}");
    let errors = contents(5).bytes_contents;
    assert!(errors[0].is_empty() && errors[2].is_empty());
    let error: Value = serde_json::from_slice(&errors[1]).unwrap();
    assert_eq!(error["status"], 400, "{error}");
}

#[tokio::test]
async fn a_detector_that_is_down_leaves_the_other_model_serving() {
    let nobody = "--model_host=centerface=127.0.0.1:9";
    let world = World::unready(&[nobody], |_| ()).await;
    while world.get("/v2/models/facequality/ready").await.status != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(world.get("/v2/models/facephoto/ready").await.status, 503);
    let answer = photo(&world, multi(&[PHOTO.to_vec()])).await;
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert!(answer.error().contains("centerface"), "{}", answer.text);
    assert_eq!(world.scores(&[grey(5)]).await.len(), 1);
    assert_eq!(world.get("/v2/health/ready").await.status, 503);
}
