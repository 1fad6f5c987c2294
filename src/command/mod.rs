//! The commands, one file each, and how the command line becomes one of them. `anyhow` lives here:
//! their errors are read by a person.

pub mod config;
pub mod delivery;
mod header;
mod image_files;
#[cfg(feature = "loadtest")]
pub mod loadtest;
pub mod predict;
pub mod predictor;
mod product;
pub mod serve;
pub mod verify;

use std::ffi::OsString;
use std::fmt::Display;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

pub use self::product::transformers;
use crate::observe::log::{self, LogFormat};
use crate::service::Build;
use crate::settings::{
    self, ConfigErrors, LogSettings, ServeArgs, Settings, Sources, name_variable, variable,
};

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It could not be done.
    Failed = 1,
    /// It was done, and a threshold was missed: an SLO, a score, a tensor.
    ThresholdMissed = 2,
    /// Flags that cannot be followed; the number is `EX_USAGE` of `sysexits.h`.
    Usage = 64,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Prints an error of the program, not of a request: those are logged.
pub(crate) fn print_error(error: impl Display) {
    eprintln!("{}: {error}", env!("CARGO_PKG_NAME"));
}

/// A KServe transformer: face images in JSON to quality scores of a model on NVIDIA Triton.
#[derive(Debug, Parser)]
#[command(
    name = env!("CARGO_PKG_NAME"),
    version,
    subcommand_required = true,
    after_help = "Without a command, `serve` is run: `facequality-transformer --predictor_host triton:8001`.\n\
                  Flags are spelled as KServe's (--http_port); hyphenated spellings work too (--http-port).\n\
                  Exit codes: 0 success, 1 failure, 2 a threshold was missed, 64 invalid usage."
)]
pub struct Cli {
    /// The command, with its flags.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands; their docs are their help texts.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve HTTP and gRPC requests (the default command)
    Serve(Box<ServeArgs>),
    /// Score image files, in this process or with a running service
    Predict(Box<predict::Args>),
    /// Load a running service, or Triton itself, and report how it performed
    #[cfg(feature = "loadtest")]
    Loadtest(Box<loadtest::Args>),
    /// Compare tensors and scores with those recorded in the predecessor's environment
    Verify(Box<verify::Args>),
    /// Stand-in Triton for local testing: serves the embedded model, or zeros
    Predictor(Box<predictor::Args>),
    /// Print the form by which the service is handed over, with the source of every value
    Delivery(Box<delivery::Args>),
    /// Print the effective settings of `serve` with these flags and exit
    Config(Box<config::Args>),
}

/// A command whose settings are valid.
pub struct Task {
    /// The log it wants, to be started before it runs.
    pub log: LogSettings,
    /// Runs it, to its exit code or to an error for a person to read.
    pub run: LocalBoxFuture<'static, anyhow::Result<ExitCode>>,
}

impl Task {
    /// The service with these flags.
    pub(crate) fn serve(args: &ServeArgs, build: Build) -> Result<Self, ConfigErrors> {
        let settings = Settings::new(args)?;
        Ok(Self {
            log: settings.log.clone(),
            run: serve::run(settings, build).boxed_local(),
        })
    }

    /// One that logs warnings only.
    pub(crate) fn quiet(run: LocalBoxFuture<'static, anyhow::Result<ExitCode>>) -> Self {
        let log = LogSettings {
            filter: "warn".to_owned(),
            format: LogFormat::Text,
            predictions: false,
            settable: false,
        };
        Self { log, run }
    }
}

impl Command {
    /// Validates the settings that decide how to log, before anything runs.
    ///
    /// # Errors
    ///
    /// When a setting is invalid.
    pub fn prepare(self) -> Result<Task, ConfigErrors> {
        let run = match self {
            Self::Serve(args) => return Task::serve(&args, product::transformers),
            Self::Predict(args) => predict::run(*args).boxed_local(),
            Self::Predictor(args) => predictor::run(*args).boxed_local(),
            #[cfg(feature = "loadtest")]
            Self::Loadtest(args) => loadtest::run(*args).boxed_local(),
            Self::Verify(args) => verify::run(*args).boxed_local(),
            Self::Delivery(args) => delivery::run(*args).boxed_local(),
            Self::Config(args) => config::run(*args, product::transformers).boxed_local(),
        };
        Ok(Task::quiet(run))
    }
}

/// Why a command does not run.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Invalid usage, but also `--help` and `--version`.
    Usage(clap::Error),
    /// Invalid settings.
    Config(ConfigErrors),
}

impl From<clap::Error> for Stop {
    fn from(error: clap::Error) -> Self {
        Self::Usage(error)
    }
}

impl From<ConfigErrors> for Stop {
    fn from(errors: ConfigErrors) -> Self {
        Self::Config(errors)
    }
}

/// Runs the product with the process' arguments, to its exit code.
pub fn main() -> ExitCode {
    let cli = Cli::from_args(std::env::args_os()).map_err(Stop::from);
    run(cli.and_then(|cli| Ok(cli.command.prepare()?)))
}

