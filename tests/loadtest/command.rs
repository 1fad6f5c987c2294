//! The command: exit codes, output, files.

use std::path::Path;
use std::process::{Command, Output};

use super::images;
use super::scripted::{HttpTarget, Script};

/// Runs the program to its end, with its output in pipes.
fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_facequality-transformer"))
        .args(arguments)
        .output()
        .unwrap()
}

fn loadtest(target: &HttpTarget, images: &Path, arguments: &[&str]) -> Output {
    let fixed = [
        "loadtest",
        "--url",
        &target.url,
        "--images",
        images.to_str().unwrap(),
    ];
    run(&[&fixed, arguments].concat())
}

fn lines(bytes: &[u8]) -> Vec<&str> {
    std::str::from_utf8(bytes).unwrap().lines().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_of_requests_is_that_number() {
    let folder = images();
    let target = HttpTarget::start(Script::default()).await;
    let output = loadtest(&target, folder.path(), &["-n", "7", "-c", "3"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(target.received(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_gives_its_images_only() {
    let folder = images();
    std::fs::write(folder.path().join("README.md"), "about the images").unwrap();
    let target = HttpTarget::start(Script::default()).await;
    let output = loadtest(&target, folder.path(), &["-n", "4", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["images"]["count"], 2);
    let names: Vec<_> = report["scores"]
        .as_array()
        .unwrap()
        .iter()
        .map(|score| score["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a.jpg", "b.jpg"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_is_refused_before_the_run() {
    let folder = images();
    let target = HttpTarget::start(Script::default()).await;
    for flag in ["--report", "--write_golden"] {
        let output = loadtest(
            &target,
            folder.path(),
            &["-n", "4", flag, "/missing/folder/x"],
        );
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        let errors = lines(&output.stderr);
        assert!(errors[0].contains(flag), "{errors:?}");
    }
    assert_eq!(target.received(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_command_without_its_secrets() {
    let folder = images();
    let target = HttpTarget::start(Script::default()).await;
    let page = folder.path().join("page.html");
    let flags = ["-n", "4", "-H", "Authorization: Bearer abc", "--report"];
    let flags = [&flags[..], &[page.to_str().unwrap()]].concat();
    let output = loadtest(&target, folder.path(), &flags);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(target.last_headers()["authorization"], "Bearer abc");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("-H 'Authorization: …'"));
    assert!(!page.contains("abc"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_gets_a_line_for_each_finished_run() {
    let folder = images();
    let target = HttpTarget::start(Script::default()).await;
    let flags = [
        "--rate",
        "20..60",
        "--steps",
        "3",
        "--duration",
        "200ms",
        "--warmup",
        "0s",
    ];
    let output = loadtest(&target, folder.path(), &flags);
    let finished: Vec<_> = lines(&output.stderr)
        .into_iter()
        .filter(|line| line.starts_with("finished "))
        .collect();
    assert_eq!(finished.len(), 3, "{output:?}");
    for (line, label) in finished.iter().zip(["20.0/s:", "40.0/s:", "60.0/s:"]) {
        assert!(line.contains(label), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_failure_a_missed_bound_and_bad_usage_apart() {
    let folder = images();
    let failing = HttpTarget::start(Script {
        refuse_every: Some(1),
        ..Script::default()
    })
    .await;
    let half = HttpTarget::start(Script {
        refuse_every: Some(2),
        ..Script::default()
    })
    .await;
    for (target, flags, code) in [
        (&failing, &["-c", "2"][..], 1),
        (&failing, &["-n", "3"], 1),
        (&failing, &["-c", "2", "--slo", "p99=1s"], 1),
        (&half, &["-n", "4", "--slo", "p99=1h"], 2),
        (&half, &["-n", "4"], 0),
        (&half, &["--slo", "p99=20"], 64),
        (&half, &["--rate", "10", "--steps", "3"], 64),
        (&half, &["--images", "/missing"], 64),
    ] {
        let output = loadtest(target, folder.path(), flags);
        assert_eq!(output.status.code(), Some(code), "{flags:?} {output:?}");
    }
    let output = loadtest(&failing, folder.path(), &["-c", "2"]);
    let errors = lines(&output.stderr);
    let last = errors.last().unwrap();
    assert!(
        last.contains("the target was given up: all of the first"),
        "{last}"
    );
    assert!(last.contains("http 503"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn predict_sends_headers_too() {
    let folder = images();
    let target = HttpTarget::start(Script::default()).await;
    let image = folder.path().join("a.jpg");
    let image = image.to_str().unwrap();
    let host = ["-H", "Host: face.example", "--header", "x-key: 1"];
    let arguments = [&["predict", "--url", &target.url], &host[..], &[image]].concat();
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(target.last_headers()["host"], "face.example");
    assert_eq!(target.last_headers()["x-key"], "1");
    // They are for a service only.
    let output = run(&["predict", "-H", "x: 1", image]);
    assert_eq!(output.status.code(), Some(64), "{output:?}");
}
