//! The routes below `/v2`.

use http::StatusCode;
use serde_json::json;

use super::Document;
use super::operation::{JSON, Operation, PNG, SCHEMAS, segment};
use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::front::probes::{Live, Ready};
use crate::oip::{self, ModelDescription, OpenInference};
use crate::wire::tensor::DataType;
use crate::wire::v1::{ModelStatus, Models};
use crate::wire::v2::{self, schema::TensorForm};

const TAG: &str = "V2";
const HEALTH: &str = "Operation";

/// What may be read from a body, and what may be wrong with one.
const BODY_ERRORS: [Kind; 6] = [
    Kind::Invalid,
    Kind::TooLarge,
    Kind::SlowBody,
    Kind::UnsupportedEncoding,
    Kind::Overloaded,
    Kind::Deadline,
];

impl Document {
    pub(super) fn v2_routes(&mut self) {
        let ok = StatusCode::OK;
        let schema = self.written(v2::server);
        let operation = Operation::new(TAG, "server".to_owned(), "Name, version and extensions");
        self.get("/v2".to_owned(), operation.json(ok, "The server.", schema));

        let schema = self.schemas.subschema_for::<Live>();
        let operation = Operation::new(HEALTH, "live".to_owned(), "The process responds");
        self.get(
            "/v2/health/live".to_owned(),
            operation.json(ok, "It does.", schema),
        );

        let schema = self.schemas.subschema_for::<Ready>();
        let operation = Operation::new(HEALTH, "ready".to_owned(), "All models take requests")
            .json(ok, "They do.", schema.clone())
            .json(
                StatusCode::SERVICE_UNAVAILABLE,
                "Some does not; why.",
                schema,
            );
        self.get("/v2/health/ready".to_owned(), operation);

        let schema = self.schemas.subschema_for::<Models<'_>>();
        let operation = Operation::new(TAG, "v2_models".to_owned(), "All models");
        self.get(
            "/v2/models".to_owned(),
            operation.json(ok, "Their names.", schema),
        );

        let schema = self.written(v2::statistics);
        let operation = Operation::new(TAG, "statistics".to_owned(), "What all models did");
        let operation = operation.json(ok, "Counts and times since the start.", schema);
        self.get("/v2/models/stats".to_owned(), operation);

        let schema = self.written(v2::index);
        let filter =
            json!({"type": "object", "properties": {"ready": {"type": ["boolean", "null"]}}});
        let operation = Operation::new(TAG, "index".to_owned(), "The models with their states")
            .description("With `ready` true only those that are ready.")
            .body(json!({JSON: {"schema": filter}}), false)
            .json(ok, "The models.", schema)
            .errors(&BODY_ERRORS);
        self.post("/v2/repository/index".to_owned(), operation);

        let switch = json!({"type": "boolean"});
        let settings = json!({"type": "object", "properties": {
            "log_info": switch, "log_warning": switch, "log_error": switch,
            "log_verbose_level": {"type": "integer", "minimum": 0},
            "log_file": {"type": "string"}, "log_format": {"type": "string"},
        }});
        let operation = Operation::new(HEALTH, "log".to_owned(), "What is logged");
        let operation = operation.json(ok, "The settings.", settings.clone());
        self.get("/v2/logging".to_owned(), operation);
        let operation = Operation::new(HEALTH, "set_log".to_owned(), "Change what is logged")
            .description("Refused without `--enable_log_settings`.")
            .body(json!({JSON: {"schema": settings}}), true)
            .json(ok, "The settings as they are now.", settings)
            .errors(&BODY_ERRORS)
            .errors(&[Kind::PermissionDenied]);
        self.post("/v2/logging".to_owned(), operation);
    }

    pub(super) fn v2_model(
        &mut self,
        engine: &Engine,
        oip: &OpenInference,
        model: &str,
    ) -> Result<(), Error> {
        let ok = StatusCode::OK;
        let path = format!("/v2/models/{}", segment(model));
        let schema = self.written(v2::metadata);
        let operation = Operation::new(TAG, format!("metadata_{model}"), "Its tensors");
        self.get(
            path.clone(),
            operation.json(ok, "Names, datatypes and shapes.", schema),
        );

        let schema = self.schemas.subschema_for::<ModelStatus<'_>>();
        let operation = Operation::new(TAG, format!("ready_{model}"), "Whether it is ready")
            .json(ok, "It takes requests.", schema.clone())
            .json(StatusCode::SERVICE_UNAVAILABLE, "It does not.", schema);
        self.get(format!("{path}/ready"), operation);

        let schema = self.written(v2::config);
        let operation = Operation::new(TAG, format!("config_{model}"), "Its configuration");
        let operation = operation.json(ok, "As far as clients need it.", schema);
        self.get(format!("{path}/config"), operation);

        let schema = self.written(v2::statistics);
        let operation = Operation::new(TAG, format!("statistics_{model}"), "What it did");
        let operation = operation.json(ok, "Counts and times since the start.", schema);
        self.get(format!("{path}/stats"), operation);

        let infer = infer(engine, &oip.service().describe(model)?)?;
        self.post(format!("{path}/infer"), infer);
        Ok(())
    }
}

