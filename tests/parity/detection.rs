//! Faces found by the embedded detector against CenterFace in onnxruntime, on composed scenes
//! (`tests/golden/detection`, by `detection_oracle.py`): from an encoded image to boxes.

use std::path::Path;

use kserve_transformer::faces::{self, Detection, Maps};
use kserve_transformer::pixel::{
    self, Image, ImageBuf, Normalize, Rect, Resizer, Scratch, TensorFormat,
};
use rten::{Model, Value};
use serde::Deserialize;

use super::OPTIONS;
use super::golden::sha256;

#[derive(Deserialize)]
struct Manifest {
    threshold: f32,
    scenes: Vec<Scene>,
}

#[derive(Deserialize)]
struct Scene {
    size: [usize; 2],
    pastes: Vec<Paste>,
    detect_side: usize,
    scene_sha256: String,
    faces: Vec<Face>,
}

#[derive(Deserialize)]
struct Paste {
    from: [usize; 4],
    to: [usize; 4],
    mirrored: bool,
}

#[derive(Deserialize)]
struct Face {
    rect: [f32; 4],
    landmarks: [[f32; 2]; 5],
    confidence: f32,
}

fn root(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A gradient with parts of the sample photo on it, as the oracle composes it.
fn compose(photo: &ImageBuf, scene: &Scene) -> Vec<u8> {
    let [width, height] = scene.size;
    let mut rgb: Vec<u8> = (0..width * height)
        .map(|at| (at % width, at / width))
        .flat_map(|(x, y)| {
            let both = (x + y) * 255 / (width + height);
            [x * 255 / width, y * 255 / height, both]
        })
        .map(|value| value as u8)
        .collect();
    let mut resizer = Resizer::default();
    for paste in &scene.pastes {
        let [x, y, columns, rows] = paste.from;
        let rect = Rect {
            x,
            y,
            width: columns,
            height: rows,
        };
        let mut part: Vec<u8> = Vec::new();
        let from = photo.image().crop(rect).expect("a part of the photo");
        for y in 0..rows {
            let pixels = from.row(y).as_chunks::<3>().0;
            if paste.mirrored {
                part.extend(pixels.iter().rev().flatten());
            } else {
                part.extend(pixels.iter().flatten());
            }
        }
        let part = Image::new(&part, columns, rows).expect("whole rows");
        let [x, y, columns, rows] = paste.to;
        let mut resized = vec![0; columns * rows * 3];
        pixel::resize(part, columns, rows, &mut resizer, &mut resized);
        for (line, row) in resized.chunks_exact(columns * 3).enumerate() {
            rgb[((y + line) * width + x) * 3..][..columns * 3].copy_from_slice(row);
        }
    }
    rgb
}

/// A file of the format that any client could send.
fn encoded(rgb: &[u8], [width, height]: [usize; 2]) -> Vec<u8> {
    [format!("P6 {width} {height} 255\n").as_bytes(), rgb].concat()
}

/// From a file to faces, by the steps of the service.
fn detect(model: &Model, file: &[u8], scene: &Scene, threshold: f32) -> Vec<Detection> {
    let mut scratch = Scratch::default();
    let photo = pixel::decode_owned(file, &OPTIONS, &mut scratch).expect("a sound image");
    let size = [photo.width(), photo.height()];
    let input = faces::input_size(size, scene.detect_side);
    let format = TensorFormat::planes(Normalize::NONE);
    let mut tensor = vec![0; format.byte_len(input)];
    let image = photo.image();
    image.write(input, &format, &mut scratch.resizer, &mut tensor);
    let values = tensor.as_chunks().0.iter().copied();
    let values: Vec<f32> = values.map(f32::from_le_bytes).collect();
    let tensor = Value::from_shape(&[1, 3, input[1], input[0]], values).expect("the input");
    let node = |name| model.find_node(name).expect("a tensor of the model");
    let outputs = faces::DETECTOR_OUTPUTS.map(node);
    let outputs = model
        .run_n(
            vec![(node(faces::DETECTOR_INPUT), tensor.into())],
            outputs,
            None,
        )
        .expect("the model runs");
    let maps = outputs.map(|output| output.into_tensor::<f32>().expect("FP32").into_data());
    let maps = maps.each_ref().map(Vec::as_slice);
    let maps = Maps::new(input, maps).expect("maps of the input's size");
    maps.faces(threshold, size).expect("numbers")
}

fn differ(found: &[f32], expected: &[f32]) -> f32 {
    let pairs = found.iter().zip(expected);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn every_scene_has_the_faces_of_onnxruntime() {
    let manifest = std::fs::read(root("tests/golden/detection/manifest.json")).unwrap();
    let manifest: Manifest = serde_json::from_slice(&manifest).unwrap();
    assert!(manifest.scenes.len() > 20);
    let model = Model::load_static_slice(faces::DETECTOR_ONNX).expect("the detector");
    let photo = std::fs::read(root("data/images/astronaut.jpg")).unwrap();
    let photo = pixel::decode_owned(&photo, &OPTIONS, &mut Scratch::default()).unwrap();
    let (mut boxes, mut farthest) = (0, 0.0_f32);
    for (index, scene) in manifest.scenes.iter().enumerate() {
        let rgb = compose(&photo, scene);
        assert_eq!(sha256(&rgb), scene.scene_sha256, "scene {index}");
        let file = encoded(&rgb, scene.size);
        let found = detect(&model, &file, scene, manifest.threshold);
        assert_eq!(found.len(), scene.faces.len(), "scene {index}: {found:?}");
        for (face, expected) in found.iter().zip(&scene.faces) {
            let points = face.landmarks.as_flattened();
            let off = differ(&face.rect, &expected.rect)
                .max(differ(points, expected.landmarks.as_flattened()));
            assert!(off <= 1.0, "scene {index}: {off} pixels");
            assert!((face.confidence - expected.confidence).abs() < 0.01);
            (boxes, farthest) = (boxes + 1, farthest.max(off));
        }
    }
    println!("{boxes} faces, the farthest number {farthest} pixels off");
}

/// Where a person would draw the face of the sample photo.
const DRAWN: [f32; 4] = [182.0, 58.0, 88.0, 120.0];

#[test]
fn the_sample_photo_has_one_face_where_it_is() {
    let file = std::fs::read(root("data/images/astronaut.jpg")).unwrap();
    let model = Model::load_static_slice(faces::DETECTOR_ONNX).expect("the detector");
    for detect_side in [320, 640] {
        let scene = Scene {
            size: [512, 512],
            pastes: Vec::new(),
            detect_side,
            scene_sha256: String::new(),
            faces: Vec::new(),
        };
        let found = detect(&model, &file, &scene, 0.5);
        assert_eq!(found.len(), 1, "{detect_side}: {found:?}");
        let (a, b) = (found[0].rect, DRAWN);
        let shared = [0, 1].map(|i| (a[i] + a[i + 2]).min(b[i] + b[i + 2]) - a[i].max(b[i]));
        let shared = shared[0].max(0.0) * shared[1].max(0.0);
        let overlap = shared / (a[2] * a[3] + b[2] * b[3] - shared);
        println!("{detect_side}: overlap {overlap}");
        assert!(overlap >= 0.7, "{detect_side}: {a:?}");
    }
}
