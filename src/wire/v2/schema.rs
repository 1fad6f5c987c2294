//! The schemas of inference requests and responses, which `request.rs` reads and `response.rs` writes
//! by hand.

use serde_json::{Value, json};

use super::MAX_TENSORS;
use crate::wire::datatype::DataType;

/// A tensor of a model, for its schema.
#[derive(Clone, Debug)]
pub struct TensorForm {
    /// Its name.
    pub name: String,
    /// The datatypes that it may have.
    pub datatypes: Vec<DataType>,
    /// Its shape; -1 is an axis of any size.
    pub shape: Vec<i64>,
    /// Axes at the end of the shape that may be left out.
    pub optional_axes: usize,
}

/// The types that these schemas refer to, by name.
pub fn definitions(at: &str) -> Vec<(String, Value)> {
    let values = DataType::ALL.map(|datatype| {
        let name = values_name(datatype);
        let mut one = element(datatype);
        if let DataType::Fp16 | DataType::Fp32 = datatype {
            one = json!({"anyOf": [one, {"enum": ["NaN", "Infinity", "-Infinity"]}]});
        }
        let itself = json!({"$ref": format!("{at}/{name}")});
        let value = json!({
            "description": "Values in lists of any nesting.",
            "anyOf": [one, {"type": "array", "items": itself}],
        });
        (name, value)
    });
    let parameters = json!({
        "type": ["object", "null"],
        "maxProperties": MAX_TENSORS,
        "additionalProperties": {"type": ["string", "number", "boolean"]},
    });
    let parameters = ("InferParameters".to_owned(), parameters);
    values.into_iter().chain([parameters]).collect()
}

fn values_name(datatype: DataType) -> String {
    format!("Values_of_{datatype}")
}

/// The schema of an inference request: one of the sets of inputs, each of which must be given as a
/// whole.
pub fn request(inputs: &[Vec<TensorForm>], outputs: &[String], at: &str) -> Value {
    let parameters = json!({"$ref": format!("{at}/InferParameters")});
    let one_of_sets = inputs.iter().map(|set| {
        let tensors: Vec<_> = set
            .iter()
            .map(|form| input(form, &parameters, at))
            .collect();
        json!({
            "type": "array",
            "minItems": set.len(),
            "maxItems": set.len(),
            "items": {"anyOf": tensors},
        })
    });
    let output = json!({
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": outputs}, "parameters": parameters},
    });
    json!({
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"]},
            "parameters": parameters,
            "inputs": {"anyOf": one_of_sets.collect::<Vec<_>>()},
            "outputs": {"type": ["array", "null"], "maxItems": MAX_TENSORS, "items": output},
        },
    })
}

fn input(form: &TensorForm, parameters: &Value, at: &str) -> Value {
    let names: Vec<_> = form
        .datatypes
        .iter()
        .map(|datatype| datatype.name())
        .collect();
    let values = form.datatypes.iter().map(|&datatype| {
        let name = values_name(datatype);
        json!({"$ref": format!("{at}/{name}")})
    });
    json!({
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"const": form.name},
            "datatype": {"enum": names},
            "shape": shape(form),
            "parameters": parameters,
            "data": {"anyOf": values.collect::<Vec<_>>()},
        },
        "anyOf": [
            {"required": ["data"]},
            {
                "required": ["parameters"],
                "properties": {"parameters": {
                    "required": ["binary_data_size"],
                    "properties": {"binary_data_size": {"type": "integer", "minimum": 0}},
                }},
            },
        ],
    })
}

/// Of each axis only that it is a size: which one is said in words, since not every reader of OpenAPI
/// knows `prefixItems`.
fn shape(form: &TensorForm) -> Value {
    let axes = form.shape.len();
    json!({
        "type": "array",
        "description": format!("{:?}; -1 is any size.", form.shape),
        "minItems": axes - form.optional_axes,
        "maxItems": axes,
        "items": {"type": "integer", "minimum": 0},
    })
}

/// The schema of an inference response with any of these outputs.
pub fn response(model: &str, version: &str, outputs: &[TensorForm]) -> Value {
    json!({
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "id": {"type": "string"},
            "model_name": {"const": model},
            "model_version": {"const": version},
            "outputs": {
                "type": "array",
                "items": {"anyOf": outputs.iter().map(output).collect::<Vec<_>>()},
            },
        },
        "additionalProperties": false,
    })
}

fn output(form: &TensorForm) -> Value {
    let names: Vec<_> = form
        .datatypes
        .iter()
        .map(|datatype| datatype.name())
        .collect();
    let values = form.datatypes.iter().map(|&datatype| element(datatype));
    let size = json!({"type": "integer", "minimum": 0});
    json!({
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"const": form.name},
            "datatype": {"enum": names},
            "shape": shape(form),
            "data": {"type": "array", "items": {"anyOf": values.collect::<Vec<_>>()}},
            "parameters": {
                "type": "object",
                "description": "In place of data: the bytes behind the JSON that it has.",
                "required": ["binary_data_size"],
                "properties": {"binary_data_size": size},
                "additionalProperties": false,
            },
        },
        "oneOf": [{"required": ["data"]}, {"required": ["parameters"]}],
        "additionalProperties": false,
    })
}

/// One value in JSON.
fn element(datatype: DataType) -> Value {
    let integer =
        |least: i64, most: i64| json!({"type": "integer", "minimum": least, "maximum": most});
    match datatype {
        DataType::Bool => json!({"type": "boolean"}),
        DataType::Uint8 => integer(0, u8::MAX.into()),
        DataType::Int8 => integer(i8::MIN.into(), i8::MAX.into()),
        DataType::Int32 => integer(i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => integer(i64::MIN, i64::MAX),
        DataType::Fp16 | DataType::Fp32 => json!({"type": "number"}),
        DataType::Bytes => json!({"type": "string"}),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::triton::ModelInferResponse;
    use crate::wire::triton::model_infer_response::InferOutputTensor;
    use crate::wire::v2::response::{OutputEncoding, to_json};

    fn keys(value: &Value) -> Vec<&str> {
        let object = value.as_object().unwrap();
        object.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_response_has_the_keys_of_its_schema_and_no_others() {
        let score = TensorForm {
            name: "score".to_owned(),
            datatypes: vec![DataType::Fp32],
            shape: vec![-1, 1],
            optional_axes: 0,
        };
        let schema = response("m", "1", &[score]);
        let message = ModelInferResponse {
            id: "7".to_owned(),
            outputs: vec![InferOutputTensor {
                name: "score".to_owned(),
                datatype: "FP32".to_owned(),
                shape: vec![1, 1],
                ..Default::default()
            }],
            raw_output_contents: vec![Bytes::from(1f32.to_le_bytes().to_vec())],
            ..Default::default()
        };
        let json = to_json(&message, &OutputEncoding::default()).unwrap();
        let written: Value = serde_json::from_slice(&json.body).unwrap();
        assert_eq!(keys(&written), keys(&schema["properties"]));
        let output = &schema["properties"]["outputs"]["items"]["anyOf"][0];
        let mut expected = keys(&output["properties"]);
        expected.retain(|key| *key != "parameters");
        assert_eq!(keys(&written["outputs"][0]), expected);
        let binary = OutputEncoding {
            binary: true,
            ..Default::default()
        };
        let json = to_json(&message, &binary).unwrap();
        let written: Value =
            serde_json::from_slice(&json.body[..json.json_length.unwrap()]).unwrap();
        let mut expected = keys(&output["properties"]);
        expected.retain(|key| *key != "data");
        assert_eq!(keys(&written["outputs"][0]), expected);
    }
}
