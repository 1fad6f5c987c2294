//! `loadtest`: from flags to the settings of a load test, and from its report to output and exit
//! code.

mod args;
mod output;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

pub use self::args::Args;
use self::output::OutputFile;
use super::{Exit, image_files, print_error};
use crate::loadtest::{self, Error, Report};

/// Runs the load test. Exit code 2 when an SLO or an expected score is missed, 64 when the settings
/// cannot be followed, 1 when no request succeeded.
///
/// # Errors
///
/// When the target cannot be reached at the start, or a file cannot be written at the end.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (report, golden) = match (open(&args.report), open(&args.write_golden)) {
        (Ok(report), Ok(golden)) => (report, golden),
        (Err(error), _) => return Ok(usage(format!("--report {error}"))),
        (_, Err(error)) => return Ok(usage(format!("--write_golden {error}"))),
    };
    let images = match image_files(&args.images) {
        Ok(images) => images,
        Err(error) => return Ok(usage(format!("--images: {error:#}"))),
    };
    let loaded = match args.settings(images, command_line(std::env::args_os())) {
        Ok(settings) => loadtest::execute(&settings).await,
        Err(error) => Err(error),
    };
    let results = match loaded {
        Ok(results) => results,
        Err(error @ Error::Usage(_)) => return Ok(usage(error)),
        Err(error) => return Err(error.into()),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    } else {
        print!("{}", loadtest::text(&results));
    }
    if let Some(file) = report {
        file.write(&loadtest::html(&results)).context("--report")?;
    }
    if let Some(file) = golden {
        file.write(&scores(&results)?).context("--write_golden")?;
    }
    Ok(exit_code(&results))
}

/// The files to send; none where tensors are sent.
fn image_files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    image_files::expand(paths)
}

fn exit_code(results: &Report) -> ExitCode {
    if let Some(reason) = &results.stopped {
        print_error(format!("the target was given up: {reason}"));
        Exit::Failed.into()
    } else if results.missed() {
        Exit::ThresholdMissed.into()
    } else if results.any_ok() {
        ExitCode::SUCCESS
    } else {
        print_error("no request succeeded; see the errors above");
        Exit::Failed.into()
    }
}

fn usage(error: impl std::fmt::Display) -> ExitCode {
    print_error(error);
    Exit::Usage.into()
}

fn open(path: &Option<PathBuf>) -> Result<Option<OutputFile>, String> {
    let open = |path: &Path| {
        OutputFile::open(path.to_owned()).map_err(|error| format!("{}: {error}", path.display()))
    };
    path.as_deref().map(open).transpose()
}

/// The scores as a golden file.
fn scores(results: &Report) -> serde_json::Result<String> {
    let scores: serde_json::Map<_, _> = results
        .scores
        .iter()
        .map(|image| (image.name.clone(), image.score.into()))
        .collect();
    serde_json::to_string_pretty(&scores)
}

/// The command line for the report. Values of headers are left out: they may be secrets.
fn command_line(args: impl IntoIterator<Item = OsString>) -> String {
    let mut words = Vec::new();
    let mut is_header = false;
    for arg in args {
        let arg = arg.to_string_lossy();
        let word = if is_header {
            without_value(&arg)
        } else if let Some(header) = arg.strip_prefix("--header=") {
            format!("--header={}", without_value(header))
        } else if let Some(header) = arg.strip_prefix("-H").filter(|rest| !rest.is_empty()) {
            format!("-H{}", without_value(header))
        } else {
            arg.to_string()
        };
        is_header = !is_header && (arg == "-H" || arg == "--header");
        words.push(quoted(word));
    }
    words.join(" ")
}

fn without_value(header: &str) -> String {
    let name = header.split(':').next().unwrap_or_default();
    format!("{name}: …")
}

/// As a shell takes it back.
fn quoted(word: String) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,%+@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word;
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_typed_again_but_shows_no_secret() {
        let words = [
            "f",
            "loadtest",
            "-H",
            "Authorization: Bearer a",
            "--header=X-Key:b",
            "-HCookie: c",
            "--images",
            "my faces",
            "--slo",
            "p99=20ms",
        ];
        assert_eq!(
            command_line(words.map(OsString::from)),
            "f loadtest -H 'Authorization: …' '--header=X-Key: …' '-HCookie: …' --images \
             'my faces' --slo p99=20ms"
        );
    }
}
