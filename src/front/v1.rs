//! KServe's V1 protocol: liveness, models, predictions as JSON or as the bare image.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;

use super::{App, Visit, response};
use crate::engine::{Engine, Request};
use crate::error::{Error, Kind};
use crate::observe::timing::Stage;
use crate::predictor::Readiness;
use crate::transformer::batch::ImageErrors;
use crate::transformer::{Image, Input, Row};
use crate::transport::headers::forwarded;
use crate::transport::listener::Body;
use crate::wire::v1::request::RequestForm;
use crate::wire::v1::{Alive, ModelStatus, Models};

/// Bodies above this size are parsed on a pixel thread: parsing them takes longer than a thread
/// that moves bytes may be held up.
const OFFLOAD_BYTES: usize = 512 * 1024;

/// `GET /`
pub fn alive() -> Alive {
    Alive { status: "alive" }
}

/// `GET /v1/models`
///
/// # Errors
///
/// None but defects.
pub fn models(engine: &Engine) -> Result<Response<Body>, Error> {
    response::json(&Models {
        models: engine.models().collect(),
    })
}

/// `/v1/models/{model}` and, behind a colon, what is asked of the model.
///
/// # Errors
///
/// Everything that a request can fail by.
pub async fn model(
    app: &App,
    method: &Method,
    segment: &str,
    visit: &Visit,
    body: &mut Incoming,
) -> Result<Response<Body>, Error> {
    // KServe's clients may encode the colon.
    let segment = segment.replace("%3A", ":").replace("%3a", ":");
    match segment.split_once(':') {
        None => response::get(method, || status(&app.engine, &segment)),
        Some((model, "predict")) => {
            response::only(method, &Method::POST)?;
            predict(app, model, visit, body).await
        }
        Some((model, "explain")) => {
            response::only(method, &Method::POST)?;
            app.engine.readiness(model)?;
            Err(Error::new(
                Kind::Unimplemented,
                format!("model {model:?} has no explainer"),
            ))
        }
        Some(_) => Err(Error::new(
            Kind::NotFound,
            "there is no such route; predictions are POST /v1/models/{model}:predict",
        )),
    }
}

fn status(engine: &Engine, name: &str) -> Result<Response<Body>, Error> {
    let ready = matches!(engine.readiness(name)?, Readiness::Ready { .. });
    let code = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    response::json_with(code, &ModelStatus { name, ready })
}

/// What form the answer takes and where its images stood.
#[derive(Clone, Copy)]
enum Asked {
    Json(RequestForm),
    Passthrough,
}

struct Parsed {
    asked: Asked,
    images: Vec<Image>,
    image_errors: Option<ImageErrors>,
}

async fn predict(
    app: &App,
    model: &str,
    visit: &Visit,
    incoming: &mut Incoming,
) -> Result<Response<Body>, Error> {
    // Known before the body is read.
    app.engine.readiness(model)?;
    let read =
        crate::transport::http_body::read(&*app.engine, &app.settings, visit, incoming).await?;
    let parsed = {
        let _clock = visit.timings.stage(Stage::Parse);
        let (bytes, max_images) = (read.bytes, app.engine.max_images());
        if bytes.len() > OFFLOAD_BYTES {
            app.engine
                .offload(move || parse(bytes, max_images))
                .await??
        } else {
            parse(bytes, max_images)?
        }
    };
    let request = Request {
        model: model.to_owned(),
        input: Input::Images(parsed.images),
        id: visit.id.clone(),
        headers: forwarded(&app.settings.forward_headers, &visit.headers),
        timeout: None,
        image_errors: parsed.image_errors,
        timings: visit.timings.clone(),
    };
    let rows = app
        .engine
        .run(request)
        .await
        .map_err(|error| match error.image {
            Some(index) => error.with_location(&parsed.asked.place(index)),
            None => error,
        })?;
    drop(read.reserved);
    answer(parsed.asked, rows)
}

impl Asked {
    fn place(self, index: usize) -> String {
        match self {
            Self::Json(form) => form.place(index),
            Self::Passthrough => {
                "the body, which does not begin with { and so is taken for an image".to_owned()
            }
        }
    }
}

/// Cuts the images out of a body without copying them, unless they are escaped.
fn parse(body: Bytes, max_images: usize) -> Result<Parsed, Error> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|&byte| byte != b'{') {
        return Ok(Parsed {
            asked: Asked::Passthrough,
            images: vec![Image::Encoded(body)],
            image_errors: None,
        });
    }
    let parsed = crate::wire::v1::request::parse(&body, max_images)?;
    let cut = |text: std::borrow::Cow<'_, str>| match text {
        std::borrow::Cow::Borrowed(text) => body.slice_ref(text.as_bytes()),
        std::borrow::Cow::Owned(text) => Bytes::from(text),
    };
    let images = parsed
        .images
        .into_iter()
        .map(|image| match image {
            crate::wire::v1::request::Image::Item(text) => Image::Item(cut(text)),
            crate::wire::v1::request::Image::Base64(text) => Image::Base64(cut(text)),
        })
        .collect();
    Ok(Parsed {
        asked: Asked::Json(parsed.form),
        images,
        image_errors: parsed.report_image_errors.map(|report| match report {
            true => ImageErrors::Report,
            false => ImageErrors::Fail,
        }),
    })
}

fn answer(asked: Asked, rows: Vec<Row>) -> Result<Response<Body>, Error> {
    let rows = rows
        .into_iter()
        .map(|row| row.map_err(|error| error.text))
        .collect();
    let body = match asked {
        Asked::Json(RequestForm::Instances) => crate::wire::v1::response::predictions(rows),
        _ => crate::wire::v1::response::multi_response(rows, crate::faces::quality::SOURCE),
    };
    let body = body.map_err(Error::internal)?;
    Ok(response::bytes(StatusCode::OK, "application/json", body))
}
