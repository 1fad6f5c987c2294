//! What mutation begins with: files of `tests/golden`, JPEG files of the generator, and small texts and
//! messages that are made here.

use std::path::Path;

use kserve_transformer::wire::triton::infer_parameter::ParameterChoice;
use kserve_transformer::wire::triton::model_infer_request::{
    InferInputTensor, InferRequestedOutputTensor,
};
use kserve_transformer::wire::triton::{InferParameter, InferTensorContents, ModelInferRequest};
use kserve_transformer::wire::{grpc, v2};
use prost::Message;

use crate::generator;

/// Larger files would only make each execution slow.
const MAX_SEED_BYTES: usize = 6_000;

/// What the inputs of a target are made of.
pub struct Seeds {
    pub inputs: Vec<Vec<u8>>,
    pub words: &'static [&'static [u8]],
}

/// The seeds of a target; unknown names have none.
pub fn of(target: &str) -> Seeds {
    let (inputs, words): (Vec<Vec<u8>>, &'static [&'static [u8]]) = match target {
        "v1_body" => (texts(V1_BODIES), JSON_WORDS),
        "v2_body" => (texts(V2_BODIES), JSON_WORDS),
        "v2_binary" => (v2_binary(), JSON_WORDS),
        "grpc_request" => (requests().iter().map(Message::encode_to_vec).collect(), &[]),
        "grpc_frames" => (frames(), &[]),
        "item" => (texts(ITEMS), ITEM_WORDS),
        "base64" => (texts(BASE64), ITEM_WORDS),
        "jpeg" | "jpeg_oracle" => (jpeg(), JPEG_WORDS),
        "png" => (
            files(&["png"], "png"),
            &[
                b"IDAT", b"PLTE", b"tRNS", b"IHDR", b"IEND", b"acTL", b"eXIf",
            ],
        ),
        "webp" => (
            files(&["webp"], "webp"),
            &[
                b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"EXIF",
            ],
        ),
        "bmp" => (files(&["bmp"], "bmp"), &[]),
        "gif" => (
            vec![GIF.to_vec(), GIF_INTERLACED.to_vec()],
            &[b"GIF87a", b"NETSCAPE2.0"],
        ),
        "tiff" => (tiff(), &[]),
        "pnm" => (
            texts(&[
                "P1\n# a comment\n3 2\n1 0 1\n0 1 0\n",
                "P2\n2 2\n15\n0 1\n14 15\n",
                "P3\n2 1\n255\n1 2 3 4 5 6\n",
                "P4\n9 2\n\u{1}\u{2}\u{3}\u{4}",
                "P5\n2 2\n255\nabcd",
                "P5 2 2 65535 aabbccdd",
                "P6\n2 2\n255\nabcdefghijkl",
            ]),
            &[b"\n255\n", b"65535", b"#", b"P7\n"],
        ),
        _ => (Vec::new(), &[]),
    };
    Seeds { inputs, words }
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

const V1_BODIES: &[&str] = &[
    r#"{"data":{"item":"data:image/png;base64,AAAA"}}"#,
    r#"{"multi_data":[{"data":{"item":"data:;base64,AAAA","type":"x"}},{"data":{"item":"path:a.png"}}],"extra_info":{"image_errors":"report","type":"b"}}"#,
    r#"{"instances":[{"b64":"AAAA"},{"image":{"b64":"AAA="}},{"image_bytes":{"b64":"_-8="}}]}"#,
    r#"{"data":{"item":"data:;base64,\u0041A\/A"},"extra_info":null,"x":[1,2,{"y":1e9}]}"#,
    r#"{"data":{"item":"http://host/a?b=c"},"extra_info":{"image_errors":"fail"}}"#,
];

const V2_BODIES: &[&str] = &[
    r#"{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1.5,-2e3,NaN]}]}"#,
    r#"{"id":"7","inputs":[{"name":"image","shape":[2],"datatype":"BYTES","data":["AAAA","_-8="]}],"outputs":[{"name":"y","parameters":{"binary_data":true}}],"parameters":{"priority":1,"timeout":1000}}"#,
    r#"{"inputs":[{"name":"a","shape":[2,2],"datatype":"INT64","data":[[1,2],[3,-4]]},{"name":"b","shape":[1],"datatype":"BOOL","data":[true]},{"name":"c","shape":[1],"datatype":"UINT8","data":[255]}]}"#,
    r#"{"inputs":[{"name":"a","shape":[1],"datatype":"FP16","parameters":{"shared_memory_region":"r","x":1.5,"y":"z"}}]}"#,
    r#"{"inputs":[{"name":"a","shape":[1,2],"datatype":"FP64","data":[Infinity,-Infinity]}],"parameters":{"binary_data_output":true}}"#,
];

