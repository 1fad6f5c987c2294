//! The schema of what `request.rs` reads, which reads it by hand so that a refusal can name the place.

use serde_json::{Value, json};

/// The requests of at most `max_images` images, by name; `PredictRequest` is any of them. References
/// go to `definitions`, such as `#/components/schemas`.
pub fn requests(max_images: usize, definitions: &str) -> [(&'static str, Value); 4] {
    let reference = |name: &str| json!({"$ref": format!("{definitions}/{name}")});
    let images =
        |of: Value| json!({"type": "array", "minItems": 1, "maxItems": max_images, "items": of});
    let multi_request = json!({
        "type": "object",
        "description": "Several images.",
        "required": ["multi_data"],
        "properties": {"multi_data": images(one_image(&inner_info())), "extra_info": info()},
    });
    let instances = json!({
        "type": "object",
        "description": "KServe's form of several images.",
        "required": ["instances"],
        "properties": {"instances": images(instance()), "extra_info": info()},
    });
    let any = json!({"anyOf": [
        reference("Request"), reference("MultiRequest"), reference("Instances"),
    ]});
    [
        ("PredictRequest", any),
        ("Request", one_image(&info())),
        ("MultiRequest", multi_request),
        ("Instances", instances),
    ]
}

fn one_image(info: &Value) -> Value {
    let item = json!({
        "type": "string",
        "description": "The image itself as data:[mime];base64,PAYLOAD; a file below --data_dir as \
            path:FILE; or its http or https URL.",
    });
    json!({
        "type": "object",
        "description": "One image.",
        "required": ["data"],
        "properties": {"data": object("item", &item), "extra_info": info},
    })
}

/// An element of `instances`.
fn instance() -> Value {
    let b64 = object(
        "b64",
        &json!({"type": "string", "contentEncoding": "base64"}),
    );
    json!({
        "description": "An image in base64, or an item.",
        "anyOf": [
            {"type": "string"},
            b64.clone(),
            object("image", &b64),
            object("image_bytes", &b64),
        ],
    })
}

/// The outermost `extra_info`.
fn info() -> Value {
    let mut info = inner_info();
    info["properties"]["image_errors"] = json!({
        "enum": ["fail", "report", null],
        "description": "Whether an unreadable image fails the request, or is reported in its place \
            while the others are scored.",
    });
    info
}

/// That of one image among several.
fn inner_info() -> Value {
    let ignored = json!({"type": ["string", "null"], "description": "Ignored."});
    json!({"type": ["object", "null"], "properties": {"type": ignored}})
}

/// An object with one key.
fn object(key: &str, value: &Value) -> Value {
    json!({"type": "object", "required": [key], "properties": {key: value}})
}
