//! ModelInfer: contents in and out, and what is refused.

use super::*;

#[tokio::test]
async fn raw_images_give_raw_scores() {
    let server = start(Scripted::default()).await;
    let response = server
        .client()
        .model_infer(images(&[b"12345", b"data:,"]))
        .await
        .unwrap();
    assert!(response.metadata().contains_key("server-timing"));
    assert!(response.metadata().contains_key("x-request-id"));
    let response = response.into_inner();
    assert_eq!(
        (response.id.as_str(), response.model_version.as_str()),
        ("mine", "1")
    );
    assert_eq!(response.outputs.len(), 1);
    assert_eq!(response.outputs[0].name, "score");
    assert_eq!(response.outputs[0].shape, [2, 1]);
    assert!(response.outputs[0].contents.is_none());
    assert_eq!(values(&response.raw_output_contents[0]), [5.0, 6.0]);
    // A column is as good as a list.
    let mut column = images(&[b"12345", b"123456"]);
    column.inputs[0].shape = vec![2, 1];
    let response = server.client().model_infer(column).await.unwrap();
    assert_eq!(
        values(&response.get_ref().raw_output_contents[0]),
        [5.0, 6.0]
    );
}

#[tokio::test]
async fn typed_contents_give_typed_scores() {
    let server = start(Scripted::default()).await;
    let mut request = tensor(&[]);
    request.raw_input_contents.clear();
    request.inputs[0].shape[0] = 1;
    request.inputs[0].contents = Some(InferTensorContents {
        fp32_contents: vec![2.5, 0.0, 0.0, 0.0],
        ..Default::default()
    });
    request.outputs = vec![output("1346"), output("score")];
    let response = server
        .client()
        .model_infer(request)
        .await
        .unwrap()
        .into_inner();
    let names: Vec<_> = response.outputs.iter().map(|output| &output.name).collect();
    assert_eq!(names, ["1346", "score"]);
    assert!(response.raw_output_contents.is_empty());
    let contents = response.outputs[1].contents.clone().unwrap();
    assert_eq!(contents.fp32_contents, [2.5]);

    let mut request = images(&[]);
    request.raw_input_contents.clear();
    request.inputs[0].shape = vec![1];
    request.inputs[0].contents = Some(InferTensorContents {
        bytes_contents: vec![Bytes::from_static(b"1234")],
        ..Default::default()
    });
    let response = server
        .client()
        .model_infer(request)
        .await
        .unwrap()
        .into_inner();
    let contents = response.outputs[0].contents.clone().unwrap();
    assert_eq!(contents.fp32_contents, [4.0]);
}

