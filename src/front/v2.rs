//! The Open Inference Protocol over REST, for whatever takes tensors.

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use hyper::body::Incoming;

use super::{Settings, Visit, probes, response};
use crate::error::{Error, Kind};
use crate::observe::timing::Stage;
use crate::oip::{Context, InferenceService};
use crate::transport::compression::Encoding;
use crate::transport::headers::forwarded;
use crate::transport::listener::Body;
use crate::wire::triton::{
    ModelConfigRequest, ModelMetadataRequest, ModelReadyRequest, ModelStatisticsRequest,
    RepositoryIndexRequest,
};
use crate::wire::v1::{ModelStatus, Models};
use crate::wire::v2;

/// What a request to a route below `/v2` is answered with.
#[derive(Clone, Copy)]
pub struct Door<'a> {
    /// Who answers.
    pub served: &'a dyn InferenceService,
    /// What is asked of requests.
    pub settings: &'a Settings,
}

impl Door<'_> {
    /// Answers a request to `/v2/…`; `segments` are the path's parts behind `v2`.
    ///
    /// # Errors
    ///
    /// Everything that a request can fail by.
    pub async fn answer(
        &self,
        method: &Method,
        segments: &[&str],
        visit: &Visit,
        body: &mut Incoming,
    ) -> Result<Response<Body>, Error> {
        let served = self.served;
        match segments {
            [] => response::get(method, || {
                response::json(&v2::server(&served.server_metadata()))
            }),
            ["health", "live"] => response::get(method, probes::live),
            ["health", "ready"] => response::get(method, || probes::ready(served)),
            ["models"] => response::get(method, || self.models()),
            ["models", "stats"] => response::get(method, || self.statistics(Model::default())),
            // A path with something else is of another route.
            ["models", _, "versions", version, ..] if version.parse::<u64>().is_err() => {
                Err(no_version(version))
            }
            ["models", name, "versions", version, rest @ ..] => {
                let model = Model { name, version };
                self.of_model(method, model, rest, visit, body).await
            }
            ["models", name, rest @ ..] => {
                let model = Model { name, version: "" };
                self.of_model(method, model, rest, visit, body).await
            }
            ["repository", "index"] => {
                response::only(method, &Method::POST)?;
                self.index(visit, body).await
            }
            ["repository", "models", _, "load" | "unload"] => not_built_in(
                "loading and unloading models is not built in; a model is loaded when the service \
                 starts",
            ),
            ["systemsharedmemory" | "cudasharedmemory", ..] => {
                not_built_in("shared memory is not built in; send the values in the request")
            }
            ["trace", "setting"] | ["logging"] => not_built_in(
                "settings cannot be changed while running; logs and traces are set up by the \
                 service's own flags",
            ),
            _ => Err(no_route()),
        }
    }

    async fn of_model(
        &self,
        method: &Method,
        model: Model<'_>,
        rest: &[&str],
        visit: &Visit,
        body: &mut Incoming,
    ) -> Result<Response<Body>, Error> {
        match rest {
            [] => response::get(method, || self.metadata(model)),
            ["ready"] => response::get(method, || self.ready(model)),
            ["config"] => response::get(method, || self.config(model)),
            ["stats"] => response::get(method, || self.statistics(model)),
            ["infer"] => {
                response::only(method, &Method::POST)?;
                self.infer(model, visit, body).await
            }
            ["trace", "setting"] => not_built_in(
                "trace settings are not built in; traces are set up by the service's own flags",
            ),
            _ => Err(no_route()),
        }
    }

    fn models(&self) -> Result<Response<Body>, Error> {
        let names = self.served.names();
        response::json(&Models {
            models: names.iter().map(String::as_str).collect(),
        })
    }

    fn metadata(&self, model: Model<'_>) -> Result<Response<Body>, Error> {
        let metadata = self.served.model_metadata(&ModelMetadataRequest {
            name: model.name.to_owned(),
            version: model.version.to_owned(),
        })?;
        response::json(&v2::metadata(&metadata))
    }

    fn ready(&self, model: Model<'_>) -> Result<Response<Body>, Error> {
        self.served.check_model(model.name, model.version)?;
        let ready = self.served.model_ready(&ModelReadyRequest {
            name: model.name.to_owned(),
            version: model.version.to_owned(),
        });
        let status = match ready {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        let name = model.name;
        response::json_with(status, &ModelStatus { name, ready })
    }

    fn config(&self, model: Model<'_>) -> Result<Response<Body>, Error> {
        let response = self.served.model_config(&ModelConfigRequest {
            name: model.name.to_owned(),
            version: model.version.to_owned(),
        })?;
        response::json(&v2::config(&response.config.unwrap_or_default()))
    }

    fn statistics(&self, model: Model<'_>) -> Result<Response<Body>, Error> {
        let statistics = self.served.model_statistics(&ModelStatisticsRequest {
            name: model.name.to_owned(),
            version: model.version.to_owned(),
        })?;
        response::json(&v2::statistics(&statistics))
    }

    async fn index(&self, visit: &Visit, body: &mut Incoming) -> Result<Response<Body>, Error> {
        let read =
            crate::transport::http_body::read(self.served, self.settings, visit, body).await?;
        let filter = v2::index_filter(&read.bytes)?;
        let index = self.served.repository_index(&RepositoryIndexRequest {
            ready: filter,
            ..Default::default()
        });
        response::json(&v2::index(&index))
    }

    async fn infer(
        &self,
        model: Model<'_>,
        visit: &Visit,
        body: &mut Incoming,
    ) -> Result<Response<Body>, Error> {
        // Known before the body is read.
        self.served.check_model(model.name, model.version)?;
        let json_length = v2::json_length(&visit.headers)?;
        let read =
            crate::transport::http_body::read(self.served, self.settings, visit, body).await?;
        let mut infer = {
            let _clock = visit.timings.stage(Stage::Parse);
            let bytes = read.bytes;
            let json_bytes = json_length.unwrap_or(bytes.len());
            let parse = move || v2::request::parse(&bytes, json_length);
            self.served.aside(json_bytes, parse).await??
        };
        let own_id = std::mem::take(&mut infer.message.id);
        infer.message.id = match own_id.as_str() {
            "" => visit.id.clone(),
            own => own.to_owned(),
        };
        infer.message.model_name = model.name.to_owned();
        infer.message.model_version = model.version.to_owned();
        let context = Context {
            timeout: None,
            headers: forwarded(&self.settings.forward_headers, &visit.headers),
            timings: visit.timings.clone(),
            strings: infer.strings,
        };
        let mut response = self.served.infer(infer.message, context).await?;
        drop(read.reserved);
        response.id = own_id;
        let answer = v2::response::to_json(&response, &infer.encoding).map_err(Error::internal)?;
        Ok(encoded(answer, &visit.headers))
    }
}

