//! CloudEvents on `:predict`, as KServe's SDK takes them: the request is an event's data, and so is
//! the response.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::response;
use crate::error::{Error, Kind};
use crate::transport::Body;

pub(super) const STRUCTURED: &str = "application/cloudevents+json";
const VERSION: &str = "1.0";
const TYPE: &str = "io.kserve.inference.response";

/// What an event has beside its data, as headers.
const ATTRIBUTES: [&str; 4] = ["ce-id", "ce-source", "ce-type", "ce-specversion"];

/// When an event was made: requests need not say it, responses do.
const TIME: &str = "ce-time";

/// Where an event's attributes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// In headers; the body is the data.
    Binary,
    /// In the body, beside the data.
    Structured,
}

/// The mode of a request that is an event.
pub(super) fn mode(headers: &HeaderMap) -> Option<Mode> {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let begins = content_type.and_then(|value| value.get(..STRUCTURED.len()));
    if begins.is_some_and(|begins| begins.eq_ignore_ascii_case(STRUCTURED.as_bytes())) {
        return Some(Mode::Structured);
    }
    let is_event = ATTRIBUTES.iter().all(|name| headers.contains_key(*name));
    is_event.then_some(Mode::Binary)
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// The data of a structured event, without copying it.
pub(super) fn data(body: &Bytes) -> Result<Bytes, Error> {
    let event: Event<'_> = serde_json::from_slice(body)
        .map_err(|_| Error::new(Kind::Invalid, "the body is not a CloudEvent in JSON"))?;
    match event.data {
        Some(data) => Ok(body.slice_ref(data.get().as_bytes())),
        None => Err(Error::new(
            Kind::Invalid,
            "the CloudEvent has no data; expected the request there",
        )),
    }
}

/// A structured CloudEvent with a response as its data.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "CloudEvent")]
pub(super) struct ResponseEvent<'a> {
    specversion: &'a str,
    id: &'a str,
    source: &'a str,
    r#type: &'a str,
    time: &'a str,
    datacontenttype: &'a str,
    #[schemars(with = "serde_json::Value")]
    data: &'a RawValue,
}

/// A model's response as an event of the request's mode.
pub(super) fn respond(mode: Mode, model: &str, json: Vec<u8>) -> Result<Response<Body>, Error> {
    let id = uuid::Uuid::new_v4().to_string();
    let time = OffsetDateTime::now_utc().format(&Rfc3339);
    let time = time.map_err(Error::internal)?;
    let source = format!("io.kserve.inference.{model}");
    if mode == Mode::Structured {
        let event = ResponseEvent {
            specversion: VERSION,
            id: &id,
            source: &source,
            r#type: TYPE,
            time: &time,
            datacontenttype: "application/json",
            data: serde_json::from_slice(&json).map_err(Error::internal)?,
        };
        let event = serde_json::to_vec(&event).map_err(Error::internal)?;
        return Ok(response::bytes(StatusCode::OK, STRUCTURED, event));
    }
    let mut response = response::bytes(StatusCode::OK, "application/json", json);
    let attributes = ATTRIBUTES.into_iter().chain([TIME]);
    for (name, value) in attributes.zip([&id, &source, TYPE, VERSION, &time]) {
        if let Ok(value) = HeaderValue::from_str(value) {
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
    Ok(response)
}
