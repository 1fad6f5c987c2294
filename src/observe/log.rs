//! The log: where lines go and in what form. Payloads never reach it; see `docs/OPERATIONS.md`.
//!
//! Lines are written by a thread of their own. When standard error is read too slowly, or not at
//! all, the lines that do not fit the queue are dropped and counted: a service that waited for its
//! log would stop.

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

use clap::ValueEnum;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// What the targets of this service's log lines begin with.
const TARGET: &str = env!("CARGO_CRATE_NAME");

/// Lines that wait to be written, at most: some MiB.
const QUEUED_LINES: usize = 8192;

/// Counts the lines that were dropped.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// `--log_format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// Writes what is still queued when it is dropped.
#[must_use = "without it the last lines of the log are lost"]
pub struct LogGuard(#[expect(dead_code, reason = "it acts when it is dropped")] WorkerGuard);

/// Starts logging to standard error.
///
/// `filter` is a level, or a list of levels for parts of this service
/// (`info,kserve_transformer::predictor=debug`). The libraries below are held at `warn`: at
/// lower levels they log what they decode, which is people's images and tokens.
///
/// # Errors
///
/// When the filter is invalid, or logging was started before.
pub fn start(filter: &str, format: LogFormat) -> Result<LogGuard, String> {
    let filter = parse_filter(filter)?;
    let (writer, guard) = queued(std::io::stderr());
    let dropped = writer.error_counter();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // No colours in a file or a pipe.
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(writer);
    let started = match format {
        LogFormat::Json => log.json().flatten_event(true).try_init(),
        LogFormat::Text => log.try_init(),
    };
    started.map_err(|error| format!("cannot start logging: {error}"))?;
    DROPPED.get_or_init(|| dropped);
    Ok(guard)
}

/// Lines of the log that were dropped since the start.
pub fn dropped_lines() -> u64 {
    DROPPED
        .get()
        .map_or(0, |counter| counter.dropped_lines() as u64)
}

fn queued(target: impl Write + Send + 'static) -> (NonBlocking, LogGuard) {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(QUEUED_LINES)
        .thread_name("log")
        .finish(target);
    (writer, LogGuard(guard))
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

    /// A pipe that nobody reads until the other end of the channel is dropped.
    struct Stuck(std::sync::mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(line.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_that_nobody_reads_drops_lines_and_counts_them() {
        let (read, pipe) = std::sync::mpsc::channel();
        let (mut writer, guard) = queued(Stuck(pipe));
        for _ in 0..3 * QUEUED_LINES {
            writer.write_all(b"a line\n").unwrap();
        }
        let dropped = writer.error_counter().dropped_lines();
        // One line may be with the writing thread.
        assert!(dropped + 1 >= 2 * QUEUED_LINES, "{dropped}");
        drop(read);
        drop(guard);
    }

    #[test]
    fn libraries_stay_at_warn() {
        assert_eq!(
            directives("info, kserve_transformer::predictor=debug").unwrap(),
            "warn,kserve_transformer=info,kserve_transformer::predictor=debug"
        );
        let error = directives("hyper=trace").unwrap_err();
        assert!(error.contains("is not a target of this service"), "{error}");
    }
}
