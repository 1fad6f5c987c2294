//! What is fuzzed. A target takes any bytes, panics if something does not hold, and returns how the bytes
//! were received: nothing if they were taken, else the words of the refusal.

use std::cell::RefCell;
use std::mem::discriminant;

use bytes::{Bytes, BytesMut};
use kserve_transformer::data_uri;
use kserve_transformer::fuzzing::{count_infer_request, parse_item, recognise_everywhere};
use kserve_transformer::pixel::{
    self, ExifOrientation, Format, Formats, Image, Options, Resizer, Scratch,
};
use kserve_transformer::wire::triton::ModelInferRequest;
use kserve_transformer::wire::{bytes_tensor, grpc, v1, v2};
use prost::Message;

/// How bytes were received.
pub type Seen = Result<(), String>;

/// A target and its name.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]) -> Seen,
    /// The most bytes that may be allocated beyond a multiple of the input's.
    pub memory: usize,
}

/// What a reader of text may allocate beside a multiple of the text.
const TEXT_MEMORY: usize = 1 << 20;

/// What a decoder may allocate: sixteen bytes for each pixel that it may have, and its tables.
const IMAGE_MEMORY: usize = MAX_PIXELS as usize * 16 + (4 << 20);

/// As [`IMAGE_MEMORY`], and the coefficients of the longest column of whole groups: 65,500 × 64 samples of
/// four components.
const JPEG_MEMORY: usize = IMAGE_MEMORY + (48 << 20);

/// As [`IMAGE_MEMORY`], and the parts of a lossy image of 16 MiB each that a file may announce: memory
/// that is never touched, as the parts are not there.
const WEBP_MEMORY: usize = IMAGE_MEMORY + (130 << 20);

/// Bytes that may be allocated for each byte of the input.
pub const MEMORY_PER_BYTE: usize = 80;

/// All targets.
pub const ALL: &[Target] = &[
    target("v1_body", v1_body, TEXT_MEMORY),
    target("v2_body", v2_body, TEXT_MEMORY),
    target("v2_binary", v2_binary, TEXT_MEMORY),
    target("grpc_request", grpc_request, TEXT_MEMORY),
    target("grpc_frames", grpc_frames, TEXT_MEMORY),
    target("item", item, TEXT_MEMORY),
    target("base64", base64, TEXT_MEMORY),
    target("jpeg", jpeg, JPEG_MEMORY),
    target("png", png, IMAGE_MEMORY),
    target("webp", webp, WEBP_MEMORY),
    target("bmp", bmp, IMAGE_MEMORY),
    target("gif", gif, IMAGE_MEMORY),
    target("tiff", tiff, IMAGE_MEMORY),
    target("pnm", pnm, IMAGE_MEMORY),
    #[cfg(feature = "oracle")]
    target("jpeg_oracle", jpeg_oracle, JPEG_MEMORY),
];

const fn target(name: &'static str, run: fn(&[u8]) -> Seen, memory: usize) -> Target {
    Target { name, run, memory }
}

/// Inputs, outputs, raw contents, and parameters of each, of a request.
const MAX_TENSORS: usize = 64;
/// Axes of a shape.
const MAX_AXES: usize = 16;
/// `--max_pixels`
const MAX_PIXELS: u64 = 1 << 16;
/// `--max_images`
const MAX_IMAGES: usize = 8;
/// `--max_item_bytes`
const MAX_ITEM_BYTES: usize = 1 << 10;

fn text(error: impl ToString) -> String {
    error.to_string()
}

/// A V1 body; its images are decoded from base64, and their items parse to the same images again.
pub fn v1_body(data: &[u8]) -> Seen {
    let body = v1::request::parse(data, MAX_IMAGES).map_err(text)?;
    assert!((1..=MAX_IMAGES).contains(&body.images.len()));
    let mut out = Vec::new();
    let mut items = Vec::new();
    for (index, image) in body.images.iter().enumerate() {
        assert!(!body.form.place(index).is_empty());
        match image {
            v1::request::Image::Item(item) => {
                parse_item(item).ok();
                data_uri::decode_into(item.as_bytes(), MAX_ITEM_BYTES, &mut out).ok();
                items.push(item.clone().into_owned());
            }
            v1::request::Image::Base64(text) => {
                data_uri::decode_base64_into(text.as_bytes(), MAX_ITEM_BYTES, &mut out).ok();
            }
        }
        assert!(out.len() <= MAX_ITEM_BYTES);
    }
    if items.is_empty() {
        return Ok(());
    }
    let again = v1::request::to_json(&items);
    let again = v1::request::parse(&again, MAX_IMAGES).expect("what is written is read");
    let again: Vec<_> = again.images;
    assert!(
        again
            .iter()
            .zip(&items)
            .all(|(image, item)| matches!(image, v1::request::Image::Item(again) if again == item))
    );
    assert_eq!(again.len(), items.len());
    Ok(())
}

