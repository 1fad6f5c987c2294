//! The scripted Triton's HTTP: health, metadata, config and inference with binary tensors, with the
//! statuses and headers that the real one gives.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use kserve_transformer::wire::triton::{ModelInferResponse, ServerMetadataResponse};
use kserve_transformer::wire::{error_body, v2};
use serde::Serialize;
use serde_json::json;
use tonic::body::Body;
use tonic::{Code, Status};

use super::State;

/// Answers one request below `/v2`.
pub(super) async fn answer(state: &State, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let parts: Vec<_> = path.trim_start_matches("/v2/").split('/').collect();
    let result = match parts.as_slice() {
        ["", "v2"] => Ok(json_response(&v2::server(&server_metadata()))),
        ["", "metrics"] => Ok(response(StatusCode::OK, METRICS)),
        ["health", "live" | "ready"] => {
            state.live();
            Ok(response(StatusCode::OK, ""))
        }
        ["models", model] => {
            let metadata = state.metadata(model);
            metadata.map(|metadata| json_response(&v2::metadata(&metadata)))
        }
        ["models", model, "config"] => {
            let config = state.config(model);
            config.map(|config| json_response(&v2::config(&config)))
        }
        ["models", model, "infer"] => infer(state, model, request).await,
        _ => Err(Status::not_found("no such route")),
    };
    result.unwrap_or_else(|status| refusal(&status))
}

/// Some of Triton's metrics.
const METRICS: &str = "# TYPE nv_gpu_memory_used_bytes gauge\n\
    nv_gpu_memory_used_bytes{gpu_uuid=\"GPU-1\"} 3221225472.000000\n\
    nv_gpu_utilization{gpu_uuid=\"GPU-1\"} 0.870000\n";

/// What it says of itself over both protocols.
pub(super) fn server_metadata() -> ServerMetadataResponse {
    ServerMetadataResponse {
        name: "scripted".to_owned(),
        version: "2.99.0".to_owned(),
        ..ServerMetadataResponse::default()
    }
}

/// An error as Triton's HTTP gives it.
pub(super) fn refusal(status: &Status) -> Response<Body> {
    let code = match status.code() {
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::NotFound | Code::Unimplemented => StatusCode::NOT_FOUND,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    response(code, error_body::to_json(status.message()))
}

fn response(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(body.into())));
    *response.status_mut() = status;
    response
}

fn json_response(value: &impl Serialize) -> Response<Body> {
    response(StatusCode::OK, serde_json::to_vec(value).unwrap())
}

async fn infer(
    state: &State,
    model: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Status> {
    let (parts, incoming) = request.into_parts();
    let invalid = |error: &dyn std::fmt::Display| Status::invalid_argument(error.to_string());
    let body = incoming.collect().await.map_err(|error| invalid(&error))?;
    let length = v2::json_length(&parts.headers).map_err(|error| invalid(&error))?;
    let infer = v2::request::parse(&body.to_bytes(), length).map_err(|error| invalid(&error))?;
    let mut message = infer.message;
    message.model_name = model.to_owned();
    let scores = state.infer(message, parts.headers).await?;
    let script = state.script.borrow().clone();
    if let Some(given) = script.http_response {
        let mut response = response(StatusCode::from_u16(given.status).unwrap(), given.body);
        for &(name, value) in given.headers {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        return Ok(response);
    }
    if script.typed {
        return Ok(json_response(&typed(&scores)));
    }
    let encoded = v2::response::to_json(&scores, &infer.encoding);
    let encoded = encoded.map_err(|error| invalid(&error))?;
    let mut response = response(StatusCode::OK, encoded.body);
    if let Some(length) = encoded.json_length {
        response
            .headers_mut()
            .insert(v2::JSON_LENGTH, length.into());
    }
    Ok(response)
}

fn typed(response: &ModelInferResponse) -> serde_json::Value {
    let output =
        |output: &kserve_transformer::wire::triton::model_infer_response::InferOutputTensor| {
            let contents = output.contents.clone().unwrap_or_default();
            json!({
                "name": output.name,
                "datatype": output.datatype,
                "shape": output.shape,
                "data": contents.fp32_contents,
            })
        };
    json!({"outputs": response.outputs.iter().map(output).collect::<Vec<_>>()})
}
