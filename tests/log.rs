//! A log that nobody reads: lines are dropped and counted, and requests go on.
#![cfg(feature = "embedded")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use reqwest::StatusCode;
use serde_json::Value;

/// Several times what a pipe holds, at some hundred bytes a line.
const REQUESTS: usize = 1000;

/// Ends with the test, however that ends.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_no_request() {
    let child = Command::new(env!("CARGO_BIN_EXE_facequality-transformer"))
        .args(["--host=127.0.0.1", "--http_port=0", "--grpc_port=0"])
        .args(["--log_format=json", "--log_level=debug"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut service = Service(child);
    let mut log = BufReader::new(service.0.stderr.take().unwrap());
    let mut line = String::new();
    let address = loop {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the service ended");
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["message"] == "listening" {
            break line["http"].as_str().unwrap().to_owned();
        }
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    let url = format!("http://{address}/v1/models/facequality:predict");
    for _ in 0..REQUESTS {
        let response = client.post(&url).body("{").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    }
    let metrics = client.get(format!("http://{address}/metrics")).send();
    let metrics = metrics.await.unwrap().text().await.unwrap();
    assert!(
        metrics.contains("\nfacequality_log_lines_dropped_total "),
        "{metrics}"
    );
}
