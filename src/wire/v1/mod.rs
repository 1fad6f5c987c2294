//! KServe's V1 protocol around the prediction: liveness, model list, model readiness, errors.

pub(crate) mod lenient;
pub mod request;
pub mod response;

use serde::Serialize;

/// The answer to `GET /`.
#[derive(Debug, Serialize)]
pub struct Alive {
    /// Always `alive`.
    pub status: &'static str,
}

/// The answer to `GET /v1/models`.
#[derive(Debug, Serialize)]
pub struct Models<'a> {
    /// Names, unready ones too.
    pub models: Vec<&'a str>,
}

/// The answer to `GET /v1/models/{model}`.
#[derive(Debug, Serialize)]
pub struct ModelStatus<'a> {
    /// The model.
    pub name: &'a str,
    /// Whether it takes requests.
    pub ready: bool,
}

/// The body of every error.
#[derive(Debug, Serialize)]
pub struct ErrorBody<'a> {
    /// What, where, and what to do.
    pub error: &'a str,
}
