//! Bodies as Triton's and KServe's clients write them, and what is wrong with others.

use super::*;
use crate::wire::tensor::fp32;
use crate::wire::triton::ModelInferResponse;
use crate::wire::triton::model_infer_response::InferOutputTensor;

fn json(text: &str) -> Result<Infer, ParseError> {
    parse(&Bytes::copy_from_slice(text.as_bytes()), None)
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
    assert!(infer.strings);
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
    assert!(!infer.form.is_binary("x"));
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
    let infer = parse(&body, Some(header.len())).unwrap();
    assert!(!infer.strings);
    let contents = &infer.message.raw_input_contents;
    assert_eq!(contents[0], b"1234".as_slice());
    assert_eq!(contents[1], b"\x02\0\0\0ab".as_slice());
    assert_eq!(contents[0].as_ptr(), body[header.len()..].as_ptr());
    assert!(!infer.form.is_binary("a"));
    assert!(infer.form.is_binary("b"));

    let wrong = |body: &[u8], length| {
        let body = Bytes::copy_from_slice(body);
        parse(&body, Some(length)).unwrap_err().to_string()
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
            "list of integers",
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
fn an_answer_in_json() {
    let written = answer(&response(), &Form::default()).unwrap();
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
fn an_answer_with_binary_data() {
    let form = Form {
        binary: true,
        outputs: HashMap::from([("b".to_owned(), false)]),
    };
    let response = ModelInferResponse {
        id: "\"7\"".to_owned(),
        ..response()
    };
    let written = answer(&response, &form).unwrap();
    let json = concat!(
        r#"{"id":"\"7\"","model_name":"m","model_version":"1","outputs":["#,
        r#"{"name":"a","datatype":"FP32","shape":[2,1],"parameters":{"binary_data_size":8}},"#,
        r#"{"name":"b","datatype":"FP32","shape":[2,1],"data":[1.0,-Infinity]}]}"#
    );
    assert_eq!(written.json_length, Some(json.len()));
    assert_eq!(written.body[..json.len()], *json.as_bytes());
    assert_eq!(written.body[json.len()..], response.raw_output_contents[0]);
}