const ITEMS: &[&str] = &[
    "data:image/png;base64,AAAA",
    "data:image/jpeg;charset=x;base64,b'AAAAAAA='",
    "DATA:;base64, A A-_ \n",
    "path:folder/face.png",
    "https://user@host.example:443/a%20b?c=d#e",
    "http://[::1]/",
    "/9j/4AAQSkZJRgABAQEASABIAAD",
    "iVBORw0KGgoAAAANSUhEUgAA",
    "\u{feff}{\"data\":1}",
    "größe",
];

const BASE64: &[&str] = &[
    "AAAA",
    "QUJDREVGRw==",
    "_-_-_-8=",
    "b'QUJD'",
    "b\"QUJD\"",
    " QUJD\r\nREVG\t ",
    "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0NTY3ODk+",
];

const ITEM_WORDS: &[&[u8]] = &[
    b"data:",
    b";base64,",
    b"=",
    b"==",
    b" ",
    b"\n",
    b"b'",
    b"'",
    b"+",
    b"/",
    b"-",
    b"_",
    b"path:",
    b"http://",
];

const JSON_WORDS: &[&[u8]] = &[
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"true",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-0.0",
    b"\\u0000",
    b"\\ud800",
    b"\"data\":",
    b"\"item\":",
    b"\"multi_data\":",
    b"\"instances\":",
    b"\"b64\":",
    b"\"extra_info\":",
    b"\"image_errors\":",
    b"\"report\"",
    b"\"inputs\":",
    b"\"outputs\":",
    b"\"shape\":",
    b"\"datatype\":",
    b"\"parameters\":",
    b"\"binary_data_size\":",
    b"\"BYTES\"",
    b"\"FP32\"",
    b"\"INT8\"",
    b"9223372036854775807",
    b"18446744073709551616",
    b"\xEF\xBB\xBF",
    b"\xFF\xFE",
];

const JPEG_WORDS: &[&[u8]] = &[
    &[0xFF, 0xD8],
    &[0xFF, 0xD9],
    &[0xFF, 0xD0],
    &[0xFF, 0xD7],
    &[0xFF, 0],
    &[0xFF, 0xFF],
    &[0xFF, 0xDD, 0, 4, 0, 1],
    &[0xFF, 0xDC, 0, 4, 0, 9],
    &[0xFF, 0xFE, 0, 2],
    &[0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0],
    &[0xFF, 0xDA, 0, 12, 3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0],
    &[0xFF, 0xC4],
    &[0xFF, 0xC2],
    &[0x11],
    &[0x22],
    &[0x41],
];

fn v2_binary() -> Vec<Vec<u8>> {
    let mut bodies: Vec<_> = V2_BODIES
        .iter()
        .map(|body| with_length(body.as_bytes(), &[]))
        .collect();
    for request in requests() {
        let sizes: Vec<_> = request.inputs.iter().map(|_| 8).collect();
        let json = v2::request::to_json(&request, &sizes);
        bodies.push(with_length(&json, &b"\x04\0\0\0abcd".repeat(sizes.len())));
    }
    bodies
}

/// The length of the JSON in two bytes, the JSON, the tensors.
fn with_length(json: &[u8], binary: &[u8]) -> Vec<u8> {
    let length = (json.len() as u16).to_be_bytes();
    [&length, json, binary].concat()
}

fn frames() -> Vec<Vec<u8>> {
    let frames: Vec<_> = requests()
        .iter()
        .map(|r| grpc::encode(r).to_vec())
        .collect();
    let stream = frames.concat();
    frames.into_iter().chain([stream]).collect()
}

fn requests() -> Vec<ModelInferRequest> {
    let parameter = |choice| InferParameter {
        parameter_choice: Some(choice),
    };
    let input = InferInputTensor {
        name: "x".to_owned(),
        datatype: "BYTES".to_owned(),
        shape: vec![1, -1, 300],
        parameters: [("a".to_owned(), parameter(ParameterChoice::Int64Param(-7)))].into(),
        contents: None,
    };
    let contents = InferTensorContents {
        bool_contents: vec![true, false],
        int_contents: vec![1, -1],
        int64_contents: vec![1 << 40],
        uint_contents: vec![3],
        uint64_contents: vec![4],
        fp32_contents: vec![1.5],
        fp64_contents: vec![2.5],
        bytes_contents: vec![b"abc".to_vec().into(), b"".to_vec().into()],
    };
    let typed = InferInputTensor {
        contents: Some(contents),
        ..input.clone()
    };
    let output = InferRequestedOutputTensor {
        name: "y".to_owned(),
        parameters: [("b".to_owned(), parameter(ParameterChoice::BoolParam(true)))].into(),
    };
    let request = ModelInferRequest {
        model_name: "m".to_owned(),
        id: "7".to_owned(),
        parameters: [(
            "c".to_owned(),
            parameter(ParameterChoice::StringParam("d".to_owned())),
        )]
        .into(),
        inputs: vec![input],
        outputs: vec![output],
        raw_input_contents: vec![b"\x03\0\0\0abc".to_vec().into()],
        ..Default::default()
    };
    vec![
        ModelInferRequest {
            inputs: vec![typed],
            raw_input_contents: Vec::new(),
            ..request.clone()
        },
        request,
        ModelInferRequest::default(),
    ]
}

