//! `delivery`: the form by which a service is handed over, filled in as far as there are facts. Every
//! value has its source; what nobody has measured says so, with the command that does.

mod asked;
mod form;
mod measured;
mod words;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use self::asked::Asked;
use self::form::Form;
use self::measured::{Gpu, LoadTests};
use self::words::Language;
use crate::settings::{ServeArgs, Settings};

/// Flags of `delivery`.
#[derive(clap::Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// Output of `loadtest --json`: of the service, of Triton (`--protocol triton`), or of each
    #[arg(long, value_name = "FILE")]
    pub loadtest: Vec<PathBuf>,
    /// Output of `nvidia-smi --query-gpu=name,driver_version,memory.used --format=csv,noheader` where
    /// Triton runs
    #[arg(long, value_name = "FILE")]
    pub nvidia_smi: Option<PathBuf>,
    /// Address of Triton's metrics; if unset, port 8002 of --predictor_host
    #[arg(long, value_name = "HOST:PORT")]
    pub triton_metrics: Option<String>,
    /// Name of the image that is handed over
    #[arg(long, value_name = "NAME")]
    pub image: Option<String>,
    /// Language of the form
    #[arg(long, value_enum, default_value = "zh")]
    pub lang: Language,
    /// Print JSON instead of Markdown
    #[arg(long)]
    pub json: bool,
    /// The settings with which it is handed over
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// Prints the form.
///
/// # Errors
///
/// When a setting is invalid, or a file cannot be read. A Triton that does not answer leaves its part
/// of the form open.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = Settings::new(&args.serve)?;
    let tests = LoadTests::read(&args.loadtest)?;
    let gpu = args.nvidia_smi.as_deref().map(Gpu::read).transpose()?;
    let asked = Asked::of(&settings, args.triton_metrics.as_deref()).await;
    let form = Form {
        settings: &settings,
        image: args.image.as_deref(),
        tests: &tests,
        gpu: gpu.as_ref(),
        asked: &asked,
    };
    let sections = form.fill();
    let text = if args.json {
        let json = words::json(&sections, args.lang);
        serde_json::to_string_pretty(&json)? + "\n"
    } else {
        words::markdown(&sections, args.lang)
    };
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    written.context("cannot print the form")?;
    Ok(ExitCode::SUCCESS)
}
