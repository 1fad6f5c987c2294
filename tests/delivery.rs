//! `delivery`: every field is there in both languages, and every value has its source.
#![cfg(feature = "embedded")]

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::world::triton::FakeTriton;
#[cfg(feature = "loadtest")]
use crate::world::{World, grey};

/// The fields that the form has, whether or not they are filled in.
const TRANSFORMER: [&str; 8] = [
    "service_name",
    "cpu_or_gpu",
    "image",
    "run_directory",
    "start_command",
    "resources",
    "time_per_request",
    "qps",
];
const TRITON: [&str; 10] = [
    "triton_version",
    "model_address",
    "http_port",
    "grpc_port",
    "gpu_memory",
    "driver",
    "gpu_model",
    "resources",
    "time_per_request",
    "qps",
];

fn run(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_facequality-transformer"))
        .args(args)
        .env_remove("REQUESTS_CA_BUNDLE")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The fields by section and key.
fn form(args: &[&str]) -> BTreeMap<String, Value> {
    let text = run(&[&["delivery", "--json"], args].concat());
    let form: Value = serde_json::from_str(&text).unwrap();
    let mut fields = BTreeMap::new();
    for section in form["sections"].as_array().unwrap() {
        for field in section["fields"].as_array().unwrap() {
            let key = format!("{}.{}", section["key"], field["key"]).replace('"', "");
            assert!(fields.insert(key, field.clone()).is_none());
        }
    }
    fields
}

/// The keys of the fields that have a value.
fn filled(form: &BTreeMap<String, Value>) -> Vec<&str> {
    let filled = form.iter().filter(|(_, field)| !field["value"].is_null());
    filled.map(|(key, _)| key.as_str()).collect()
}

#[test]
fn every_field_is_there_in_both_languages_and_what_nobody_measured_says_so() {
    let expected: Vec<_> = (TRANSFORMER.iter().map(|key| format!("transformer.{key}")))
        .chain(TRITON.iter().map(|key| format!("triton.{key}")))
        .collect();
    for (language, open) in [("zh", "未测量"), ("en", "not measured")] {
        let form = form(&["--lang", language]);
        assert_eq!(form.len(), expected.len());
        let markdown = run(&["delivery", "--lang", language]);
        for key in &expected {
            let field = &form[key];
            let name = field["name"].as_str().unwrap();
            assert!(markdown.contains(&format!("| {name} | ")), "{key}");
            assert_eq!(
                name.is_ascii(),
                language == "en" || name == "CPU/GPU",
                "{name}"
            );
            let source = field["source"].as_str().unwrap();
            if field["value"].is_null() {
                assert_eq!(source, open, "{key}");
                assert!(!field["measure_with"].as_str().unwrap().is_empty(), "{key}");
            } else {
                assert!(source.contains(": "), "{key}: {source}");
            }
        }
        assert_eq!(
            filled(&form),
            [
                "transformer.cpu_or_gpu",
                "transformer.run_directory",
                "transformer.service_name",
                "transformer.start_command"
            ]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_triton_is_asked_for_its_version_ports_and_memory() {
    let triton = FakeTriton::start_with(|_| ()).await;
    let host = triton.host();
    let (predictor, metrics) = (
        format!("--predictor_host={host}"),
        format!("--triton_metrics={host}"),
    );
    let form = form(&["--lang=en", &predictor, &metrics]);
    let port = host.rsplit(':').next().unwrap();
    for (key, value, place) in [
        ("triton_version", "scripted 2.99.0", "/v2"),
        (
            "model_address",
            &format!("{host} (face_quality_trt_fp16)")[..],
            "--predictor_host",
        ),
        ("http_port", port, "/v2"),
        ("gpu_memory", "3072 MiB", "nv_gpu_memory_used_bytes"),
        ("resources", "GPU 87 %", "nv_*_utilization"),
    ] {
        let field = &form[&format!("triton.{key}")];
        assert_eq!(field["value"], value, "{key}");
        assert!(field["source"].as_str().unwrap().contains(place), "{field}");
    }
    let command = form["transformer.start_command"]["value"].as_str().unwrap();
    assert!(
        command.ends_with(&format!(" serve {predictor}")),
        "{command}"
    );
    for key in ["driver", "gpu_model", "time_per_request", "qps"] {
        assert!(form[&format!("triton.{key}")]["value"].is_null(), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_triton_that_speaks_grpc_only_is_asked_too() {
    let triton = FakeTriton::start_with(|script| {
        script.speaks = crate::world::triton::Speaks::Grpc;
    });
    let triton = triton.await;
    let predictor = format!("--predictor_host={}", triton.host());
    let form = form(&["--lang=en", &predictor]);
    assert_eq!(form["triton.triton_version"]["value"], "scripted 2.99.0");
    assert!(!form["triton.grpc_port"]["value"].is_null());
}

#[test]
fn what_nvidia_smi_says_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gpu.csv");
    std::fs::write(&file, "NVIDIA A10, 535.129.03, 1234 MiB\n").unwrap();
    let form = form(&[
        "--nvidia_smi",
        file.to_str().unwrap(),
        "--image=registry/face:1",
    ]);
    assert_eq!(form["triton.gpu_model"]["value"], "NVIDIA A10");
    assert_eq!(form["triton.driver"]["value"], "535.129.03");
    assert_eq!(form["triton.gpu_memory"]["value"], "1234 MiB");
    assert_eq!(form["transformer.image"]["value"], "registry/face:1");
}

#[cfg(feature = "loadtest")]
#[tokio::test(flavor = "multi_thread")]
async fn measured_values_are_those_of_the_load_test() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.png"), grey(1)).unwrap();
    let (images, url) = (folder.path().to_str().unwrap(), world.url(""));
    let pid = std::process::id().to_string();
    let report = run(&[
        "loadtest", "--url", &url, "--images", images, "-n", "20", "-c", "2", "--pid", &pid,
        "--json",
    ]);
    let file = folder.path().join("result.json");
    std::fs::write(&file, &report).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let file = file.to_str().unwrap();
    let form = form(&[
        "--lang=en",
        "--predictor_host=127.0.0.1:9",
        "--loadtest",
        file,
    ]);
    let loaded = &report["runs"][0];
    let times = |of: &Value| {
        let (p50, p99) = (
            of["p50_ms"].as_f64().unwrap(),
            of["p99_ms"].as_f64().unwrap(),
        );
        format!("p50 {p50:.1} ms, p99 {p99:.1} ms")
    };
    let value = |key: &str| form[key]["value"].as_str().unwrap().to_owned();
    let own = value("transformer.time_per_request");
    assert_eq!(own, times(&loaded["latency"]) + " (1 × image)");
    let stages = loaded["stages"].as_array().unwrap();
    let predict = stages
        .iter()
        .find(|stage| stage["name"] == "predict")
        .unwrap();
    assert_eq!(value("triton.time_per_request"), times(&predict["time"]));
    let rate = 20.0 / loaded["seconds"].as_f64().unwrap();
    assert!(value("transformer.qps").starts_with(&format!("{rate:.1} req/s")));
    // A run may end before the counters are read.
    let resources = form["transformer.resources"]["value"].is_null();
    assert_eq!(resources, loaded["cpu"]["target_us"].is_null());
    assert!(
        form["triton.qps"]["value"].is_null(),
        "nobody loaded Triton itself"
    );
    let source = form["transformer.qps"]["source"].as_str().unwrap();
    assert!(source.contains("result.json runs[0].requests"), "{source}");
}

#[test]
fn a_file_that_is_no_load_test_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_facequality-transformer"))
        .args(["delivery", "--loadtest", "Cargo.toml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("--loadtest Cargo.toml: not the output of"),
        "{text}"
    );
}
