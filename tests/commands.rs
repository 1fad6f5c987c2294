//! The binary's command line: where settings come from, what is checked before the start, and the
//! exit codes.
#![cfg(feature = "embedded")]

use std::process::{Command, Output};

use serde_json::Value;

/// Runs the binary with an environment of its own.
fn run(args: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_facequality-transformer"))
        .args(args)
        .env_remove("REQUESTS_CA_BUNDLE")
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn refusal(args: &[&str], environment: &[(&str, &str)]) -> String {
    let output = run(args, environment);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{text}");
    text
}

fn settings(args: &[&str], environment: &[(&str, &str)]) -> Value {
    let output = run(&[&["config", "--json"], args].concat(), environment);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn config_says_where_each_value_comes_from() {
    let environment = [
        ("FACEQUALITY_QUEUE", "7"),
        ("FACEQUALITY_MAX_IMAGES", "5"),
        ("REQUESTS_CA_BUNDLE", "/ca.pem"),
    ];
    let config = settings(&["--max_images=6"], &environment);
    for (flag, value, source) in [
        ("queue", "7", "environment"),
        ("max_images", "6", "flag"),
        ("predictor_ca_file", "/ca.pem", "environment"),
        ("model_name", "facequality", "default"),
    ] {
        let row = &config["settings"][flag];
        assert_eq!(row["value"], value, "{flag}");
        assert_eq!(row["source"], source, "{flag}");
    }
    assert_eq!(config["settings"]["data_dir"]["value"], Value::Null);
}

#[test]
fn an_invalid_variable_is_named() {
    for (variable, value, word) in [
        ("FACEQUALITY_QUEUE", "abc", "invalid digit"),
        ("FACEQUALITY_IMAGE_ERRORS", "skip", "expected fail, report"),
        ("FACEQUALITY_MAX_BODY_BYTES", "1 TB", "KiB, MiB or GiB"),
    ] {
        let text = refusal(&["config"], &[(variable, value)]);
        assert!(text.contains(variable) && text.contains(word), "{text}");
    }
    let text = refusal(&["config"], &[("FACEQUALITY_QUEUE", "0")]);
    let expected = "--queue must be at least 1 (set by FACEQUALITY_QUEUE)";
    assert!(text.contains(expected), "{text}");
    let text = refusal(&["config", "--queue=abc"], &[("FACEQUALITY_QUEUE", "5")]);
    assert!(!text.contains("FACEQUALITY"), "{text}");
}

#[test]
fn the_variables_that_kubernetes_sets_for_a_service_are_ignored() {
    let address = "tcp://10.0.0.7:80";
    let environment = [
        ("FACEQUALITY_HTTP_PORT", address),
        ("FACEQUALITY_GRPC_PORT", address),
    ];
    let config = settings(&[], &environment);
    assert_eq!(config["settings"]["http_port"]["value"], "8080");
    assert_eq!(config["without_effect"][0]["what"], "FACEQUALITY_HTTP_PORT");
    let text = refusal(&["config"], &[("FACEQUALITY_HTTP_PORT", "eighty")]);
    assert!(text.contains("FACEQUALITY_HTTP_PORT"), "{text}");
}

#[test]
fn durations_that_no_clock_can_count_are_refused_at_the_start() {
    for flag in [
        "--predictor_request_timeout_seconds=1e19",
        "--predictor_request_timeout_seconds=nan",
        "--grace_seconds=18446744073709551615",
        "--drain_notice_seconds=86401",
        "--header_read_timeout_seconds=0",
        "--body_read_timeout_seconds=0",
        "--idle_timeout_seconds=0",
        "--grpc_max_connection_age_seconds=86401",
        "--dns_refresh_seconds=0",
        "--queue_timeout_ms=86400001",
        "--item_url_timeout_ms=0",
    ] {
        for command in ["config", "serve"] {
            let text = refusal(&[command, flag], &[]);
            let name = flag.split('=').next().unwrap();
            assert!(text.contains(name) && text.contains("one day"), "{text}");
        }
    }
}

#[test]
fn v1_towards_the_predictor_has_no_effect() {
    let config = settings(&["--predictor_protocol=v1"], &[]);
    assert_eq!(config["settings"]["predictor_protocol"]["value"], "auto");
    assert_eq!(
        config["without_effect"][0]["what"],
        "--predictor_protocol v1"
    );
}

#[test]
fn check_opens_what_the_settings_name_and_fails_as_serve_does() {
    let hosts = "/etc/hosts";
    for (flags, word) in [
        (&["--data_dir=/nowhere"][..], "--data_dir"),
        (&["--data_dir=/etc/hosts"], "not a folder"),
        (
            &["--ssl_certfile=/etc/hosts", "--ssl_keyfile=/etc/hosts"],
            "--ssl_certfile",
        ),
        (
            &["--ssl_certfile=/nowhere", "--ssl_keyfile=/nowhere"],
            "--ssl_certfile",
        ),
        (
            &[
                "--predictor_host=127.0.0.1:9",
                "--predictor_use_ssl",
                "--predictor_ca_file=/etc/hosts",
            ],
            "--predictor_ca_file",
        ),
        (&["--embedded_model=/etc/hosts"], hosts),
    ] {
        let ports = ["--host=127.0.0.1", "--http_port=0", "--grpc_port=0"];
        let checked = refusal(&[&["config", "--check"], flags].concat(), &[]);
        let served = refusal(&[&["serve"], &ports[..], flags].concat(), &[]);
        assert!(checked.contains(word), "{checked}");
        assert_eq!(checked, served);
        assert_eq!(
            run(&[&["config"], flags].concat(), &[]).status.code(),
            Some(0)
        );
    }
    let good = run(&["config", "--check", "--data_dir=data"], &[]);
    assert_eq!(good.status.code(), Some(0));
}

#[test]
fn predict_wants_a_url_that_it_can_call() {
    let text = refusal(
        &["predict", "--url=grpc://127.0.0.1:8001", "data/images"],
        &[],
    );
    assert!(text.contains("--url: expected http://"), "{text}");
    let output = run(
        &[
            "predict",
            "--url=http://127.0.0.1:9",
            "data/images/face.png",
        ],
        &[],
    );
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("onnection refused"), "{text}");
}

#[test]
fn secrets_of_the_proxy_are_not_printed() {
    let output = run(
        &["config", "--item_url_proxy=http://me:secret@proxy:3128"],
        &[],
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("http://***@proxy:3128"), "{text}");
    assert!(!text.contains("secret"), "{text}");
    let text = refusal(&["config", "--item_url_proxy=me:secret@proxy"], &[]);
    assert!(!text.contains("secret"), "{text}");
}

/// The pixels of a PNG, and its width.
fn pixels(png: &[u8]) -> (Vec<u8>, usize) {
    let mut reader = png::Decoder::new(std::io::Cursor::new(png))
        .read_info()
        .unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    (pixels, info.width as usize)
}

#[test]
fn predict_draws_faces_on_copies_and_writes_no_escapes_to_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let photo = folder.path().join("photo.jpg");
    let before = std::fs::read("data/images/astronaut.jpg").unwrap();
    std::fs::write(&photo, &before).unwrap();
    let (photo, copies) = (photo.to_str().unwrap(), folder.path().to_str().unwrap());
    let arguments = [
        "predict",
        "--model_name=facephoto",
        "--annotate",
        copies,
        photo,
    ];
    let kitty = [("TERM", "xterm-kitty"), ("TERM_PROGRAM", "")];
    let output = run(&[&arguments[..], &["--json"]].concat(), &kitty);
    assert_eq!(output.status.code(), Some(0));
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    let face = &line["faces"][0];
    assert!(face["detection"].as_f64().unwrap() > 0.5, "{line}");
    let place = |axis: usize| face["box"][axis].as_f64().unwrap().round() as usize;
    let copy = folder.path().join("photo.annotated.png");
    assert_eq!(line["annotated"], copy.to_str().unwrap());
    let (pixels, width) = pixels(&std::fs::read(&copy).unwrap());
    let corner = (place(1) * width + place(0)) * 3;
    assert_eq!(
        (&pixels[corner..corner + 3], width),
        (&[0, 220, 90][..], 512)
    );
    assert_eq!(std::fs::read(photo).unwrap(), before);

    let output = run(&arguments, &kitty);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains('\x1b'), "{text}");
    let score = face["score"].as_f64().unwrap();
    let row = text.lines().nth(1).unwrap();
    assert!(
        row.contains("photo.jpg") && row.contains(&format!("{score:.4}")),
        "{text}"
    );
    assert_eq!(text.lines().count(), 2, "{text}");
}
