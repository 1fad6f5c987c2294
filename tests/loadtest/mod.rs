//! The load test against targets whose behaviour is known by construction: what it reports must be
//! what they did.

// Targets that follow a script.
mod scripted;

// What is measured: open and closed loops, failures, searches, comparisons.
mod measured;

// How requests are written and where they go: every protocol, TLS, headers.
mod protocols;

// What is refused, given up, or said about a run that should not be believed.
mod limits;

// The command: exit codes, output, files.
mod command;

use std::io::Write;
use std::time::Duration;

use kserve_transformer::loadtest::{
    Arrival, Endpoint, FailureKind, Load, ModelTensors, Protocol, Rates, Report, Settings, Until,
};

/// A folder with two images (which the scripted targets do not decode).
fn images() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [("a.jpg", vec![1; 300]), ("b.jpg", vec![2; 500])] {
        let mut file = std::fs::File::create(folder.path().join(name)).unwrap();
        file.write_all(&bytes).unwrap();
    }
    folder
}

fn settings(url: &str, protocol: Protocol, folder: &tempfile::TempDir, load: Load) -> Settings {
    Settings {
        target: Endpoint {
            url: url.to_owned(),
            protocol,
            model: "facequality".to_owned(),
            pid: None,
        },
        compare: None,
        rounds: 2,
        images: ["a.jpg", "b.jpg"]
            .map(|name| folder.path().join(name))
            .to_vec(),
        tensors: ModelTensors {
            input: "input.1".to_owned(),
            row: vec![3, 112, 112],
            outputs: vec!["score".to_owned()],
        },
        headers: http::HeaderMap::new(),
        ca_file: None,
        batch: 1,
        load,
        warmup: Duration::ZERO,
        timeout: Duration::from_secs(10),
        max_connections: 256,
        golden: None,
        tolerance: 1e-4,
        slo: None,
        progress: false,
        command_line: None,
    }
}

fn closed(concurrency: usize, until: Until) -> Load {
    Load::Closed { concurrency, until }
}

fn open(rate: f64, seconds: f64) -> Load {
    Load::Open {
        rates: Rates {
            from: rate,
            to: rate,
        },
        steps: 1,
        arrival: Arrival::Constant,
        length: Duration::from_secs_f64(seconds),
    }
}

fn errors(report: &Report) -> Vec<(FailureKind, u64)> {
    let errors = report.runs.iter().flat_map(|run| &run.errors);
    errors.map(|error| (error.kind, error.count)).collect()
}

fn says(report: &Report, words: &str) -> bool {
    let of_runs = report.runs.iter().flat_map(|run| &run.notes);
    of_runs
        .map(ToString::to_string)
        .chain(report.notes.iter().cloned())
        .any(|note| note.contains(words))
}
