//! The log: where lines go and in what form. Payloads never reach it; see `docs/OPERATIONS.md`.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// What the targets of this service's log lines begin with.
const TARGET: &str = env!("CARGO_CRATE_NAME");

/// `--log_format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// Starts logging to standard error.
///
/// `filter` is a level, or a list of levels for parts of this service
/// (`info,facequality_transformer::predictor=debug`). The libraries below are held at `warn`: at
/// lower levels they log what they decode, which is people's images and tokens.
///
/// # Errors
///
/// When the filter is invalid, or logging was started before.
pub fn start(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = parse_filter(filter)?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // No colours in a file or a pipe.
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Json => log.json().flatten_event(true).try_init(),
        LogFormat::Text => log.try_init(),
    };
    started.map_err(|error| format!("cannot start logging: {error}"))
}

/// Parses `--log_level`.
pub(crate) fn parse_filter(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(directives(filter)?)
        .map_err(|error| format!("--log_level: invalid filter {filter:?}: {error}"))
}

/// The directives of a tracing filter that concerns this service only.
fn directives(filter: &str) -> Result<String, String> {
    let mut directives = vec!["warn".to_owned()];
    for directive in filter.split(',').map(str::trim) {
        match directive.split_once('=') {
            None => directives.push(format!("{TARGET}={directive}")),
            Some((target, _)) if target.starts_with(TARGET) => {
                directives.push(directive.to_owned());
            }
            Some((target, _)) => {
                return Err(format!(
                    "--log_level: {target:?} is not a target of this service; targets start with \
                     {TARGET}"
                ));
            }
        }
    }
    Ok(directives.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_stay_at_warn() {
        assert_eq!(
            directives("info, facequality_transformer::predictor=debug").unwrap(),
            "warn,facequality_transformer=info,facequality_transformer::predictor=debug"
        );
        let error = directives("hyper=trace").unwrap_err();
        assert!(error.contains("is not a target of this service"), "{error}");
    }
}
