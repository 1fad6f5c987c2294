//! `/openapi.json` and `/docs`. That every answer fits its schema is `tests/clients/test_openapi.py`'s;
//! here is that the document names what there is.

use reqwest::Method;
use serde_json::Value;

use crate::world::World;

const FLAGS: [&str; 2] = ["--model_host=centerface=embedded", "--detect_side=32"];

async fn document(world: &World) -> Value {
    let answer = world.get("/openapi.json").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/json");
    answer.json()
}

#[tokio::test]
async fn every_public_model_has_its_own_paths() {
    let world = World::with(&FLAGS, |_| ()).await;
    let document = document(&world).await;
    let paths = document["paths"].as_object().unwrap();
    let models = world.get("/v2/models").await.json();
    for model in models["models"].as_array().unwrap() {
        let model = model.as_str().unwrap();
        for tail in ["", "/ready", "/config", "/stats", "/infer"] {
            let path = format!("/v2/models/{model}{tail}");
            assert!(paths.contains_key(&path), "{path}");
        }
        let predict = paths.contains_key(&format!("/v1/models/{model}:predict"));
        assert_eq!(predict, !model.ends_with("-tensor"), "{model}");
    }
}

#[tokio::test]
async fn every_operation_answers_with_a_status_that_it_names_and_examples_succeed() {
    let world = World::with(&FLAGS, |_| ()).await;
    let document = document(&world).await;
    let mut examples = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let answer = world.send(method.clone(), path, "").await;
            let status = answer.status.as_str();
            let named = operation["responses"].get(status);
            assert!(named.is_some(), "{method} {path}: {status} {}", answer.text);
            let content = &operation["requestBody"]["content"]["application/json"];
            for (name, example) in content["examples"].as_object().into_iter().flatten() {
                let body = example["value"].to_string();
                let answer = world.send(method.clone(), path, body).await;
                assert_eq!(answer.status, 200, "{path} {name}: {}", answer.text);
                examples += 1;
            }
        }
    }
    assert_eq!(
        examples, 8,
        "three of V1 and one of V2 for each model of images"
    );
}

#[tokio::test]
async fn every_reference_of_the_document_leads_somewhere() {
    let world = World::with(&FLAGS, |_| ()).await;
    let document = document(&world).await;
    let mut found = 0;
    let mut left = vec![&document];
    while let Some(value) = left.pop() {
        if let Some(Value::String(reference)) = value.get("$ref") {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
            found += 1;
        }
        match value {
            Value::Object(object) => left.extend(object.values()),
            Value::Array(list) => left.extend(list),
            _ => {}
        }
    }
    assert!(found > 100, "{found}");
}

#[tokio::test]
async fn a_face_is_described_by_its_own_type() {
    let world = World::with(&FLAGS, |_| ()).await;
    let document = document(&world).await;
    let face = &document["components"]["schemas"]["Face"];
    let keys: Vec<_> = face["properties"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["box", "detection", "landmarks", "score"]);
    assert_eq!(face["properties"]["box"]["minItems"], 4);
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let world = World::new().await;
    let page = world.get("/docs").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("script-src 'self'") && !policy.contains("unsafe"),
        "{policy}"
    );
    for (file, kind) in [
        ("docs/docs.js", "text/javascript"),
        ("docs/docs.css", "text/css"),
    ] {
        assert!(page.text.contains(&format!("\"{file}\"")), "{}", page.text);
        let answer = world.get(&format!("/{file}")).await;
        assert_eq!(answer.status, 200);
        let content_type = answer.headers["content-type"].to_str().unwrap();
        assert!(content_type.starts_with(kind));
        assert!(
            !answer.text.contains("//cdn") && !answer.text.contains("http"),
            "{file}"
        );
    }
    // Its references are relative: a path with a slash behind it leads to the one without.
    let answer = world.get("/docs/").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text == page.text),
        (200, true)
    );
    assert_eq!(world.send(Method::POST, "/docs", "").await.status, 405);
}

#[tokio::test]
async fn without_pages_the_document_is_still_there() {
    let world = World::with(&["--enable_ui=false"], |_| ()).await;
    assert_eq!(world.get("/openapi.json").await.status, 200);
    for path in ["/docs", "/docs/", "/docs/docs.js"] {
        assert_eq!(world.get(path).await.status, 404, "{path}");
    }
}
