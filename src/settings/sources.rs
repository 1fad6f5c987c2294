//! Where settings come from: the environment variables of flags, and which value was taken from
//! where.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command};

use crate::settings::{Ignored, ServeArgs};

/// What a setting's value comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Nothing was given.
    #[default]
    Default,
    /// An environment variable.
    Environment,
    /// The command line.
    Flag,
}

impl Source {
    /// Its name as `config` prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Environment => "environment",
            Self::Flag => "flag",
        }
    }
}

/// The source of each flag's value.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    program: &'static str,
    by_flag: BTreeMap<String, Source>,
    /// Values that were given in a form that has no effect.
    pub(crate) ignored: Vec<Ignored>,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            program: crate::NAME,
            by_flag: BTreeMap::new(),
            ignored: Vec::new(),
        }
    }
}

impl Sources {
    /// The sources of what was parsed for the program of this name.
    pub(crate) fn of(matches: &ArgMatches, program: &'static str) -> Self {
        let mut ignored = Vec::new();
        let by_flag = flags()
            .map(|flag| {
                let source = match matches.value_source(&flag) {
                    Some(ValueSource::CommandLine) => Source::Flag,
                    Some(ValueSource::EnvVariable) => Source::Environment,
                    _ => Source::Default,
                };
                if is_service_address(program, &flag) {
                    ignored.push(Ignored {
                        what: variable(program, &flag),
                        reason: "Kubernetes sets it to the address of a Service of that name",
                    });
                }
                (flag, source)
            })
            .collect();
        let protocol = matches.get_raw("predictor_protocol");
        if protocol.is_some_and(|mut values| values.any(|value| value == "v1")) {
            ignored.push(Ignored {
                what: "--predictor_protocol v1".to_owned(),
                reason: "V1 carries no tensors; the predictor's protocol is detected",
            });
        }
        Self {
            program,
            by_flag,
            ignored,
        }
    }

    pub(crate) fn get(&self, flag: &str) -> Source {
        self.by_flag.get(flag).copied().unwrap_or_default()
    }

    /// For a value of one of KServe's own variables.
    pub(crate) fn set_environment(&mut self, flag: &str) {
        self.by_flag.insert(flag.to_owned(), Source::Environment);
    }

    /// Adds to a problem which variable set the flag that it begins with: whoever set the
    /// variable need not know the flag.
    pub(crate) fn explain(&self, problem: String) -> String {
        let flag = problem.strip_prefix("--").and_then(|rest| {
            rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .next()
        });
        match flag {
            Some(flag) if self.get(flag) == Source::Environment => {
                format!("{problem} (set by {})", variable(self.program, flag))
            }
            _ => problem,
        }
    }
}

/// The environment variable of a flag of a program's `serve`: `ANIMALS_HTTP_PORT`.
pub(crate) fn variable(program: &str, flag: &str) -> String {
    format!("{program}_{flag}").replace('-', "_").to_uppercase()
}

/// Lets each flag of a program's `serve` be set by its variable, too.
pub(crate) fn read_environment(command: Command, program: &str) -> Command {
    flags().fold(command, |command, flag| {
        if is_service_address(program, &flag) {
            return command;
        }
        let variable = variable(program, &flag);
        command.mut_arg(flag, |arg| arg.env(variable).hide_env(true))
    })
}

/// Reports an invalid value under the name of its variable, if it came from one.
pub(crate) fn name_variable(
    error: clap::Error,
    args: &[OsString],
    command: &mut Command,
) -> clap::Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let (Some(arg), Some(value)) = (
        text(ContextKind::InvalidArg),
        text(ContextKind::InvalidValue),
    ) else {
        return error;
    };
    let flag = arg.split([' ', '=', '[']).next().unwrap_or_default();
    let given = args.iter().filter_map(|arg| arg.to_str()).any(|arg| {
        arg.strip_prefix(flag)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    });
    let variable = command.get_subcommands().find_map(|command| {
        let mut args = command.get_arguments();
        let arg = args.find(|arg| arg.get_long() == flag.strip_prefix("--"))?;
        Some(arg.get_env()?.to_string_lossy().into_owned())
    });
    let Some(variable) = variable.filter(|variable| !given && is_set(variable, value)) else {
        return error;
    };
    let reason = match (
        error.get(ContextKind::ValidValue),
        std::error::Error::source(&error),
    ) {
        (Some(ContextValue::Strings(values)), _) => format!("expected {}", values.join(", ")),
        (_, Some(reason)) => reason.to_string(),
        _ => format!("see {flag}"),
    };
    let text = format!("invalid value {value:?} in the environment variable {variable}: {reason}");
    command.error(ErrorKind::ValueValidation, text)
}

fn is_set(variable: &str, value: &str) -> bool {
    std::env::var(variable).ok().as_deref() == Some(value)
}

/// The names of all flags of `serve`.
fn flags() -> impl Iterator<Item = String> {
    let command = ServeArgs::augment_args(Command::new("serve"));
    let flags: Vec<_> = command
        .get_arguments()
        .map(|flag| flag.get_id().to_string())
        .collect();
    flags.into_iter()
}

/// Whether a flag's variable is one that Kubernetes sets for a Service, such as
/// `FACEQUALITY_HTTP_PORT=tcp://10.0.0.1:80` for one named `facequality-http`.
fn is_service_address(program: &str, flag: &str) -> bool {
    flag.ends_with("_port")
        && std::env::var(variable(program, flag)).is_ok_and(|value| {
            ["tcp://", "udp://", "sctp://"]
                .iter()
                .any(|scheme| value.starts_with(scheme))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_name_the_variable_that_caused_them() {
        let mut sources = Sources::default();
        sources.set_environment("queue");
        assert_eq!(
            sources.explain("--queue must be at least 1".to_owned()),
            "--queue must be at least 1 (set by FACEQUALITY_QUEUE)"
        );
        let other = "--queue_timeout_ms must be at most 1".to_owned();
        assert_eq!(sources.explain(other.clone()), other);
    }
}
