//! One operation of the OpenAPI document: a method of a path.

use std::collections::BTreeMap;

use http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use crate::error::Kind;

/// Where the document has its schemas.
pub(super) const SCHEMAS: &str = "#/components/schemas";

pub(super) const JSON: &str = "application/json";

/// A grey image of 8 × 8 pixels, so that an example is a request that works.
pub(super) const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAADklEQVR42mNogAIGyhgAgIQgARDoahcAAAAASUVORK5CYII=";

/// A model's name as a part of a path.
pub(super) fn segment(model: &str) -> String {
    const SET: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    utf8_percent_encode(model, SET).to_string()
}

/// An operation while it is being described.
pub(super) struct Operation(Map<String, Value>);

impl Operation {
    /// An operation of this group, with an id that no other has.
    pub(super) fn new(tag: &str, id: String, summary: &str) -> Self {
        let mut operation = Map::new();
        operation.insert("tags".to_owned(), json!([tag]));
        operation.insert("operationId".to_owned(), id.into());
        operation.insert("summary".to_owned(), summary.into());
        Self(operation).errors(&[Kind::Internal])
    }

    /// What there is to know beside the summary.
    pub(super) fn description(mut self, text: &str) -> Self {
        self.0.insert("description".to_owned(), text.into());
        self
    }

    /// A request header.
    pub(super) fn header(mut self, name: &str, schema: Value, description: &str) -> Self {
        let header =
            json!({"name": name, "in": "header", "schema": schema, "description": description});
        self.0.insert("parameters".to_owned(), json!([header]));
        self
    }

    /// What the body may be, by content type.
    pub(super) fn body(mut self, content: Value, required: bool) -> Self {
        let body = json!({"required": required, "content": content});
        self.0.insert("requestBody".to_owned(), body);
        self
    }

    /// A response in JSON.
    pub(super) fn json(
        self,
        status: StatusCode,
        description: &str,
        schema: impl Into<Value>,
    ) -> Self {
        let content = json!({JSON: {"schema": schema.into()}});
        self.response(
            status,
            json!({"description": description, "content": content}),
        )
    }

    /// A response of any content.
    pub(super) fn response(mut self, status: StatusCode, response: Value) -> Self {
        let responses = self.0.entry("responses").or_insert_with(|| json!({}));
        responses[status.as_str()] = response;
        self
    }

    /// The statuses that failures of these kinds have.
    pub(super) fn errors(self, kinds: &[Kind]) -> Self {
        let statuses = kinds.iter().map(|kind| kind.http_status());
        statuses.fold(self, |operation, status| {
            let name = error_name(status);
            let reference = json!({"$ref": format!("#/components/responses/{name}")});
            operation.response(status, reference)
        })
    }

    pub(super) fn finish(self) -> Value {
        Value::Object(self.0)
    }
}

fn error_name(status: StatusCode) -> String {
    format!("Error{}", status.as_str())
}

/// What [`Operation::errors`] refers to.
pub(super) fn error_responses() -> Value {
    let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for kind in Kind::ALL {
        let status = kind.http_status().as_u16();
        by_status.entry(status).or_default().push(meaning(kind));
    }
    let retries = Kind::ALL
        .into_iter()
        .filter(|kind| kind.retry_after().is_some());
    let retries: Vec<_> = retries.map(|kind| kind.http_status().as_u16()).collect();
    let response = |(status, meanings): (u16, Vec<&str>)| {
        let mut response = json!({
            "description": meanings.join("; "),
            "content": {JSON: {"schema": {"$ref": format!("{SCHEMAS}/Error")}}},
        });
        if retries.contains(&status) {
            response["headers"] = json!({"Retry-After": {
                "description": "Seconds after which the caller may try again.",
                "schema": {"type": "integer", "minimum": 0},
            }});
        }
        (format!("Error{status}"), response)
    };
    by_status.into_iter().map(response).collect()
}

fn meaning(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid => "malformed request, bad image, refused item, too many images or pixels",
        Kind::NotFound => "unknown model, version or route",
        Kind::WrongMethod(_) => "wrong method",
        Kind::TooLarge => "a body or image above its byte limit",
        Kind::SlowBody => "a body that does not arrive in time",
        Kind::UnsupportedEncoding => "unsupported content encoding",
        Kind::Overloaded => "too busy, or could not begin in time",
        Kind::Unauthenticated => "the predictor does not know the caller",
        Kind::PermissionDenied => {
            "the predictor refuses the caller; what this service does not allow"
        }
        Kind::BadGateway => "the predictor returned an error or an invalid response",
        Kind::ItemUnreachable => "the URL of an item could not be fetched",
        Kind::Unavailable => "the predictor cannot be reached or has another model",
        Kind::Deadline => "out of time",
        Kind::Unimplemented => "part of the protocol, but not of this service",
        Kind::Internal => "an internal error of this service",
    }
}
