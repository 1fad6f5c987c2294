//! The log: where lines go and in what form. Payloads never reach it; see `docs/OPERATIONS.md`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The crate's name in targets of log lines.
const OURS: &str = "facequality_transformer";

/// Starts logging to standard error.
///
/// `filter` is a level, or a list of levels for parts of this service
/// (`info,facequality_transformer::predictor=debug`). The libraries below are held at `warn`: at
/// lower levels they log what they decode, and that is people's images and tokens.
///
/// # Errors
///
/// When the filter cannot be read, or logging was started before.
pub fn start(filter: &str, json: bool) -> Result<(), String> {
    let mut directives = vec!["warn".to_owned()];
    for directive in filter.split(',').map(str::trim) {
        match directive.split_once('=') {
            None => directives.push(format!("{OURS}={directive}")),
            Some((target, _)) if target.starts_with(OURS) => directives.push(directive.to_owned()),
            Some((target, _)) => {
                return Err(format!(
                    "--log_level: {target:?} is no part of this service; its parts begin with {OURS}"
                ));
            }
        }
    }
    let directives = directives.join(",");
    let filter = EnvFilter::try_new(&directives)
        .map_err(|error| format!("--log_level {filter:?} is no filter: {error}"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // No colours in a file or a pipe.
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = if json {
        log.json().flatten_event(true).try_init()
    } else {
        log.try_init()
    };
    started.map_err(|error| format!("logging cannot be started: {error}"))
}
