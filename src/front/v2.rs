//! The Open Inference Protocol over REST.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode};

use super::rest::RestRequest;
use super::v1::without_mark;
use super::{Settings, probes, response};
use crate::error::{Error, Kind};
use crate::observe::timing::Stage;
use crate::oip::OpenInference;
use crate::quote::quote;
use crate::transport::Body;
use crate::transport::compression::Encoding;
use crate::wire::triton::{
    LogSettingsRequest, ModelConfigRequest, ModelInferResponse, ModelMetadataRequest,
    ModelStatisticsRequest, RepositoryIndexRequest,
};
use crate::wire::v1::{ModelStatus, Models};
use crate::wire::v2;
use crate::wire::v2::request::InferRequest;
use crate::wire::v2::response::OutputEncoding;

/// The routes below `/v2`.
pub(super) struct V2Router<'a> {
    pub(super) oip: &'a OpenInference,
    pub(super) settings: &'a Settings,
}

impl V2Router<'_> {
    /// Routes a request to `/v2/…`; `segments` are the path's parts behind `v2`.
    pub(super) async fn route(
        &self,
        segments: &[&str],
        request: &mut RestRequest,
    ) -> Result<Response<Body>, Error> {
        let method = &request.head.method;
        match segments {
            [] => response::get(method, || {
                response::json(&v2::server(&self.oip.server_metadata()))
            }),
            ["health", "live"] => response::get(method, probes::live),
            ["health", "ready"] => response::get(method, || probes::ready(self.oip.service())),
            ["models"] => response::get(method, || self.models()),
            ["models", "stats"] => response::get(method, || self.statistics(Model::default())),
            // A path with something else belongs to another route.
            ["models", _, "versions", version, ..] if version.parse::<u64>().is_err() => {
                Err(invalid_version(version))
            }
            ["models", name, "versions", version, rest @ ..] => {
                let model = Model { name, version };
                self.route_model(model, rest, request).await
            }
            ["models", name, rest @ ..] => {
                let model = Model { name, version: "" };
                self.route_model(model, rest, request).await
            }
            ["repository", "index"] => {
                response::require_method(method, &Method::POST)?;
                self.index(request).await
            }
            ["repository", "models", _, "load" | "unload"] => unimplemented(
                "loading and unloading models is not built in; a model is loaded when the service \
                 starts",
            ),
            ["systemsharedmemory" | "cudasharedmemory", ..] => {
                unimplemented("shared memory is not built in; send the values in the request")
            }
            ["trace", "setting"] => unimplemented("trace settings are not built in"),
            ["logging"] if *method == Method::POST => self.set_log(request).await,
            ["logging"] if matches!(*method, Method::GET | Method::HEAD) => {
                let settings = self.oip.log_settings(&LogSettingsRequest::default())?;
                response::json(&v2::log_settings(&settings))
            }
            ["logging"] => Err(response::wrong_method(
                method,
                "GET and POST",
                "GET, HEAD, POST",
            )),
            _ => Err(unknown_route()),
        }
    }

    async fn route_model(
        &self,
        model: Model<'_>,
        rest: &[&str],
        request: &mut RestRequest,
    ) -> Result<Response<Body>, Error> {
        let method = &request.head.method;
        match rest {
            [] => response::get(method, || self.metadata(model)),
            ["ready"] => response::get(method, || self.ready(model)),
            ["config"] => response::get(method, || self.config(model)),
            ["stats"] => response::get(method, || self.statistics(model)),
            ["infer"] => {
                response::require_method(method, &Method::POST)?;
                self.infer(model, request).await
            }
            ["trace", "setting"] => unimplemented("trace settings are not built in"),
            _ => Err(unknown_route()),
        }
    }

    fn models(&self) -> Result<Response<Body>, Error> {
        let names = self.oip.service().names();
        response::json(&Models {
            models: names.iter().map(String::as_str).collect(),
        })
    }

    fn metadata(&self, model: Model<'_>) -> Result<Response<Body>, Error> {
        let metadata = self.oip.model_metadata(&ModelMetadataRequest {
            name: model.name.to_owned(),
            version: model.version.to_owned(),
        })?;
        response::json(&v2::metadata(&metadata))
    }

    fn ready(&self, model: Model<'_>) -> Result<Response<Body>, Error> {
        self.oip.check_model(model.name, model.version)?;
        let ready = self.oip.model_ready(model.name, model.version);
        let status = if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        let name = model.name;
        response::json_with(status, &ModelStatus { name, ready })
    }

    fn config(&self, model: Model<'_>) -> Result<Response<Body>, Error> {
        let response = self.oip.model_config(&ModelConfigRequest {
            name: model.name.to_owned(),
            version: model.version.to_owned(),
        })?;
        response::json(&v2::config(&response.config.unwrap_or_default()))
    }

    fn statistics(&self, model: Model<'_>) -> Result<Response<Body>, Error> {
        let statistics = self.oip.model_statistics(&ModelStatisticsRequest {
            name: model.name.to_owned(),
            version: model.version.to_owned(),
        })?;
        response::json(&v2::statistics(&statistics))
    }

    async fn set_log(&self, request: &mut RestRequest) -> Result<Response<Body>, Error> {
        let body = request.read_body(&self.settings.body).await?;
        let settings = v2::parse_log_settings(&body.bytes)?;
        let settings = self.oip.log_settings(&settings)?;
        response::json(&v2::log_settings(&settings))
    }

    async fn index(&self, request: &mut RestRequest) -> Result<Response<Body>, Error> {
        let body = request.read_body(&self.settings.body).await?;
        let filter = v2::index_filter(&body.bytes)?;
        let index = self.oip.repository_index(&RepositoryIndexRequest {
            ready: filter,
            ..Default::default()
        });
        response::json(&v2::index(&index))
    }

    async fn infer(
        &self,
        model: Model<'_>,
        request: &mut RestRequest,
    ) -> Result<Response<Body>, Error> {
        // Known before the body is read.
        self.oip.check_model(model.name, model.version)?;
        self.oip.note_model(model.name, &request.context);
        let deadline = request.context.deadline;
        self.oip.service().check_load(Some(model.name), deadline)?;
        let json_length = v2::json_length(&request.head.headers)?;
        let body = request.read_body(&self.settings.body).await?;
        let mut infer = if json_length == Some(0) {
            InferRequest {
                message: self.oip.raw_request(model.name, body.bytes)?,
                base64_elements: false,
                encoding: OutputEncoding::default(),
            }
        } else {
            let _timer = request.context.timings.stage(Stage::Parse);
            // In front of a JSON whose length is told, every byte is meant.
            let bytes = match json_length {
                Some(_) => body.bytes,
                None => without_mark(body.bytes),
            };
            let json_bytes = json_length.unwrap_or(bytes.len());
            let parse = move || v2::request::parse(&bytes, json_length);
            self.settings.body.pool.run(json_bytes, parse).await??
        };
        infer.message.model_name = model.name.to_owned();
        infer.message.model_version = model.version.to_owned();
        let response = self
            .oip
            .infer(infer.message, infer.base64_elements, &mut request.context)
            .await?;
        drop(body.reserved);
        let values = response.outputs.iter();
        let values = values.map(|output| output.shape.iter().product::<i64>() as usize);
        let values = values.sum();
        let accepted = Encoding::accepted(&request.head.headers);
        let encode = move || encode(&response, &infer.encoding, accepted);
        let mut encoded = self.settings.body.pool.run(values, encode).await??;
        if !request.context.outputs_on_request.is_empty() {
            // They may be larger than what was sent, and the caller slow to read them.
            let reserved = self.settings.body.budget.reserve_now(encoded.body.len());
            encoded.body = reserved.hold(encoded.body);
        }
        Ok(encoded.into_response())
    }
}

