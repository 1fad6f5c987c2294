//! `config`: prints the effective settings of `serve`, and checks that it could start.

use std::io::Write;
use std::process::ExitCode;

use serde_json::{Map, json};

use crate::service::{self, Build};
use crate::settings::{ServeArgs, Settings};

/// The width of the column of names.
const NAMES: usize = 36;

/// The width of the column of sources.
const SOURCES: usize = 14;

/// Flags of `config`.
#[derive(clap::Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// Also open what the settings name (folders, certificates, models) and fail as `serve` would
    #[arg(long)]
    pub check: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// The settings to print
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// Prints each setting with its value and where that comes from.
///
/// # Errors
///
/// When a setting is invalid, what it names cannot be used (`--check`), or nothing can be printed.
pub async fn run(args: Args, build: Build) -> anyhow::Result<ExitCode> {
    let settings = Settings::new(&args.serve)?;
    if args.check {
        service::check(&settings, build)?;
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", to_json(&settings))?;
        return Ok(ExitCode::SUCCESS);
    }
    let version = env!("CARGO_PKG_VERSION");
    writeln!(out, "{:<NAMES$}{:<SOURCES$}{version}", "version", "build")?;
    for row in settings.effective() {
        let value = row.value.as_deref().unwrap_or("none");
        let source = row.source.name();
        writeln!(out, "{:<NAMES$}{source:<SOURCES$}{value}", row.flag)?;
    }
    for ignored in &settings.without_effect {
        writeln!(out, "{ignored}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn to_json(settings: &Settings) -> serde_json::Value {
    let rows = settings.effective().into_iter();
    let rows = rows.map(|row| {
        let value = json!({"value": row.value, "source": row.source});
        (row.flag.to_owned(), value)
    });
    let mut object = Map::new();
    object.insert("version".to_owned(), env!("CARGO_PKG_VERSION").into());
    object.insert("settings".to_owned(), rows.collect::<Map<_, _>>().into());
    object.insert("without_effect".to_owned(), json!(settings.without_effect));
    object.into()
}