/// Starts the log and the runtime and runs a task.
pub(crate) fn run(task: Result<Task, Stop>) -> ExitCode {
    let task = match task {
        Ok(task) => task,
        Err(Stop::Config(problems)) => return failed(Exit::Usage, problems),
        Err(Stop::Usage(error)) => {
            // Help goes to standard output, errors to standard error; a closed pipe is fine.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let _log = match log::start(&task.log.filter, task.log.format) {
        Ok(guard) => guard,
        Err(problem) => return failed(Exit::Usage, problem),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("runtime")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(Exit::Failed, format!("cannot start the runtime: {error}")),
    };
    match runtime.block_on(task.run) {
        Ok(code) => code,
        Err(error) if error.is::<ConfigErrors>() => failed(Exit::Usage, error),
        Err(error) => failed(Exit::Failed, format!("{error:#}")),
    }
}

fn failed(exit: Exit, problem: impl Display) -> ExitCode {
    print_error(problem);
    exit.into()
}

/// Lets the flags of a program's `serve` be set in the environment, too.
pub(crate) fn read_environment(command: clap::Command, program: &str) -> clap::Command {
    // Of a flag that is given twice the last one counts, as in KServe's SDK.
    let command = command.args_override_self(true).after_help(format!(
        "Each flag can also be set in the environment: --http_port as {}.",
        variable(program, "http_port")
    ));
    settings::read_environment(command, program)
}

/// Parses arguments; without a command, `serve` is meant.
pub(crate) fn matches(
    command: &mut clap::Command,
    args: impl IntoIterator<Item = OsString>,
) -> Result<clap::ArgMatches, clap::Error> {
    let args = normalize(args);
    command
        .try_get_matches_from_mut(&args)
        .map_err(|error| name_variable(error, &args, command))
}

impl Cli {
    /// Parses the process' arguments and environment.
    ///
    /// # Errors
    ///
    /// Invalid usage, but also `--help` and `--version`: clap's error knows what to print where.
    pub fn from_args(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        for name in ["serve", "config", "delivery"] {
            command =
                command.mut_subcommand(name, |command| read_environment(command, crate::NAME));
        }
        let matches = matches(&mut command, args)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        let serve = match &mut cli.command {
            Command::Serve(args) => Some(&mut **args),
            Command::Config(args) => Some(&mut args.serve),
            Command::Delivery(args) => Some(&mut args.serve),
            _ => None,
        };
        if let (Some(serve), Some((_, matches))) = (serve, matches.subcommand()) {
            serve.sources = Sources::of(matches, crate::NAME);
        }
        Ok(cli)
    }
}

/// Inserts `serve` where no command is named, and writes flag names with underscores.
fn normalize(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let has_command = args.get(1).is_some_and(|first| {
        let first = first.to_string_lossy();
        // A word that is not a flag is a command, or a mistyped one: clap suggests the right one.
        !first.starts_with('-') || ["-h", "--help", "-V", "--version"].contains(&first.as_ref())
    });
    if !has_command {
        args.insert(1.min(args.len()), "serve".into());
    }
    for arg in args.iter_mut().skip(1) {
        let Some(text) = arg.to_str() else { continue };
        if text == "--" {
            break;
        }
        let Some(flag) = text.strip_prefix("--") else {
            continue;
        };
        let (name, value) = flag.split_at(flag.find('=').unwrap_or(flag.len()));
        *arg = format!("--{}{value}", name.replace('-', "_")).into();
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(args: &[&str]) -> ServeArgs {
        let args = std::iter::once("x")
            .chain(args.iter().copied())
            .map(OsString::from);
        match Cli::from_args(args).unwrap().command {
            Command::Serve(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_a_command_serve_is_run_and_hyphens_work() {
        assert_eq!(serve(&[]).http_port, 8080);
        assert_eq!(serve(&["--http-port", "1"]).http_port, 1);
        assert_eq!(serve(&["--http_port=2"]).http_port, 2);
        assert_eq!(
            serve(&["serve", "--predictor-host=a-b:1,c"])
                .predictor_host
                .unwrap(),
            "a-b:1,c"
        );
    }

    #[test]
    fn booleans_take_an_optional_value() {
        assert!(serve(&[]).enable_grpc);
        assert!(!serve(&["--enable_grpc", "false"]).enable_grpc);
        assert!(serve(&["--predictor_use_ssl", "--http_port", "1"]).predictor_use_ssl);
        assert!(!serve(&["--predictor_use_ssl", "0"]).predictor_use_ssl);
    }

    #[test]
    fn the_controllers_arguments_are_accepted_and_the_sdks_are_named() {
        let args = serve(&[
            "--model_name",
            "m",
            "--predictor_host",
            "m-predictor.ns",
            "--http_port",
            "8080",
            "--workers",
            "1",
            "--protocol",
            "v1",
            "--enable_predictor_health_check",
            "--enable_docs_url",
            "true",
            "--timeout-keep-alive",
            "65",
        ]);
        let names: Vec<_> = args
            .kserve
            .given()
            .into_iter()
            .map(|flag| flag.what)
            .collect();
        assert_eq!(
            names,
            [
                "--workers",
                "--protocol",
                "--enable_docs_url",
                "--enable_predictor_health_check"
            ]
        );
        assert_eq!(args.idle_timeout_seconds, 65);
    }

    #[test]
    fn unknown_flags_are_refused() {
        let args = ["x", "--no_such_flag", "1"].map(OsString::from);
        assert!(Cli::from_args(args).is_err());
    }
}
