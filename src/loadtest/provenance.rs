//! When, where and with what a load test is made.

use std::thread::available_parallelism;

use serde::Serialize;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// When, where and with what the figures were made.
#[derive(Clone, Debug, Serialize)]
pub struct Provenance {
    /// The start, in RFC 3339.
    pub started: String,
    /// From the start to the end.
    pub seconds: f64,
    pub command_line: Option<String>,
    /// The machine that sent the requests.
    pub host: String,
    /// Its cores.
    pub cores: usize,
    /// The version of the load test.
    pub version: &'static str,
}

/// What is known at the start.
pub(crate) fn collect(command_line: Option<String>) -> Provenance {
    Provenance {
        started: now(),
        seconds: 0.0,
        command_line,
        host: host(),
        cores: available_parallelism().map_or(0, usize::from),
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// The time as the log writes it: RFC 3339 in UTC, to the second.
fn now() -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "an unknown host".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_rfc_3339_in_utc() {
        let started = now();
        assert_eq!(started.len(), "2026-01-31T12:00:00Z".len(), "{started}");
        assert!(started.ends_with('Z') && started.contains('T'));
    }
}
