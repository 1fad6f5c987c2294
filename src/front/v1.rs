//! KServe's V1 protocol: liveness, models, predictions from JSON or from an image as the body.

use std::borrow::Cow;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde_json::value::RawValue;

use super::cloud_events::Mode;
use super::rest::RestRequest;
use super::{Settings, cloud_events, response};
use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::observe::timing::Stage;
use crate::predictor::Readiness;
use crate::recognise::{Place, recognise};
use crate::transformer::{AnyRows, Image, ImageErrors, Input};
use crate::transport::Body;
use crate::wire::v1::request::RequestForm;
use crate::wire::v1::response::Failed;
use crate::wire::v1::{self, Alive, ModelStatus, Models};

/// The routes below `/v1`.
pub(super) struct V1Router<'a> {
    pub(super) engine: &'a Engine,
    pub(super) settings: &'a Settings,
}

/// `GET /`
pub(super) fn alive() -> Alive {
    Alive { status: "alive" }
}

pub(super) fn unknown_route() -> Error {
    Error::new(
        Kind::NotFound,
        "unknown route; predictions are POST /v1/models/{model}:predict",
    )
}

impl V1Router<'_> {
    /// Routes a request to `/v1/…`; `segments` are the path's parts behind `v1`.
    pub(super) async fn route(
        &self,
        segments: &[&str],
        request: &mut RestRequest,
    ) -> Result<Response<Body>, Error> {
        match segments {
            ["models"] => response::get(&request.head.method, || self.models()),
            ["models", model] => self.route_model(model, request).await,
            _ => Err(unknown_route()),
        }
    }

    /// A model and, behind a colon, what is to be done with it.
    async fn route_model(
        &self,
        segment: &str,
        request: &mut RestRequest,
    ) -> Result<Response<Body>, Error> {
        match segment.rsplit_once(':') {
            None => response::get(&request.head.method, || self.status(segment)),
            Some((model, "predict")) => {
                response::require_method(&request.head.method, &Method::POST)?;
                self.predict(model, request).await
            }
            Some((model, "explain")) => {
                response::require_method(&request.head.method, &Method::POST)?;
                self.engine.readiness(model)?;
                Err(Error::new(
                    Kind::Unimplemented,
                    format!("model {model:?} has no explainer"),
                ))
            }
            Some(_) => Err(unknown_route()),
        }
    }

    fn models(&self) -> Result<Response<Body>, Error> {
        response::json(&Models {
            models: self.engine.image_models().collect(),
        })
    }

    fn status(&self, name: &str) -> Result<Response<Body>, Error> {
        let ready = matches!(self.engine.readiness(name)?, Readiness::Ready { .. });
        let code = if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        response::json_with(code, &ModelStatus { name, ready })
    }

    async fn predict(
        &self,
        model: &str,
        request: &mut RestRequest,
    ) -> Result<Response<Body>, Error> {
        let metrics = self.engine.metrics(model)?;
        request.context.facts.set_model(metrics);
        // Known before the body is read.
        self.engine
            .check_load(Some(model), request.context.deadline)?;
        model.clone_into(&mut request.context.model);
        let event = cloud_events::mode(&request.head.headers);
        let body = request.read_body(&self.settings.body).await?;
        let parsed = {
            let _timer = request.context.timings.stage(Stage::Parse);
            let (bytes, max_images) = (body.bytes, self.engine.max_images());
            let bytes_len = bytes.len();
            let pool = &self.settings.body.pool;
            let parse = move || match event {
                Some(Mode::Structured) => parse(cloud_events::data(&bytes)?, max_images),
                _ => parse(bytes, max_images),
            };
            pool.run(bytes_len, parse).await??
        };
        let form = parsed.form;
        let input = Input::Images(parsed.images);
        let rows = self
            .engine
            .run(input, parsed.image_errors, &request.context)
            .await
            .map_err(|error| match error.image {
                Some(index) => form.locate(index, error),
                None => error,
            })?;
        drop(body.reserved);
        let json = form.body(&*rows, self.engine.source(model)?)?;
        match event {
            Some(mode) => cloud_events::respond(mode, model, json),
            None => Ok(response::bytes(StatusCode::OK, "application/json", json)),
        }
    }
}

