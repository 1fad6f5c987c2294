//! KServe's V1 protocol: predictions in its two forms, and around them liveness, model list and
//! model readiness.

mod lenient;
pub mod request;
pub mod response;
pub mod schema;

use schemars::JsonSchema;
use serde::Serialize;

/// The response to `GET /`.
#[derive(Debug, JsonSchema, Serialize)]
pub struct Alive {
    /// Always `alive`.
    pub status: &'static str,
}

/// The response to `GET /v1/models`.
#[derive(Debug, JsonSchema, Serialize)]
pub struct Models<'a> {
    /// Names, unready ones too.
    pub models: Vec<&'a str>,
}

/// The response to `GET /v1/models/{model}`.
#[derive(Debug, JsonSchema, Serialize)]
pub struct ModelStatus<'a> {
    /// The model.
    pub name: &'a str,
    /// Whether it takes requests.
    pub ready: bool,
}
