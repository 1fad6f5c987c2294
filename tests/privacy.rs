//! Faces are personal data: at no log level does anything that was sent appear in the log or in a
//! response.
#![cfg(feature = "embedded")]
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// What must never appear again: parts of payloads, of a URL's query, of a token.
const SECRETS: [&str; 5] = [
    "SECRETIMAGE",
    "U0VDUkVUUElDVFVSR",
    "SECRETQUERY",
    "SECRETTOKEN",
    "SECRETUSER",
];

struct Service {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    read: String,
    url: String,
}

impl Service {
    fn start(level: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_facequality-transformer"))
            .args(["--host=127.0.0.1", "--http_port=0", "--grpc_port=0"])
            .args(["--drain_notice_seconds=0", "--log_format=json"])
            .arg(format!(
                "--log_level=info,kserve_transformer={level},kserve_transformer::command=info"
            ))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut read = String::new();
        let address = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended: {read}");
            read.push_str(&line);
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "listening" {
                break line["http"].as_str().unwrap().to_owned();
            }
        };
        Self {
            child,
            log,
            read,
            url: format!("http://{address}"),
        }
    }

    /// Ends it and returns all that it wrote.
    fn log(mut self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.log.read_to_string(&mut self.read).unwrap();
        assert!(self.child.wait().unwrap().success());
        self.read
    }
}

#[tokio::test]
async fn nothing_that_was_sent_appears_again() {
    for level in ["error", "warn", "info", "debug", "trace"] {
        let service = Service::start(level);
        let client = {
            let _ = rustls::crypto::ring::default_provider().install_default();
            reqwest::Client::new()
        };
        let secret = base64_simd::STANDARD.encode_to_string("SECRETIMAGE ".repeat(9));
        let good = std::fs::read("data/requests/face.json").unwrap();
        let wrong_symbol = format!("data:image/png;base64,{secret}*SECRETIMAGE");
        let mut bodies: Vec<Vec<u8>> = vec![
            good,
            b"SECRETIMAGE as it is".to_vec(),
            format!(r#"{{"data":{{"item":"SECRETIMAGE {secret}"}}"#).into(),
            format!(r#"{{"data":{{"SECRETIMAGE":"{secret}"}}}}"#).into(),
        ];
        for item in [
            format!("data:image/png;base64,{secret}"),
            wrong_symbol,
            format!("data:SECRETIMAGE,{secret}"),
            "SECRETIMAGE".to_owned(),
            "http://SECRETUSER:SECRETTOKEN@127.0.0.1:1/a?token=SECRETQUERY".to_owned(),
            "http://name.invalid/a?token=SECRETQUERY".to_owned(),
            "http://[::bad/?token=SECRETQUERY".to_owned(),
        ] {
            bodies.push(json!({"data": {"item": item}}).to_string().into());
        }
        for body in bodies {
            let response = client
                .post(format!(
                    "{}/v1/models/facequality:predict?token=SECRETQUERY",
                    service.url
                ))
                .header("authorization", "Bearer SECRETTOKEN")
                .body(body)
                .send()
                .await
                .unwrap();
            let text = response.text().await.unwrap();
            for secret in SECRETS {
                assert!(
                    !text.contains(secret),
                    "{level}: the response shows it: {text}"
                );
            }
        }
        let log = service.log();
        assert!(
            level != "debug" || log.contains("response sent"),
            "the log is not at this level: {log}"
        );
        for secret in SECRETS {
            assert!(
                !log.contains(secret),
                "{level}: the log shows {secret}:\n{log}"
            );
        }
    }
}

#[test]
fn a_hangup_ends_nothing() {
    let service = Service::start("info");
    kill_process(Pid::from_child(&service.child), Signal::HUP).unwrap();
    let mut service = service;
    loop {
        let mut line = String::new();
        assert!(service.log.read_line(&mut line).unwrap() > 0, "it ended");
        if line.contains("SIGHUP has no effect") {
            break;
        }
    }
    // Ends as it should with SIGTERM.
    service.log();
}