/// A V2 body that is JSON alone.
pub fn v2_body(data: &[u8]) -> Seen {
    v2_request(Bytes::copy_from_slice(data), None)
}

/// A V2 body with binary tensors: two bytes say how much of the rest is JSON.
pub fn v2_binary(data: &[u8]) -> Seen {
    let Some((length, body)) = data.split_first_chunk() else {
        return Err("too short".to_owned());
    };
    let json_length = usize::from(u16::from_be_bytes(*length));
    v2_request(Bytes::copy_from_slice(body), Some(json_length))
}

fn v2_request(body: Bytes, json_length: Option<usize>) -> Seen {
    let parsed = v2::request::parse(&body, json_length).map_err(text)?;
    let message = &parsed.message;
    assert_eq!(message.raw_input_contents.len(), message.inputs.len());
    let raw: usize = message.raw_input_contents.iter().map(Bytes::len).sum();
    // A number of JSON may become eight bytes, a text a length and itself.
    assert!(raw <= body.len() * 8 + 8);
    for contents in &message.raw_input_contents {
        elements(contents.clone());
    }
    check_counts(message);
    count_infer_request(&message.encode_to_vec()).expect("what V2 takes, gRPC takes");
    Ok(())
}

/// The elements of a BYTES tensor, as far as there are any.
fn elements(mut tensor: Bytes) -> usize {
    let mut count = 0;
    while let Ok(Some(_)) = bytes_tensor::split_element(&mut tensor) {
        count += 1;
    }
    count
}

/// What a request holds is within the bounds.
fn check_counts(message: &ModelInferRequest) {
    let ModelInferRequest {
        inputs,
        outputs,
        parameters,
        raw_input_contents,
        ..
    } = message;
    let tensors = [
        inputs.len(),
        outputs.len(),
        parameters.len(),
        raw_input_contents.len(),
    ];
    let of_inputs = inputs.iter().map(|input| input.parameters.len());
    let of_outputs = outputs.iter().map(|output| output.parameters.len());
    let most = of_inputs.chain(of_outputs).chain(tensors).max();
    assert!(most <= Some(MAX_TENSORS), "{most:?} of something");
    assert!(inputs.iter().all(|input| input.shape.len() <= MAX_AXES));
}

/// A ModelInferRequest: the scan of its tags counts what is built then.
pub fn grpc_request(data: &[u8]) -> Seen {
    count_infer_request(data)?;
    let message = ModelInferRequest::decode(data).map_err(text)?;
    check_counts(&message);
    for contents in &message.raw_input_contents {
        elements(contents.clone());
    }
    let again = message.encode_to_vec();
    count_infer_request(&again).expect("what is written is counted the same");
    let again = ModelInferRequest::decode(again.as_slice()).expect("what is written is read");
    // A number that is none differs from itself.
    assert!(again == message || again.encode_to_vec() == message.encode_to_vec());
    Ok(())
}

/// Messages in their frames, one behind the other.
pub fn grpc_frames(data: &[u8]) -> Seen {
    let mut received = Bytes::copy_from_slice(data);
    let mut messages = 0;
    while let Some(message) = grpc::split_message(&mut received).map_err(text)? {
        messages += 1;
        assert!(messages * grpc::FRAME_BYTES <= data.len());
        assert!(message.len() <= data.len());
    }
    let one = grpc::decode::<ModelInferRequest>(Bytes::copy_from_slice(data));
    one.map(drop).map_err(text)
}

/// The text of an item, and every known beginning.
pub fn item(data: &[u8]) -> Seen {
    for words in recognise_everywhere(data) {
        assert!(words.len() < 512);
    }
    let item = std::str::from_utf8(data).map_err(|_| "not UTF-8".to_owned())?;
    let parsed = parse_item(item);
    let mut out = Vec::new();
    let decoded = data_uri::decode_into(data, MAX_ITEM_BYTES, &mut out).map_err(text);
    if data_uri::is_data_uri(data) {
        assert!(parsed.is_ok());
        return decoded;
    }
    parsed
}

/// Base64 without a scheme, held against a decoder that is plainly right.
pub fn base64(data: &[u8]) -> Seen {
    let mut out = vec![7; 3];
    data_uri::decode_base64_into(data, MAX_ITEM_BYTES, &mut out).map_err(text)?;
    assert!((1..=MAX_ITEM_BYTES).contains(&out.len()));
    let inner = data.trim_ascii();
    let python = [(&b"b'"[..], &b"'"[..]), (b"b\"", b"\"")];
    let inner = python
        .iter()
        .find_map(|(open, close)| inner.strip_prefix(*open)?.strip_suffix(*close))
        .unwrap_or(inner);
    let mut expected = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for byte in inner {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' => continue,
            _ => {
                assert!(byte.is_ascii_whitespace(), "{byte} is no base64");
                continue;
            }
        };
        bits = (bits << 6 | u32::from(value)) & 0xFFFF;
        count += 6;
        if count >= 8 {
            count -= 8;
            expected.push((bits >> count) as u8);
        }
    }
    assert_eq!(out, expected);
    Ok(())
}

