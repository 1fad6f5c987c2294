//! A team's transformer as a program: commands, flags, log, runtime and exit codes.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, FromArgMatches};
use futures_util::FutureExt;

use crate::command::{self, Stop, Task};
use crate::service::Build;
use crate::settings::{ServeArgs, Sources};

/// Flags of the product's own models, which other programs do not have.
const PRODUCT_FLAGS: [&str; 11] = [
    "model_name",
    "predictor_model",
    "predictor_input",
    "predictor_output",
    "embedded_model",
    "enable_facephoto",
    "detector_model",
    "detect_side",
    "detect_threshold",
    "face_margin",
    "face_crop",
];

/// A program that serves transformers: `App::new("animals", build).main()`. It has the commands
/// `serve` (the default), `config` and `loadtest`, and all flags for ports, predictors and limits, each
/// also as an environment variable: `ANIMALS_HTTP_PORT`.
#[derive(Debug)]
pub struct App {
    name: &'static str,
    build: Build,
}

impl App {
    /// A program of this name, which serves what `build` gives. The names of its metrics begin with it.
    pub fn new(name: &'static str, build: Build) -> Self {
        Self { name, build }
    }

    /// Runs it with the process' arguments, to its exit code.
    pub fn main(self) -> ExitCode {
        command::run(self.task(std::env::args_os()))
    }

    fn task(&self, args: impl IntoIterator<Item = OsString>) -> Result<Task, Stop> {
        let hide = |command: clap::Command, flag| command.mut_arg(flag, |arg| arg.hide(true));
        let own_flags = |command| {
            let command = PRODUCT_FLAGS.into_iter().fold(command, hide);
            command::read_environment(command, self.name)
        };
        let serve =
            clap::Command::new("serve").about("Serve HTTP and gRPC requests (the default command)");
        let config =
            clap::Command::new("config").about("Print the effective settings of `serve` and exit");
        let mut command = clap::Command::new(self.name)
            .subcommand_required(true)
            .subcommand(own_flags(ServeArgs::augment_args(serve)))
            .subcommand(own_flags(command::config::Args::augment_args(config)));
        #[cfg(feature = "loadtest")]
        {
            let loadtest = clap::Command::new("loadtest").about("Load a running service");
            command = command.subcommand(command::loadtest::Args::augment_args(loadtest));
        }
        let matches = command::matches(&mut command, args)?;
        if let Some((_, given)) = matches.subcommand() {
            let foreign = PRODUCT_FLAGS.into_iter().find(|flag| {
                let source = given
                    .try_contains_id(flag)
                    .ok()
                    .and_then(|_| given.value_source(flag));
                source == Some(ValueSource::CommandLine)
            });
            if let Some(flag) = foreign {
                let problem = format!("{} has no flag --{flag}", self.name);
                return Err(command.error(ErrorKind::UnknownArgument, problem).into());
            }
        }
        let build = self.build;
        match matches.subcommand() {
            Some(("config", matches)) => {
                let mut args = command::config::Args::from_arg_matches(matches)?;
                args.serve.sources = Sources::of(matches, self.name);
                let run = command::config::run(args, build).boxed_local();
                Ok(Task::quiet(run))
            }
            #[cfg(feature = "loadtest")]
            Some(("loadtest", matches)) => {
                let args = command::loadtest::Args::from_arg_matches(matches)?;
                Ok(Task::quiet(command::loadtest::run(args).boxed_local()))
            }
            Some((_, matches)) => Ok(Task::serve(
                &ServeArgs::from_matches(matches, self.name)?,
                build,
            )?),
            // clap wants one, and `serve` is put where there is none.
            None => Err(command
                .error(ErrorKind::MissingSubcommand, "no command")
                .into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(args: &[&str]) -> Result<Task, Stop> {
        let args = ["animals"].iter().chain(args).map(OsString::from);
        App::new("animals", |_| Ok(())).task(args)
    }

    #[test]
    fn a_program_has_the_services_commands_and_flags() {
        assert!(task(&["--http-port", "0", "--predictor_host", "a:1"]).is_ok());
        assert!(task(&["config", "--queue=5"]).is_ok());
        let Err(Stop::Usage(help)) = task(&["serve", "--help"]) else {
            panic!("no help");
        };
        let help = help.to_string();
        assert!(help.contains("--predictor_host") && help.contains("--queue"));
        assert!(!help.contains("--detect_side"), "{help}");
        assert!(help.contains("ANIMALS_HTTP_PORT"), "{help}");
        assert!(matches!(task(&["predict"]), Err(Stop::Usage(_))));
        assert!(matches!(task(&["--detect_side=320"]), Err(Stop::Usage(_))));
        assert!(matches!(task(&["--queue=0"]), Err(Stop::Config(_))));
    }
}