/// What form the response takes and where its images stood.
enum ResponseForm {
    Json(RequestForm),
    /// The body was the image.
    Passthrough {
        beginning: Bytes,
    },
}

/// Bytes of a body by which it is recognised when it is not an image.
const BEGINNING: usize = 4096;

struct Parsed {
    form: ResponseForm,
    images: Vec<Image>,
    image_errors: Option<ImageErrors>,
}

/// A body without the byte order mark that some editors put in front of a text.
pub(super) fn without_mark(body: Bytes) -> Bytes {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    if body.starts_with(MARK) {
        body.slice(MARK.len()..)
    } else {
        body
    }
}

/// Cuts the images out of a body without copying them, unless they are escaped.
fn parse(body: Bytes, max_images: usize) -> Result<Parsed, Error> {
    let body = without_mark(body);
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|&byte| byte != b'{') {
        return Ok(Parsed {
            form: ResponseForm::Passthrough {
                beginning: body.slice(..body.len().min(BEGINNING)),
            },
            images: vec![Image::Encoded(body)],
            image_errors: None,
        });
    }
    let parsed = v1::request::parse(&body, max_images).map_err(|error| {
        match recognise(&body, Place::Body) {
            Some(is) => Error::new(Kind::Invalid, is.to_string()).with_location("the body"),
            None => error.into(),
        }
    })?;
    let cut = |text: Cow<'_, str>| match text {
        Cow::Borrowed(text) => body.slice_ref(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    };
    let images = parsed.images.into_iter().map(|image| match image {
        v1::request::Image::Item(text) => Image::Item(cut(text)),
        v1::request::Image::Base64(text) => Image::Base64(cut(text)),
    });
    Ok(Parsed {
        form: ResponseForm::Json(parsed.form),
        images: images.collect(),
        image_errors: parsed.report_image_errors.map(|report| {
            if report {
                ImageErrors::Report
            } else {
                ImageErrors::Fail
            }
        }),
    })
}

impl ResponseForm {
    /// An image's error, with where the image stood in the request.
    fn locate(&self, index: usize, error: Error) -> Error {
        match self {
            Self::Json(form) => error.with_location(&form.place(index)),
            Self::Passthrough { beginning } => match recognise(beginning, Place::Body) {
                Some(is) => Error::new(error.kind, is.to_string()).with_location("the body"),
                None => error.with_location(
                    "the body, which does not begin with { and so is treated as an image",
                ),
            },
        }
    }

    /// The response's JSON.
    fn body(self, rows: &dyn AnyRows, source: &'static str) -> Result<Vec<u8>, Error> {
        match self {
            Self::Json(RequestForm::Instances) => predictions(rows),
            _ => multi_response(rows, source),
        }
        .map_err(Error::internal)
    }
}

/// The rows as a MultiResponse.
pub(crate) fn multi_response(rows: &dyn AnyRows, source: &str) -> serde_json::Result<Vec<u8>> {
    v1::response::multi_response(results(rows, |rows, index| rows.data(index))?, source)
}

fn predictions(rows: &dyn AnyRows) -> serde_json::Result<Vec<u8>> {
    v1::response::predictions(results(rows, |rows, index| rows.prediction(index))?)
}

type Json = Box<RawValue>;

fn results(
    rows: &dyn AnyRows,
    result: impl Fn(&dyn AnyRows, usize) -> serde_json::Result<Json>,
) -> serde_json::Result<Vec<v1::response::Row<Json>>> {
    let row = |index| match rows.error(index) {
        Some(error) => Ok(Err(Failed::from(error))),
        None => result(rows, index).map(Ok),
    };
    (0..rows.len()).map(row).collect()
}