pub fn jpeg(data: &[u8]) -> Seen {
    image(data, Format::Jpeg)
}

pub fn png(data: &[u8]) -> Seen {
    image(data, Format::Png)
}

pub fn webp(data: &[u8]) -> Seen {
    image(data, Format::WebP)
}

pub fn bmp(data: &[u8]) -> Seen {
    image(data, Format::Bmp)
}

pub fn gif(data: &[u8]) -> Seen {
    image(data, Format::Gif)
}

pub fn tiff(data: &[u8]) -> Seen {
    image(data, Format::Tiff)
}

pub fn pnm(data: &[u8]) -> Seen {
    image(data, Format::Pnm)
}

/// Buffers that are kept, as the service keeps them: what an image leaves behind must not show in the
/// next one.
#[derive(Default)]
struct Kept {
    whole: Scratch,
    rows: Scratch,
    resizer: Resizer,
    rgb: Vec<u8>,
    values: Vec<u8>,
    planes: [BytesMut; 3],
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// Gives back the buffers that are kept.
pub fn forget() {
    KEPT.take();
}

fn options(format: Format, exif_orientation: ExifOrientation) -> Options {
    let name = format.name();
    Options {
        max_pixels: MAX_PIXELS,
        exif_orientation,
        formats: name.parse::<Formats>().expect("the name of a format"),
    }
}

/// What a JPEG is refused for only where its pixels are made.
const OUT_OF_RANGE: &str = "a coefficient is out of range";

/// An image: the size is bounded, and of the rows that a resize reads alone comes the same as of all.
fn image(data: &[u8], format: Format) -> Seen {
    KEPT.with_borrow_mut(|kept| {
        // By the input, so that it is the same each time.
        let side = [112, 5, 1, 64][data.len() % 4];
        let exif = [ExifOrientation::Ignore, ExifOrientation::Apply][data.len() / 4 % 2];
        let options = options(format, exif);
        let Kept {
            whole,
            rows,
            resizer,
            rgb,
            values,
            planes,
        } = kept;
        planes.iter_mut().for_each(BytesMut::clear);
        let to_planes = pixel::to_planes(data, [side; 2], &options, rows, planes);
        let image = match pixel::decode(data, &options, whole) {
            Ok(image) => image,
            Err(error) => {
                // Of blocks that no wanted row is made of the coefficients are not looked at.
                if !error.to_string().ends_with(OUT_OF_RANGE) {
                    // What is wrong with a JPEG may be noticed at another place.
                    let same = |other: pixel::Error| match format {
                        Format::Jpeg => discriminant(&other) == discriminant(&error),
                        _ => other == error,
                    };
                    assert!(to_planes.clone().is_err_and(same), "{error}: {to_planes:?}");
                }
                assert!(to_planes.is_ok() || planes.iter().all(|plane| plane.is_empty()));
                return Err(error.to_string());
            }
        };
        to_planes.expect("what is decoded whole is decoded in rows");
        let pixels = image.width() as u64 * image.height() as u64;
        assert!((1..=MAX_PIXELS).contains(&pixels));
        expected_planes(image, side, resizer, rgb, values);
        for (at, plane) in planes.iter().enumerate() {
            let expected = &values[at * side * side * 4..][..side * side * 4];
            assert!(plane[..] == *expected, "plane {at} differs");
        }
        Ok(())
    })
}

/// The planes of a whole image, step by step.
fn expected_planes(
    image: Image<'_>,
    side: usize,
    resizer: &mut Resizer,
    rgb: &mut Vec<u8>,
    values: &mut Vec<u8>,
) {
    rgb.resize(side * side * 3, 0);
    pixel::resize(image, side, side, resizer, rgb);
    values.resize(side * side * 12, 0);
    for (channel, values) in values.chunks_exact_mut(side * side * 4).enumerate() {
        let samples: Vec<u8> = rgb.iter().skip(channel).step_by(3).copied().collect();
        pixel::normalize(&samples, values);
    }
}

/// A JPEG file: what is taken here, libjpeg-turbo takes, with equal bytes.
#[cfg(feature = "oracle")]
pub fn jpeg_oracle(data: &[u8]) -> Seen {
    use crate::libjpeg::{components, libjpeg};
    KEPT.with_borrow_mut(|kept| {
        let options = options(Format::Jpeg, ExifOrientation::Ignore);
        let image = pixel::decode(data, &options, &mut kept.whole).map_err(text)?;
        let (width, height) = (image.width(), image.height());
        let theirs = libjpeg(data, width, height, components(data) == 4);
        let theirs = theirs.expect("libjpeg-turbo takes it, too");
        let rows = (0..height).flat_map(|y| image.row(y));
        assert!(rows.eq(&theirs), "libjpeg-turbo has other pixels");
        Ok(())
    })
}
