//! The pixel path: the floor A (decode, resize, normalise into the planes), each of its steps, and the
//! whole pre-processing around it, from a request's JSON to the tensor.
//!
//! `face` is 250 × 250, `photo` 1920 × 1920, both JPEG 4:2:0 of a photograph.

// A bench without its images has nothing to measure.
#![allow(clippy::expect_used)]

use std::hint::black_box;
use std::path::Path;

use bytes::BytesMut;
use criterion::{Criterion, criterion_group, criterion_main};
use fast_image_resize::images::{Image as Target, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions};
use kserve_transformer::Error;
use kserve_transformer::data_uri;
use kserve_transformer::faces::{self, PLANE_BYTES, SIDE};
use kserve_transformer::pixel::{
    self, Colours, ExifOrientation, Formats, Image, Layout, Normalize, Options, Rect, Resizer,
    Scratch, TensorFormat, Values,
};
use kserve_transformer::wire::tensor::{BatchBuilder, DataType, in_parts};
use kserve_transformer::wire::v1::request;

const OPTIONS: Options = Options {
    max_pixels: 40_000_000,
    exif_orientation: ExifOrientation::Ignore,
    formats: Formats::DEFAULT,
};

fn file(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("an image of the clone")
}

fn images() -> [(&'static str, Vec<u8>); 2] {
    [
        ("face", file("data/images/face.jpg")),
        (
            "photo",
            file("tests/golden/pixels/jpeg-photo-1920x1920.jpg"),
        ),
    ]
}

/// The decoded pixels, without gaps, and their size.
fn decoded(file: &[u8]) -> (Vec<u8>, usize, usize) {
    let mut scratch = Scratch::default();
    let image = pixel::decode(file, &OPTIONS, &mut scratch).expect("a sound image");
    let rows = (0..image.height()).flat_map(|y| image.row(y));
    (rows.copied().collect(), image.width(), image.height())
}

fn whole(c: &mut Criterion) {
    let mut group = c.benchmark_group("to_planes");
    let others = ["png", "webp"].map(|end| (end, file(&format!("data/images/face.{end}"))));
    for (name, file) in images().into_iter().chain(others) {
        let mut scratch = Scratch::default();
        let mut planes: [BytesMut; 3] = Default::default();
        group.bench_function(name, |b| {
            b.iter(|| {
                planes.iter_mut().for_each(BytesMut::clear);
                pixel::to_planes(
                    black_box(&file),
                    [SIDE; 2],
                    &OPTIONS,
                    &mut scratch,
                    &mut planes,
                )
            });
        });
        assert_eq!(planes[0].len(), PLANE_BYTES);
    }
    group.finish();
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    for (name, file) in images() {
        let mut scratch = Scratch::default();
        group.bench_function(name, |b| {
            b.iter(|| {
                let image = pixel::decode(black_box(&file), &OPTIONS, &mut scratch);
                image.map(|image| image.width())
            });
        });
    }
    group.finish();
}

fn resize(c: &mut Criterion) {
    let mut group = c.benchmark_group("resize");
    for (name, file) in images() {
        let (rgb, width, height) = decoded(&file);
        let image = Image::new(&rgb, width, height).expect("whole rows");
        let mut out = vec![0; SIDE * SIDE * 3];
        let mut resizer = Resizer::default();
        group.bench_function(format!("{name}, OpenCV's bits"), |b| {
            b.iter(|| pixel::resize(black_box(image), SIDE, SIDE, &mut resizer, &mut out));
        });

        let (width, height, side) = (width as u32, height as u32, SIDE as u32);
        let source = ImageRef::new(width, height, &rgb, PixelType::U8x3).expect("whole rows");
        let mut target = Target::new(side, side, PixelType::U8x3);
        let mut resizer = fast_image_resize::Resizer::new();
        let options =
            ResizeOptions::new().resize_alg(ResizeAlg::Interpolation(FilterType::Bilinear));
        group.bench_function(format!("{name}, fast_image_resize"), |b| {
            b.iter(|| resizer.resize(black_box(&source), &mut target, &options));
        });
    }
    group.finish();
}

/// V1 JSON to the tensor on one thread: what a request costs before its tensor is sent.
fn preprocess(c: &mut Criterion) {
    let mut group = c.benchmark_group("preprocess");
    for (name, file) in images() {
        let text = base64_simd::STANDARD.encode_to_string(&file);
        let item = format!("data:image/jpeg;base64,{text}");
        let body = format!(r#"{{"data":{{"item":"{item}"}}}}"#);
        group.bench_function(format!("{name}, JSON"), |b| {
            b.iter(|| request::parse(black_box(body.as_bytes()), 1).map(|parsed| parsed.form));
        });
        let mut encoded = Vec::new();
        group.bench_function(format!("{name}, base64"), |b| {
            b.iter(|| data_uri::decode_into(black_box(item.as_bytes()), usize::MAX, &mut encoded));
        });
        let mut scratch = Scratch::default();
        group.bench_function(format!("{name}, whole"), |b| {
            b.iter(|| {
                let parsed = request::parse(black_box(body.as_bytes()), 1)?;
                let [request::Image::Item(item)] = parsed.images.as_slice() else {
                    unreachable!("one item was sent");
                };
                data_uri::decode_into(item.as_bytes(), usize::MAX, &mut encoded)?;
                let (builder, mut rows) = BatchBuilder::rows(1, 3 * PLANE_BYTES);
                in_parts(&mut rows[0], PLANE_BYTES, |planes| {
                    pixel::to_planes(&encoded, [SIDE; 2], &OPTIONS, &mut scratch, planes)
                })?;
                let shape = [3, SIDE as i64, SIDE as i64];
                Ok::<_, Error>(builder.assemble(rows, DataType::Fp32, &shape))
            });
        });
    }
    group.finish();
}

/// What a photo of faces costs besides its decoding: the detector's input, and a crop of each kind.
fn photo(c: &mut Criterion) {
    let mut group = c.benchmark_group("photo");
    let [_, (_, file)] = images();
    let mut scratch = Scratch::default();
    let photo = pixel::decode_owned(&file, &OPTIONS, &mut scratch).expect("a sound image");
    let image = photo.image();
    let input = faces::input_size([image.width(), image.height()], 640);
    for (name, values) in [
        ("FP32", Values::Fp32(Normalize::NONE)),
        ("FP16", Values::Fp16(Normalize::NONE)),
        ("UINT8", Values::Uint8),
    ] {
        let format = TensorFormat {
            layout: Layout::Nchw,
            colours: Colours::Rgb,
            values,
        };
        let mut tensor = vec![0; format.byte_len(input)];
        group.bench_function(format!("detector's input, {name}"), |b| {
            b.iter(|| black_box(image).write(input, &format, &mut scratch.resizer, &mut tensor));
        });
    }
    let rect = Rect {
        x: 400,
        y: 300,
        width: 300,
        height: 300,
    };
    let format = TensorFormat::planes(Normalize::CENTERED);
    let mut tensor = vec![0; format.byte_len([SIDE; 2])];
    group.bench_function("square crop", |b| {
        b.iter(|| {
            let crop = black_box(image).crop(rect).expect("inside");
            crop.write([SIDE; 2], &format, &mut scratch.resizer, &mut tensor);
        });
    });
    let landmarks = [
        [500.0, 400.0],
        [600.0, 410.0],
        [545.0, 460.0],
        [505.0, 520.0],
        [590.0, 525.0],
    ];
    group.bench_function("aligned crop", |b| {
        b.iter(|| faces::align(black_box(image), &landmarks));
    });
    group.finish();
}

fn normalize(c: &mut Criterion) {
    let samples = vec![77; SIDE * SIDE * 3];
    let mut values = vec![0; PLANE_BYTES * 3];
    c.bench_function("normalize", |b| {
        b.iter(|| pixel::normalize(black_box(&samples), black_box(&mut values)));
    });
}

criterion_group! {
    name = pixel_path;
    config = Criterion::default().without_plots();
    targets = whole, decode, resize, normalize, photo, preprocess
}
criterion_main!(pixel_path);
