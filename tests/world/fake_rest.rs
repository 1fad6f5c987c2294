//! The fake Triton's HTTP: health, metadata, config and inference with binary tensors, with the
//! statuses and headers that the real one gives.

use bytes::Bytes;
use facequality_transformer::wire::triton::model_infer_request::InferInputTensor;
use facequality_transformer::wire::triton::{ModelInferRequest, ModelInferResponse};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::fake_triton::{FakeResponse, State, body};

/// Answers one request below `/v2`.
pub(crate) async fn answer(state: &State, request: Request<Incoming>) -> FakeResponse {
    let path = request.uri().path().to_owned();
    let parts: Vec<_> = path.trim_start_matches("/v2/").split('/').collect();
    let result = match parts.as_slice() {
        ["health", "live" | "ready"] => {
            state.live();
            Ok(Response::new(body("")))
        }
        ["models", model] => state.metadata(model).map(|metadata| {
            let tensors = |tensors: &[facequality_transformer::wire::triton::model_metadata_response::TensorMetadata]| {
                tensors
                    .iter()
                    .map(|tensor| json!({"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}))
                    .collect::<Vec<_>>()
            };
            json_response(&json!({
                "name": metadata.name,
                "versions": metadata.versions,
                "platform": metadata.platform,
                "inputs": tensors(&metadata.inputs),
                "outputs": tensors(&metadata.outputs),
            }))
        }),
        ["models", model, "config"] => state.config(model).map(|config| {
            json_response(&json!({
                "name": config.name,
                "platform": config.platform,
                "max_batch_size": config.max_batch_size,
            }))
        }),
        ["models", model, "infer"] => infer(state, model, request).await,
        _ => Err(Status::not_found("no such route")),
    };
    result.unwrap_or_else(|status| {
        let code = match status.code() {
            Code::InvalidArgument => StatusCode::BAD_REQUEST,
            Code::NotFound | Code::Unimplemented => StatusCode::NOT_FOUND,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut response = json_response(&json!({"error": status.message()}));
        *response.status_mut() = code;
        response
    })
}

fn json_response(value: &Value) -> FakeResponse {
    let mut response = Response::new(body(value.to_string()));
    response
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    response
}

async fn infer(
    state: &State,
    model: &str,
    request: Request<Incoming>,
) -> Result<FakeResponse, Status> {
    let (parts, incoming) = request.into_parts();
    let all = incoming.collect().await;
    let all = all
        .map_err(|error| Status::invalid_argument(error.to_string()))?
        .to_bytes();
    let header = parts
        .headers
        .get("inference-header-content-length")
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok())
        .filter(|&length| length <= all.len())
        .ok_or_else(|| Status::invalid_argument("bad Inference-Header-Content-Length"))?;
    let value: Value = serde_json::from_slice(&all[..header])
        .map_err(|error| Status::internal(error.to_string()))?;
    let input = &value["inputs"][0];
    if input["parameters"]["binary_data_size"].as_u64() != Some((all.len() - header) as u64) {
        return Err(Status::invalid_argument("wrong binary_data_size"));
    }
    let request = ModelInferRequest {
        model_name: model.to_owned(),
        id: value["id"].as_str().unwrap_or_default().to_owned(),
        inputs: vec![InferInputTensor {
            name: input["name"].as_str().unwrap_or_default().to_owned(),
            datatype: input["datatype"].as_str().unwrap_or_default().to_owned(),
            shape: serde_json::from_value(input["shape"].clone()).unwrap_or_default(),
            ..InferInputTensor::default()
        }],
        raw_input_contents: vec![all.slice(header..)],
        ..ModelInferRequest::default()
    };
    let response = state.infer(request, parts.headers).await?;
    Ok(binary_response(&response))
}

fn binary_response(response: &ModelInferResponse) -> FakeResponse {
    let outputs: Vec<_> = response
        .outputs
        .iter()
        .enumerate()
        .map(|(i, output)| {
            let mut value = json!({
                "name": output.name,
                "datatype": output.datatype,
                "shape": output.shape,
            });
            match response.raw_output_contents.get(i) {
                Some(raw) => value["parameters"] = json!({"binary_data_size": raw.len()}),
                None => {
                    let contents = output.contents.clone().unwrap_or_default();
                    value["data"] = json!(contents.fp32_contents);
                }
            }
            value
        })
        .collect();
    let header = json!({
        "id": response.id,
        "model_name": response.model_name,
        "model_version": response.model_version,
        "outputs": outputs,
    })
    .to_string();
    let mut all = header.clone().into_bytes();
    for raw in &response.raw_output_contents {
        all.extend_from_slice(raw);
    }
    let mut answer = Response::new(body(Bytes::from(all)));
    let headers = answer.headers_mut();
    headers.insert("content-type", "application/octet-stream".parse().unwrap());
    headers.insert(
        "inference-header-content-length",
        header.len().to_string().parse().unwrap(),
    );
    answer
}
