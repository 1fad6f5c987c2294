//! The log: where lines go and in what form. Payloads never reach it; see `docs/OPERATIONS.md`.
//!
//! Lines are written by a thread of their own. When standard error is read too slowly, or not at
//! all, the lines that do not fit the queue are dropped and counted: a service that waited for its
//! log would stop.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, reload};

/// What the targets of this service's log lines begin with.
const TARGET: &str = env!("CARGO_CRATE_NAME");

/// Lines that wait to be written, at most: some MiB.
const QUEUED_LINES: usize = 8192;

/// What puts another filter in the place of the log's.
type Reload = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

/// Which lines are written, since the log was started.
struct Filter {
    level: Mutex<LevelFilter>,
    reload: Reload,
}

impl Filter {
    fn lock(&self) -> MutexGuard<'_, LevelFilter> {
        self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static FILTER: OnceLock<Filter> = OnceLock::new();

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
    let parsed = parse_filter(filter)?;
    let (writer, guard) = queued(std::io::stderr());
    let dropped = writer.error_counter();
    let log = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        // No colours in a file or a pipe.
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(writer);
    let (started, reload): (_, Reload) = match format {
        LogFormat::Json => {
            let log = log.json().flatten_event(true).with_filter_reloading();
            let handle = log.reload_handle();
            (
                log.try_init(),
                Box::new(move |filter| handle.reload(filter)),
            )
        }
        LogFormat::Text => {
            let log = log.with_filter_reloading();
            let handle = log.reload_handle();
            (
                log.try_init(),
                Box::new(move |filter| handle.reload(filter)),
            )
        }
    };
    started.map_err(|error| format!("cannot start logging: {error}"))?;
    DROPPED.get_or_init(|| dropped);
    FILTER.get_or_init(|| Filter {
        level: Mutex::new(level_of(filter)),
        reload,
    });
    Ok(guard)
}

/// The level of the lines of this service, but for parts of it that have one of their own.
pub(crate) fn level() -> LevelFilter {
    FILTER
        .get()
        .map_or(LevelFilter::OFF, |filter| *filter.lock())
}

/// Another level from now on, for all parts of this service. The libraries stay held at `warn`.
///
/// # Errors
///
/// When the log is not this program's.
pub(crate) fn set_level(level: LevelFilter) -> Result<(), String> {
    let Some(filter) = FILTER.get() else {
        return Err("the log was started by somebody else".to_owned());
    };
    let mut current = filter.lock();
    let parsed = parse_filter(&level.to_string())?;
    (filter.reload)(parsed).map_err(|error| format!("cannot change the log level: {error}"))?;
    *current = level;
    Ok(())
}

/// The level of a filter that [`parse_filter`] takes: the last that is for no part alone.
fn level_of(filter: &str) -> LevelFilter {
    let mut levels = filter.split(',').map(str::trim);
    let level = levels.rfind(|directive| !directive.contains('='));
    // What no directive is for is held at this.
    level.map_or(LevelFilter::WARN, |level| {
        level.parse().unwrap_or(LevelFilter::INFO)
    })
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
    fn the_level_of_a_filter_is_the_one_for_no_part_alone() {
        assert_eq!(level_of("info"), LevelFilter::INFO);
        let parts = "debug, kserve_transformer::predictor=trace";
        assert_eq!(level_of(parts), LevelFilter::DEBUG);
        assert_eq!(
            level_of("kserve_transformer::front=trace"),
            LevelFilter::WARN
        );
        assert_eq!(level_of("off"), LevelFilter::OFF);
        // What is set is a filter again.
        let level = directives(&LevelFilter::DEBUG.to_string()).unwrap();
        assert_eq!(level, "warn,kserve_transformer=debug");
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