/// A model as a path names it; an empty version is the newest.
#[derive(Clone, Copy, Default)]
struct Model<'a> {
    name: &'a str,
    version: &'a str,
}

fn not_built_in(text: &str) -> Result<Response<Body>, Error> {
    Err(Error::new(Kind::Unimplemented, text))
}

fn no_version(version: &str) -> Error {
    let text = format!("version {version:?} is no number; a model's version is \"1\"");
    Error::new(Kind::NotFound, text)
}

fn no_route() -> Error {
    Error::new(
        Kind::NotFound,
        "there is no such route; inferences are POST /v2/models/{model}/infer",
    )
}

fn encoded(answer: v2::response::EncodedResponse, headers: &HeaderMap) -> Response<Body> {
    let (body, encoding) = match Encoding::asked(headers) {
        Some(encoding) => encoding.compress(answer.body),
        None => (answer.body, None),
    };
    let content_type = match answer.json_length {
        Some(_) => "application/octet-stream",
        None => "application/json",
    };
    let mut response = response::bytes(StatusCode::OK, content_type, body);
    let headers = response.headers_mut();
    if let Some(length) = answer.json_length {
        headers.insert(v2::JSON_LENGTH, HeaderValue::from(length));
    }
    if let Some(encoding) = encoding {
        headers.insert(http::header::CONTENT_ENCODING, encoding);
    }
    response
}

#[cfg(test)]
mod tests;