fn infer(engine: &Engine, model: &ModelDescription) -> Result<Operation, Error> {
    let images = model.images.map(|name| TensorForm {
        name: name.to_owned(),
        datatypes: vec![DataType::Bytes],
        shape: vec![-1, 1],
        optional_axes: 1,
    });
    // Those that the model may have: what the predictor has is known when it has been asked.
    let tensors = engine.form(&model.name)?.tensors.map(|tensors| {
        let inputs = tensors.signature().inputs.iter();
        let form = |name: &str, datatypes: &[DataType], row: &[i64]| TensorForm {
            name: name.to_owned(),
            datatypes: datatypes.to_vec(),
            shape: [&[-1], row].concat(),
            optional_axes: 0,
        };
        inputs
            .map(|input| form(&input.name, &input.datatypes, &input.row))
            .collect()
    });
    let inputs: Vec<_> = images
        .into_iter()
        .map(|images| vec![images])
        .chain(tensors)
        .collect();
    let names = model.outputs.iter().map(|output| Some(output.name.clone()));
    let alias = model.output_alias.clone();
    let alias = alias.filter(|alias| model.outputs.iter().all(|own| own.name != *alias));
    let names = names.chain([alias]).flatten();
    let mut outputs: Vec<_> = names
        .zip(model.outputs.iter().chain(model.outputs.first()))
        .map(|(name, output)| TensorForm {
            name,
            datatypes: vec![output.datatype],
            shape: [&[-1], output.row.as_slice()].concat(),
            optional_axes: 0,
        })
        .collect();
    outputs.extend(model.outputs_on_request.iter().map(|output| TensorForm {
        name: output.name.clone(),
        datatypes: vec![output.datatype],
        shape: [&[-1], output.row.as_slice()].concat(),
        optional_axes: 0,
    }));
    if model.images.is_some() {
        outputs.push(TensorForm {
            name: oip::ERRORS.to_owned(),
            datatypes: vec![DataType::Bytes],
            shape: vec![-1, 1],
            optional_axes: 0,
        });
    }
    let names: Vec<_> = outputs.iter().map(|output| output.name.clone()).collect();
    let schema = v2::schema::request(&inputs, &names, SCHEMAS);
    let mut json = json!({"schema": schema});
    if let Some(name) = model.images {
        let input = json!({"name": name, "datatype": "BYTES", "shape": [1], "data": [PNG]});
        json["examples"] = json!({"one image": {"value": {"inputs": [input]}}});
    }
    let binary = "The same with raw values behind the JSON, whose length the header tells.";
    let body = json!({
        JSON: json,
        "application/octet-stream": {"schema": {}},
    });
    let response = json!({
        "description": format!("The outputs. With binary data (application/octet-stream): {binary}"),
        "headers": {v2::JSON_LENGTH.as_str(): {
            "description": "Bytes of the JSON in front of binary data.",
            "schema": {"type": "integer", "minimum": 0},
        }},
        "content": {
            JSON: {"schema": v2::schema::response(&model.name, oip::VERSION, &outputs)},
            "application/octet-stream": {"schema": {}},
        },
    });
    let length = json!({"type": "integer", "minimum": 0});
    let described = "Bytes of the JSON in front of binary data; 0: the body is the one input's raw \
                     contents, such as an image.";
    Ok(Operation::new(TAG, format!("infer_{}", model.name), "Infer")
        .description(
            "The values of a BYTES input are images in base64, or items. An output of FP32 has NaN \
             where an image failed whose error was asked for.",
        )
        .header(v2::JSON_LENGTH.as_str(), length, described)
        .body(body, true)
        .response(StatusCode::OK, response)
        .errors(&Kind::ALL))
}
