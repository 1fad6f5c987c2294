//! The routes below `/v1`.

use http::StatusCode;
use serde_json::json;

use super::Document;
use super::operation::{JSON, Operation, PNG, SCHEMAS, segment};
use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::front::cloud_events::{ResponseEvent, STRUCTURED};
use crate::wire::v1::{ModelStatus, Models};

const TAG: &str = "V1";

impl Document {
    pub(super) fn v1_routes(&mut self) {
        let models = self.schemas.subschema_for::<Models<'_>>();
        let operation = Operation::new(TAG, "v1_models".to_owned(), "The models that take images");
        let operation = operation.json(StatusCode::OK, "Their names, unready ones too.", models);
        self.get("/v1/models".to_owned(), operation);
    }

    pub(super) fn v1_model(&mut self, engine: &Engine, model: &str) -> Result<(), Error> {
        let status = self.schemas.subschema_for::<ModelStatus<'_>>();
        let path = format!("/v1/models/{}", segment(model));
        let operation = Operation::new(TAG, format!("v1_status_{model}"), "Whether it is ready")
            .json(StatusCode::OK, "It takes requests.", status.clone())
            .json(StatusCode::SERVICE_UNAVAILABLE, "It does not.", status);
        self.get(path.clone(), operation);

        let Some(responses) = engine.schemas(model, &mut self.schemas)? else {
            return Ok(());
        };
        let event = self.schemas.subschema_for::<ResponseEvent<'_>>();
        let request = json!({"$ref": format!("{SCHEMAS}/PredictRequest")});
        let item = format!("data:image/png;base64,{PNG}");
        let examples = json!({
            "one image": {"value": {"data": {"item": item}}},
            "several images": {"value": {
                "multi_data": [{"data": {"item": item}}, {"data": {"item": item}}],
                "extra_info": {"image_errors": "report"},
            }},
            "KServe's form": {"value": {"instances": [{"b64": PNG}]}},
        });
        let body = json!({
            JSON: {"schema": request, "examples": examples},
            "application/octet-stream": {"schema": {}},
            STRUCTURED: {
                "schema": {"type": "object", "required": ["data"], "properties": {"data": request}},
            },
        });
        let response = json!({
            "description": "One entry for each image, in order; `predictions` where the request had \
                `instances`. The response to a structured CloudEvent is one.",
            "content": {
                JSON: {"schema": {"anyOf": [responses.multi_response, responses.predictions]}},
                STRUCTURED: {"schema": event},
            },
        });
        let operation = Operation::new(TAG, format!("v1_predict_{model}"), "Predict")
            .description(
                "Whatever the content type says, a body that begins with { is JSON; any other is one \
                 encoded image. A body may be compressed (content-encoding: gzip, deflate).",
            )
            .body(body, true)
            .response(StatusCode::OK, response)
            .errors(&Kind::ALL);
        self.post(format!("{path}:predict"), operation);
        Ok(())
    }
}
