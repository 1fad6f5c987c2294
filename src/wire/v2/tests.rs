//! Bodies as Triton's and KServe's clients and servers write them, and what is wrong with others.

use std::collections::HashMap;

use super::request::InferRequest;
use super::response::OutputEncoding;
use super::*;
use crate::wire::tensor::fp32;
use crate::wire::triton::infer_parameter::ParameterChoice;
use crate::wire::triton::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::wire::triton::model_infer_response::InferOutputTensor;
use crate::wire::triton::{InferParameter, ModelInferRequest, ModelInferResponse};

fn json(text: &str) -> Result<InferRequest, ParseError> {
    request::parse(&Bytes::copy_from_slice(text.as_bytes()), None)
}

fn error(text: &str) -> String {
    json(text).unwrap_err().to_string()
}

#[test]
fn nested_data_is_flattened() {
    let body = r#"{"id":"7","parameters":{"a":1,"b":"x","c":true,"d":0.5},
        "inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2.5],[-3,[1e3]]]},
                  {"name":"y","shape":[2],"datatype":"BYTES","data":["ab",["\u00e9\/"]]}]}"#;
    let infer = json(body).unwrap();
    let message = infer.message;
    assert!(infer.base64_elements);
    assert_eq!(message.id, "7");
    assert_eq!(
        message.parameters["a"].parameter_choice,
        Some(ParameterChoice::Int64Param(1))
    );
    assert_eq!(
        message.parameters["d"].parameter_choice,
        Some(ParameterChoice::DoubleParam(0.5))
    );
    let values: Vec<f32> = fp32(&message.raw_input_contents[0]).collect();
    assert_eq!(values, [1.0, 2.5, -3.0, 1000.0]);
    assert_eq!(message.inputs[0].shape, [2, 2]);
    assert_eq!(
        message.raw_input_contents[1],
        b"\x02\0\0\0ab\x03\0\0\0\xc3\xa9/".as_slice()
    );
    assert!(!infer.encoding.is_binary("x"));
}

#[test]
fn numbers_that_json_does_not_have_are_read() {
    let body = r#"{"id":"NaN \" NaN","inputs":[{"name":"x","shape":[4],"datatype":"FP32",
        "data":[NaN,Infinity,-Infinity,1]}]}"#;
    let message = json(body).unwrap().message;
    assert_eq!(message.id, "NaN \" NaN");
    let values: Vec<f32> = fp32(&message.raw_input_contents[0]).collect();
    assert!(values[0].is_nan());
    assert_eq!(values[1..], [f32::INFINITY, f32::NEG_INFINITY, 1.0]);
}

#[test]
fn binary_tensors_are_cut_from_the_body() {
    let header = r#"{"inputs":[
        {"name":"x","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}},
        {"name":"y","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":6}}],
        "outputs":[{"name":"a","parameters":{"binary_data":false}},{"name":"b"}],
        "parameters":{"binary_data_output":true}}"#;
    let body = Bytes::from([header.as_bytes(), b"1234", b"\x02\0\0\0ab"].concat());
    let infer = request::parse(&body, Some(header.len())).unwrap();
    assert!(!infer.base64_elements);
    let contents = &infer.message.raw_input_contents;
    assert_eq!(contents[0], b"1234".as_slice());
    assert_eq!(contents[1], b"\x02\0\0\0ab".as_slice());
    assert_eq!(contents[0].as_ptr(), body[header.len()..].as_ptr());
    assert!(!infer.encoding.is_binary("a"));
    assert!(infer.encoding.is_binary("b"));

    let wrong = |body: &[u8], length| {
        let body = Bytes::copy_from_slice(body);
        request::parse(&body, Some(length)).unwrap_err().to_string()
    };
    let cut = wrong(&body[..body.len() - 1], header.len());
    assert_eq!(
        cut,
        "inputs[1]: binary_data_size is 6, but 5 bytes are left in the body"
    );
    let more = wrong(&[&body, b"x".as_slice()].concat(), header.len());
    assert_eq!(more, "1 bytes are left in the body behind the last input");
    assert!(wrong(&body, body.len() + 1).contains("Inference-Header-Content-Length"));
    assert!(wrong(&body, 0).contains("is empty"));
}

