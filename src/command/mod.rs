//! The commands, one file each, and how they are told apart. Here `anyhow` lives: their errors are
//! read by a person.

pub mod config;
#[cfg(feature = "loadtest")]
pub mod loadtest;
pub mod predict;
pub mod predictor;
pub mod serve;
pub mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::settings::args::{LogFormat, ServeArgs};
use crate::settings::{ConfigErrors, Log, Settings};

/// The name in front of `serve`'s flags in the environment.
const ENV_PREFIX: &str = "FACEQUALITY_";

/// Sub-commands; without one of them the arguments are those of `serve`.
const COMMANDS: [&str; 8] = [
    "serve",
    "predict",
    "predictor",
    "verify",
    "loadtest",
    "delivery",
    "config",
    "help",
];

/// A KServe transformer: face images in JSON to quality scores of a model on NVIDIA Triton.
#[derive(Debug, Parser)]
#[command(
    name = "facequality-transformer",
    version,
    subcommand_required = true,
    after_help = "Without a command, `serve` is meant: `facequality-transformer --predictor_host triton:8001`.\n\
                  Flags are spelled as KServe's (--http_port); hyphens do as well (--http-port).\n\
                  Exit codes: 0 done, 1 failed, 2 a threshold was missed, 64 bad usage."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer requests over HTTP and gRPC (the default command)
    Serve(Box<ServeArgs>),
    /// Score image files, in this process or by a running service
    Predict(Box<predict::Args>),
    /// Put load on a running service, or on Triton itself, and report what it did
    #[cfg(feature = "loadtest")]
    Loadtest(Box<loadtest::Args>),
    /// Compare tensors and scores with those that the predecessor's environment wrote
    Verify(Box<verify::Args>),
    /// Serve the embedded model, or zeros, as a Triton would: to try things without one
    Predictor(Box<predictor::Args>),
    /// Print the effective settings of `serve` with these flags and leave
    Config(Box<ServeArgs>),
}

impl Command {
    /// The log that the command wants.
    ///
    /// # Errors
    ///
    /// When a setting is wrong.
    pub fn log(&self) -> Result<Log, ConfigErrors> {
        match self {
            Self::Serve(args) => Ok(Settings::new(args)?.log),
            _ => Ok(Log {
                filter: "warn".to_owned(),
                format: LogFormat::Text,
            }),
        }
    }

    /// Does it.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being done.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Serve(args) => serve::run(Settings::new(&args)?).await,
            Self::Predict(args) => predict::run(*args).await,
            Self::Predictor(args) => predictor::run(*args).await,
            #[cfg(feature = "loadtest")]
            Self::Loadtest(args) => loadtest::run(*args).await,
            Self::Verify(args) => verify::run(*args).await,
            Self::Config(args) => config::run(&args),
        }
    }
}

impl Cli {
    /// Parses the process' arguments and environment.
    ///
    /// # Errors
    ///
    /// Bad usage, but also `--help` and `--version`: clap's error knows what to print where.
    pub fn from_args(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        for name in ["serve", "config"] {
            command = command.mut_subcommand(name, |serve| {
                // Of a flag that is given twice the last one counts, as with KServe's SDK.
                serve.args_override_self(true).mut_args(|arg| {
                    let variable = format!("{ENV_PREFIX}{}", arg.get_id().as_str().to_uppercase());
                    arg.env(variable).hide_env(true)
                })
            });
        }
        let matches = command.try_get_matches_from(normalized(args))?;
        Self::from_arg_matches(&matches)
    }
}

/// Puts `serve` where no command is named, and underscores for hyphens in flag names.
fn normalized(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let named = args.get(1).is_some_and(|first| {
        let first = first.to_string_lossy();
        COMMANDS.contains(&first.as_ref())
            || ["-h", "--help", "-V", "--version"].contains(&first.as_ref())
            // A word that is no flag is a mistyped command; clap proposes the right one.
            || !first.starts_with('-')
    });
    if !named {
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
    fn no_command_means_serve_and_hyphens_do() {
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
    fn switches_take_an_optional_value() {
        assert!(serve(&[]).enable_grpc);
        assert!(!serve(&["--enable_grpc", "false"]).enable_grpc);
        assert!(serve(&["--predictor_use_ssl", "--http_port", "1"]).predictor_use_ssl);
        assert!(!serve(&["--predictor_use_ssl", "0"]).predictor_use_ssl);
    }

    #[test]
    fn the_controllers_arguments_are_taken_and_the_sdks_are_named() {
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
            .map(|(name, _)| name)
            .collect();
        assert_eq!(
            names,
            [
                "workers",
                "protocol",
                "enable_docs_url",
                "enable_predictor_health_check"
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