/// The small files of the golden sets whose name ends so, or has this in it.
fn files(ends: &[&str], part: &str) -> Vec<Vec<u8>> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let mut paths = Vec::new();
    for folder in ["pixels", "cases"] {
        for entry in std::fs::read_dir(golden.join(folder)).into_iter().flatten() {
            let path = entry.expect("a folder of the clone").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.contains(part) || ends.iter().any(|end| name.ends_with(end)) {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let files = paths
        .iter()
        .map(|path| std::fs::read(path).expect("a file of the clone"));
    let files: Vec<_> = files.filter(|file| file.len() <= MAX_SEED_BYTES).collect();
    assert!(!files.is_empty(), "no files of {part}");
    files
}

/// Files of encoders, and a few hundred that no encoder writes.
fn jpeg() -> Vec<Vec<u8>> {
    let mut all = files(&["jpg"], "jpeg");
    let generated = (1..=600).map(generator::file);
    all.extend(generated.filter(|file| file.len() <= MAX_SEED_BYTES));
    all
}

/// 3 × 2 pixels of four colours, and the same interlaced.
const GIF: &[u8] = b"GIF89a\x03\0\x02\0\x81\0\0\0\0\0\xFF\0\0\0\xFF\0\0\0\xFF,\0\0\0\0\x03\0\x02\0\0\x02\x03\x44\x34\x05\0;";
const GIF_INTERLACED: &[u8] = b"GIF89a\x03\0\x02\0\x81\0\0\0\0\0\xFF\0\0\0\xFF\0\0\0\xFF!\xF9\x04\0\0\0\0\0,\0\0\0\0\x03\0\x02\0\x40\x02\x03\x44\x34\x05\0;";

/// Files of one strip: grey of 8 and 16 bits, RGB, a palette, packed bits; both byte orders.
fn tiff() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for big in [false, true] {
        let rgb: Vec<u8> = (0..18).map(|i| i * 13).collect();
        all.push(one_tiff(big, &[8], 1, 1, &[1, 2, 3, 4, 5, 6]));
        all.push(one_tiff(big, &[16], 1, 1, &rgb[..12]));
        all.push(one_tiff(big, &[8, 8, 8], 2, 1, &rgb));
        all.push(one_tiff(big, &[8], 0, 32773, &[5, 1, 2, 3, 4, 5, 6]));
        all.push(one_tiff(big, &[1], 0, 1, &[0xA0, 0x40]));
        // LZW: clear, one literal after the other, end.
        all.push(one_tiff(
            big,
            &[8],
            1,
            5,
            &[0x80, 0, 0x60, 0x20, 0x10, 0x0A, 0x06, 0x04, 0x04],
        ));
    }
    all
}

fn one_tiff(big: bool, bits: &[u16], photometric: u16, compression: u16, data: &[u8]) -> Vec<u8> {
    let u16_of = |v: u16| {
        if big {
            v.to_be_bytes()
        } else {
            v.to_le_bytes()
        }
    };
    let u32_of = |v: u32| {
        if big {
            v.to_be_bytes()
        } else {
            v.to_le_bytes()
        }
    };
    let short = |v: u16| {
        let [a, b] = u16_of(v);
        [a, b, 0, 0]
    };
    let mut file = if big { b"MM".to_vec() } else { b"II".to_vec() };
    file.extend(u16_of(42));
    let bits_at = 8 + data.len() as u32;
    file.extend(u32_of(bits_at + 2 * bits.len() as u32));
    file.extend(data);
    file.extend(bits.iter().flat_map(|&b| u16_of(b)));
    let bits_value = if bits.len() == 1 {
        short(bits[0])
    } else {
        u32_of(bits_at)
    };
    let entries: [(u16, u16, u32, [u8; 4]); 9] = [
        (256, 3, 1, short(3)),
        (257, 3, 1, short(2)),
        (258, 3, bits.len() as u32, bits_value),
        (259, 3, 1, short(compression)),
        (262, 3, 1, short(photometric)),
        (273, 4, 1, u32_of(8)),
        (277, 3, 1, short(bits.len() as u16)),
        (278, 3, 1, short(2)),
        (279, 4, 1, u32_of(data.len() as u32)),
    ];
    file.extend(u16_of(entries.len() as u16));
    for (tag, kind, count, value) in entries {
        file.extend(u16_of(tag));
        file.extend(u16_of(kind));
        file.extend(u32_of(count));
        file.extend(value);
    }
    file.extend([0; 4]);
    file
}