#[test]
fn what_is_wrong_is_named_and_not_quoted() {
    let with_input = |input: &str| format!("{{\"inputs\":[{{{input}}}]}}");
    let good = r#""name":"x","shape":[1],"datatype":"FP32""#;
    let cases = [
        ("secret".to_owned(), "not JSON"),
        ("[]".to_owned(), "must be a JSON object"),
        (" ".to_owned(), "is empty"),
        ("{}".to_owned(), "inputs is missing"),
        (
            r#"{"inputs":"secret"}"#.to_owned(),
            "lists of at most 64 objects",
        ),
        (r#"{"inputs":[],"inputs":[]}"#.to_owned(), "each key once"),
        (
            format!("{{\"inputs\":[{}{{}}]}}", "{},".repeat(64)),
            "at most 64 objects",
        ),
        (r#"{"inputs":[],"id":5}"#.to_owned(), "id must be a string"),
        (
            r#"{"inputs":[],"parameters":[]}"#.to_owned(),
            "parameters must be an object",
        ),
        (
            r#"{"inputs":[],"parameters":{"a":{}}}"#.to_owned(),
            "\"a\" must be a string, a number",
        ),
        (
            with_input(r#""shape":[1],"datatype":"FP32","data":[1]"#),
            "inputs[0].name is missing",
        ),
        (
            with_input(r#""name":"x","datatype":"FP32","data":[1]"#),
            "inputs[0].shape is missing",
        ),
        (
            with_input(r#""name":"x","shape":[1],"data":[1]"#),
            "inputs[0].datatype is missing",
        ),
        (
            with_input(r#""name":"x","shape":"secret","datatype":"FP32","data":[1]"#),
            "list of at most 16 integers",
        ),
        (with_input(good), "neither data nor binary_data_size"),
        (
            with_input(&format!(
                r#"{good},"data":[1],"parameters":{{"binary_data_size":4}}"#
            )),
            "both data and binary_data_size",
        ),
        (
            with_input(&format!(r#"{good},"parameters":{{"binary_data_size":-4}}"#)),
            "must be a byte count",
        ),
        (
            with_input(&format!(r#"{good},"data":["secret"]"#)),
            "FP32 data must be numbers",
        ),
        (
            with_input(&format!(r#"{good},"data":[null]"#)),
            "FP32 data must be numbers",
        ),
        (
            with_input(r#""name":"x","shape":[1],"datatype":"BYTES","data":[1]"#),
            "BYTES data must be strings",
        ),
    ];
    for (body, text) in cases {
        let error = error(&body);
        assert!(error.contains(text), "{body}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

fn response() -> ModelInferResponse {
    let output = |name: &str| InferOutputTensor {
        name: name.to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![2, 1],
        ..Default::default()
    };
    let values = |values: [f32; 2]| Bytes::from(values.map(f32::to_le_bytes).concat());
    ModelInferResponse {
        model_name: "m".to_owned(),
        model_version: "1".to_owned(),
        outputs: vec![output("a"), output("b")],
        raw_output_contents: vec![values([0.1, f32::NAN]), values([1.0, f32::NEG_INFINITY])],
        ..Default::default()
    }
}

#[test]
fn a_response_in_json() {
    let written = response::to_json(&response(), &OutputEncoding::default()).unwrap();
    assert_eq!(written.json_length, None);
    assert_eq!(
        written.body,
        concat!(
            r#"{"model_name":"m","model_version":"1","outputs":["#,
            r#"{"name":"a","datatype":"FP32","shape":[2,1],"data":[0.10000000149011612,NaN]},"#,
            r#"{"name":"b","datatype":"FP32","shape":[2,1],"data":[1.0,-Infinity]}]}"#
        )
    );
}

#[test]
fn a_response_with_binary_data() {
    let encoding = OutputEncoding {
        binary: true,
        outputs: HashMap::from([("b".to_owned(), false)]),
    };
    let response = ModelInferResponse {
        id: "\"7\"".to_owned(),
        ..response()
    };
    let written = response::to_json(&response, &encoding).unwrap();
    let json = concat!(
        r#"{"id":"\"7\"","model_name":"m","model_version":"1","outputs":["#,
        r#"{"name":"a","datatype":"FP32","shape":[2,1],"parameters":{"binary_data_size":8}},"#,
        r#"{"name":"b","datatype":"FP32","shape":[2,1],"data":[1.0,-Infinity]}]}"#
    );
    assert_eq!(written.json_length, Some(json.len()));
    assert_eq!(written.body[..json.len()], *json.as_bytes());
    assert_eq!(written.body[json.len()..], response.raw_output_contents[0]);
}

#[test]
fn a_written_request_is_read_as_it_was() {
    let parameter = |choice| InferParameter {
        parameter_choice: Some(choice),
    };
    let message = ModelInferRequest {
        id: "r-1".to_owned(),
        parameters: HashMap::from([
            (
                "timeout".to_owned(),
                parameter(ParameterChoice::Int64Param(5_000)),
            ),
            (
                "s".to_owned(),
                parameter(ParameterChoice::StringParam("x".to_owned())),
            ),
        ]),
        inputs: vec![InferInputTensor {
            name: "x".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1],
            ..InferInputTensor::default()
        }],
        outputs: vec![InferRequestedOutputTensor {
            name: "y".to_owned(),
            ..InferRequestedOutputTensor::default()
        }],
        ..ModelInferRequest::default()
    };
    let json = request::to_json(&message, &[4]);
    let body = Bytes::from([&json[..], b"1234"].concat());
    let read = request::parse(&body, Some(json.len())).unwrap();
    assert!(read.encoding.is_binary("y"));
    assert_eq!(read.message.id, message.id);
    assert_eq!(read.message.parameters, message.parameters);
    assert_eq!(read.message.inputs[0].shape, [1]);
    assert_eq!(read.message.outputs[0].name, "y");
    assert_eq!(read.message.raw_input_contents, [b"1234".as_slice()]);

    let any_output = ModelInferRequest {
        outputs: Vec::new(),
        ..message
    };
    let json = request::to_json(&any_output, &[4]);
    let body = Bytes::from([&json[..], b"1234"].concat());
    let read = request::parse(&body, Some(json.len())).unwrap();
    assert!(read.encoding.is_binary("any"));
}

/// The values of output `y`, or of every output.
fn values_of(body: &[u8], json_length: Option<usize>) -> Result<Vec<f32>, String> {
    let body = Bytes::copy_from_slice(body);
    let response = response::parse(&body, json_length, |name| name == "y");
    let response = response.map_err(|error| error.to_string())?;
    let index = response
        .outputs
        .iter()
        .position(|output| output.name == "y");
    Ok(fp32(&response.raw_output_contents[index.unwrap()]).collect())
}

#[test]
fn a_written_response_is_read_as_it_was() {
    for binary in [false, true] {
        let encoding = OutputEncoding {
            binary,
            outputs: HashMap::new(),
        };
        let written = response::to_json(&response(), &encoding).unwrap();
        let read = response::parse(&written.body, written.json_length, |_| true).unwrap();
        assert_eq!(read.outputs, response().outputs);
        assert_eq!(read.raw_output_contents, response().raw_output_contents);
    }
}

#[test]
fn a_response_is_read_in_whatever_form_servers_write_it() {
    let bodies = [
        r#"{"id":null,"parameters":null,"outputs":[{"name":"y","datatype":"FP32","shape":[2,1],
            "parameters":null,"data":[[0.5],[0.25]]}]}"#,
        r#"{"outputs":[{"name":"z","datatype":"BOOL","shape":[1],"data":[true]},
            {"name":"w","datatype":"FP32","shape":[1],"data":["x"]},
            {"name":"v","datatype":"FP32","shape":null,"data":null},
            {"name":"y","datatype":"FP32","shape":[2,1],"data":[0.5,0.25]}]}"#,
    ];
    for body in bodies {
        assert_eq!(
            values_of(body.as_bytes(), None).unwrap(),
            [0.5, 0.25],
            "{body}"
        );
    }
    let nan = br#"{"outputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[NaN]}]}"#;
    assert!(values_of(nan, None).unwrap()[0].is_nan());
}

#[test]
fn a_malformed_response_is_named_and_not_quoted() {
    let output =
        |fields: &str| format!(r#"{{"outputs":[{{"name":"y","datatype":"FP32"{fields}}}]}}"#);
    for (body, part) in [
        (
            "<html>secret".to_owned(),
            "the body is not JSON (line 1, column 1)",
        ),
        (r#"["secret"]"#.to_owned(), "not an inference response"),
        (
            r#"{"outputs":"secret"}"#.to_owned(),
            "not an inference response",
        ),
        (
            output(""),
            "outputs[0] has neither data nor binary_data_size",
        ),
        (
            output(r#","data":["secret"]"#),
            "outputs[0].data: FP32 data must be numbers",
        ),
        (
            output(r#","parameters":{"binary_data_size":9}"#),
            "outputs[0]: binary_data_size is 9, but 0 bytes are left",
        ),
    ] {
        let error = values_of(body.as_bytes(), None).unwrap_err();
        assert!(error.contains(part), "{body}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn descriptions_are_read_with_null_like_absent() {
    let body = br#"{"name":"m","versions":null,"inputs":[{"name":"x","datatype":"FP32",
        "shape":[-1,3],"parameters":null}],"outputs":null}"#;
    let metadata = parse_metadata(body).unwrap();
    assert_eq!(metadata.inputs[0].shape, [-1, 3]);
    assert!(metadata.outputs.is_empty());

    let body = br#"{"max_batch_size":8,"input":[{"name":"x","optional":true}],
        "model_transaction_policy":null}"#;
    let config = parse_config(body).unwrap();
    assert_eq!(config.max_batch_size, 8);
    assert!(config.input[0].optional);
    assert!(!config.model_transaction_policy.unwrap().decoupled);

    let error = parse_metadata(b"<html>").unwrap_err().to_string();
    assert_eq!(
        error,
        "the body is not the metadata of a model (line 1, column 1)"
    );
}

#[test]
fn the_length_of_the_json_is_a_number_of_bytes() {
    let length = |value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(JSON_LENGTH, http::HeaderValue::from_static(value));
        json_length(&headers)
    };
    assert_eq!(json_length(&HeaderMap::new()), Ok(None));
    assert_eq!(length(" 12 "), Ok(Some(12)));
    assert_eq!(length("0"), Ok(Some(0)));
    for wrong in ["", "-1", "x"] {
        assert!(length(wrong).is_err(), "{wrong}");
    }
}
