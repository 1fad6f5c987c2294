//! The OpenAPI 3.1 document of a service, with paths of their own for every public model. The schemas
//! of responses are derived from the types that are written; those of requests stand beside what
//! reads them.

mod operation;
mod v1;
mod v2;

use http::StatusCode;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use self::operation::{Operation, SCHEMAS, error_responses};
use crate::engine::Engine;
use crate::error::Error;
use crate::oip::OpenInference;
use crate::wire::{error_body, v1 as v1_wire, v2 as v2_wire};

/// The document while it is being written.
struct Document {
    schemas: SchemaGenerator,
    paths: Map<String, Value>,
}

/// The document of the models of `engine`.
///
/// # Errors
///
/// When a model that is listed is unknown: a defect.
pub(super) fn document(engine: &Engine, oip: &OpenInference) -> Result<Value, Error> {
    let settings = SchemaSettings::draft2020_12()
        .for_serialize()
        .with(|settings| SCHEMAS.clone_into(settings.definitions_path.to_mut()));
    let mut document = Document {
        schemas: settings.into_generator(),
        paths: Map::new(),
    };
    document.probes();
    document.v1_routes();
    for model in engine.image_models() {
        document.v1_model(engine, model)?;
    }
    document.v2_routes();
    for model in engine.models() {
        document.v2_model(engine, oip, model)?;
    }
    // Every response of an error refers to it.
    document.schemas.subschema_for::<error_body::Written<'_>>();
    let mut schemas = document.schemas.take_definitions(true);
    for (name, schema) in v1_wire::schema::requests(engine.max_images(), SCHEMAS) {
        schemas.insert(name.to_owned(), schema);
    }
    schemas.extend(v2_wire::schema::definitions(SCHEMAS));
    let server = oip.server_metadata();
    Ok(json!({
        "openapi": "3.1.1",
        "info": {
            "title": server.name,
            "version": server.version,
            "description": "Every response carries x-request-id, which is the caller's where it sent \
                one, and server-timing. A request may carry x-request-timeout-ms. What is not HTTP is \
                answered by 400 or 431.",
        },
        "tags": [
            {"name": "V1", "description": "KServe's V1 protocol."},
            {"name": "V2", "description": "The Open Inference Protocol. What stands below \
                /v2/models/{model} is also below /v2/models/{model}/versions/1."},
            {"name": "Operation", "description": "For probes and dashboards."},
        ],
        "paths": document.paths,
        "components": {"schemas": schemas, "responses": error_responses()},
    }))
}

impl Document {
    /// The schema of what `write` writes.
    fn written<'a, A: ?Sized + 'a, T: JsonSchema>(
        &mut self,
        _write: impl Fn(&'a A) -> T,
    ) -> Schema {
        self.schemas.subschema_for::<T>()
    }

    fn get(&mut self, path: String, operation: Operation) {
        self.add(path, "get", operation);
    }

    fn post(&mut self, path: String, operation: Operation) {
        self.add(path, "post", operation);
    }

    fn add(&mut self, path: String, method: &str, operation: Operation) {
        let methods = self.paths.entry(path).or_insert_with(|| json!({}));
        methods[method] = operation.finish();
    }

    fn probes(&mut self) {
        let alive = self.schemas.subschema_for::<v1_wire::Alive>();
        let operation = Operation::new("Operation", "alive".to_owned(), "The process responds");
        self.get(
            "/".to_owned(),
            operation.json(StatusCode::OK, "It does.", alive),
        );
        let operation = Operation::new("Operation", "metrics".to_owned(), "Metrics for Prometheus");
        let text = json!({
            "description": "Prometheus' text format, or OpenMetrics for those who accept it.",
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/openmetrics-text": {"schema": {"type": "string"}},
            },
        });
        self.get(
            "/metrics".to_owned(),
            operation.response(StatusCode::OK, text),
        );
        let operation = Operation::new("Operation", "openapi".to_owned(), "This document");
        let own = json!({"type": "object"});
        self.get(
            "/openapi.json".to_owned(),
            operation.json(StatusCode::OK, "OpenAPI 3.1.", own),
        );
    }
}