#[tokio::test]
async fn a_predictor_alone_responds_raw_and_keeps_to_its_batch() {
    let scripted = Scripted {
        max_batch: 2,
        ..Default::default()
    };
    let server = start(scripted).await;
    let mut client = server.client();
    let metadata = client
        .model_metadata(ModelMetadataRequest {
            name: "faces".to_owned(),
            version: String::new(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(metadata.inputs.len(), 1);
    assert_eq!(metadata.inputs[0].shape, [-1, 1, 2, 2]);
    let config = client
        .model_config(ModelConfigRequest {
            name: "faces".to_owned(),
            version: String::new(),
        })
        .await
        .unwrap()
        .into_inner()
        .config
        .unwrap();
    assert_eq!(config.max_batch_size, 2);
    assert_eq!(config.input[0].dims, [1, 2, 2]);
    assert!(!config.input[0].optional);
    let response = client.model_infer(tensor(&[1.0, 2.0])).await.unwrap();
    assert_eq!(
        values(&response.get_ref().raw_output_contents[0]),
        [1.0, 2.0]
    );
    let refused = client.model_infer(tensor(&[1.0; 3])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("max_batch_size 2"), "{refused}");
    let refused = client.model_infer(images(&[b"1"])).await.unwrap_err();
    assert!(
        refused.message().contains("no input \"image\""),
        "{refused}"
    );
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let server = start(Scripted::default()).await;
    let change = |change: &dyn Fn(&mut ModelInferRequest)| {
        let mut request = tensor(&[1.0]);
        change(&mut request);
        request
    };
    let contents = InferTensorContents::default();
    let region = || {
        let name = ParameterChoice::StringParam("region".to_owned());
        [("shared_memory_region".to_owned(), parameter(Some(name)))]
    };
    use Code::{InvalidArgument, NotFound, Unimplemented};
    let cases = [
        (
            change(&|r| r.model_name = "nobody".into()),
            NotFound,
            "available: faces",
        ),
        (
            change(&|r| r.model_version = "2".into()),
            NotFound,
            "it has version \"1\"",
        ),
        (
            change(&|r| r.model_version = "x".into()),
            InvalidArgument,
            "invalid version",
        ),
        (
            change(&|r| r.inputs.clear()),
            InvalidArgument,
            "1 raw_input_contents for 0 inputs",
        ),
        (
            change(&|r| {
                r.inputs.clear();
                r.raw_input_contents.clear();
            }),
            InvalidArgument,
            "no input is given",
        ),
        (
            change(&|r| {
                r.inputs.push(input("image", "BYTES", &[1]));
                r.raw_input_contents.push(raw(&[b"1"]));
            }),
            InvalidArgument,
            "both inputs are given",
        ),
        (
            change(&|r| {
                r.inputs.push(r.inputs[0].clone());
                r.raw_input_contents.push(r.raw_input_contents[0].clone());
            }),
            InvalidArgument,
            "is given twice",
        ),
        (
            change(&|r| r.inputs[0].name = "x".into()),
            InvalidArgument,
            "no input \"x\"",
        ),
        (
            change(&|r| r.inputs[0].datatype = "FP16".into()),
            InvalidArgument,
            "FP32 is expected",
        ),
        (
            change(&|r| r.inputs[0].shape[0] = 0),
            InvalidArgument,
            "at least one",
        ),
        (
            change(&|r| r.inputs[0].shape[0] = -1),
            InvalidArgument,
            "[-1, 1, 2, 2] is expected",
        ),
        (
            change(&|r| r.inputs[0].shape[3] = 3),
            InvalidArgument,
            "[-1, 1, 2, 2] is expected",
        ),
        (
            change(&|r| r.inputs[0].shape[0] = 2),
            InvalidArgument,
            "16 raw bytes where the shape needs 32",
        ),
        (
            change(&|r| r.inputs[0].shape[0] = i64::MAX),
            InvalidArgument,
            "is too large",
        ),
        (
            change(&|r| r.inputs[0].contents = Some(contents.clone())),
            InvalidArgument,
            "contents beside raw_input_contents",
        ),
        (
            change(&|r| r.raw_input_contents.push(Bytes::new())),
            InvalidArgument,
            "2 raw_input_contents for 1 inputs",
        ),
        (
            change(&|r| r.raw_input_contents.clear()),
            InvalidArgument,
            "0 values in fp32_contents where the shape needs 4",
        ),
        (
            change(&|r| r.outputs.push(output("x"))),
            InvalidArgument,
            "no output \"x\"",
        ),
        (
            change(&|r| r.outputs.extend([output("score"), output("score")])),
            InvalidArgument,
            "requested twice",
        ),
        (
            change(&|r| r.inputs[0].parameters.extend(region())),
            Unimplemented,
            "shared memory",
        ),
        (
            change(&|r| {
                r.outputs.push(output("score"));
                r.outputs[0].parameters.extend(region());
            }),
            Unimplemented,
            "shared memory",
        ),
        (
            change(&|r| r.parameters.extend([("x".to_owned(), parameter(None))])),
            InvalidArgument,
            "has no value",
        ),
        (
            change(&|r| {
                let text = ParameterChoice::StringParam("5".to_owned());
                r.parameters
                    .extend([("timeout".to_owned(), parameter(Some(text)))]);
            }),
            InvalidArgument,
            "must be an int64",
        ),
    ];
    let mut client = server.client();
    for (request, code, text) in cases {
        let refused = client.model_infer(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(text), "{refused}");
    }
    client.model_infer(tensor(&[1.0])).await.unwrap();
}

#[tokio::test]
async fn every_kind_of_failure_has_its_code_and_its_place() {
    for kind in Kind::ALL {
        let scripted = Scripted {
            failure: Some(("bad", Error::new(kind, "what happened"))),
            ..Default::default()
        };
        let server = start(scripted).await;
        let refused = server
            .client()
            .model_infer(images(&[b"good", b"bad"]))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), kind.grpc_code());
        assert_eq!(refused.message(), "image[1]: what happened");
    }
}