/// A model as a path names it; an empty version is the newest.
#[derive(Clone, Copy, Default)]
struct Model<'a> {
    name: &'a str,
    version: &'a str,
}

fn unimplemented(text: &str) -> Result<Response<Body>, Error> {
    Err(Error::new(Kind::Unimplemented, text))
}

fn invalid_version(version: &str) -> Error {
    let text = format!(
        "invalid version {}: expected a number (this model has version \"1\")",
        quote(version)
    );
    Error::new(Kind::NotFound, text)
}

pub(super) fn unknown_route() -> Error {
    Error::new(
        Kind::NotFound,
        "unknown route; inferences are POST /v2/models/{model}/infer",
    )
}

/// A response as it is sent.
struct Encoded {
    body: Bytes,
    /// Bytes of the JSON, if there is binary data behind it.
    json_length: Option<usize>,
    encoding: Option<HeaderValue>,
}

/// The response, compressed if the caller accepts that.
fn encode(
    response: &ModelInferResponse,
    encoding: &OutputEncoding,
    accepted: Option<Encoding>,
) -> Result<Encoded, Error> {
    let written = v2::response::to_json(response, encoding).map_err(Error::internal)?;
    let (body, encoding) = match accepted {
        Some(encoding) => encoding.compress(written.body),
        None => (written.body, None),
    };
    Ok(Encoded {
        body,
        json_length: written.json_length,
        encoding,
    })
}

impl Encoded {
    fn into_response(self) -> Response<Body> {
        let content_type = match self.json_length {
            Some(_) => "application/octet-stream",
            None => "application/json",
        };
        let mut response = response::bytes(StatusCode::OK, content_type, self.body);
        let headers = response.headers_mut();
        if let Some(length) = self.json_length {
            headers.insert(v2::JSON_LENGTH, HeaderValue::from(length));
        }
        if let Some(encoding) = self.encoding {
            headers.insert(http::header::CONTENT_ENCODING, encoding);
        }
        response
    }
}

#[cfg(test)]
mod tests;
