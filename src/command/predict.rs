//! `predict`: scores image files, in this process or by a running service.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, Request};
use crate::observe::timing::Timings;
use crate::service;
use crate::settings::Settings;
use crate::settings::args::ServeArgs;
use crate::transformer::{Image, Input};

/// Names that a folder's images end in; files that are named are read whatever their name.
const EXTENSIONS: [&str; 6] = ["bmp", "jpe", "jpeg", "jpg", "png", "webp"];

/// Images in flight: enough to keep every core and a service busy.
pub(super) const IN_FLIGHT: usize = 16;

/// From so many images on progress is shown.
const PROGRESS_FROM: usize = 20;

/// How long a running service may take for one image.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Flags of `predict`.
#[derive(clap::Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// Images, or folders whose images are meant, those in folders below too
    #[arg(required = true, value_name = "FILE|DIR")]
    pub files: Vec<PathBuf>,
    /// One JSON object a line instead of a table
    #[arg(long)]
    pub json: bool,
    /// Who scores
    #[command(flatten)]
    pub scoring: Scoring,
}

/// Flags that say who scores.
#[derive(clap::Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct Scoring {
    /// A running service to ask, such as http://127.0.0.1:8080; else the images are scored in
    /// this process
    #[arg(long, conflicts_with = "predictor_host")]
    pub url: Option<String>,
    /// Name of the service's model
    #[arg(long, default_value = "facequality")]
    pub model_name: String,
    /// Triton to ask, as `serve` takes it; else the embedded model answers
    #[arg(long)]
    pub predictor_host: Option<String>,
    /// Name of the model on Triton
    #[arg(long, default_value = "face_quality_trt_fp16")]
    pub predictor_model: String,
}

impl Scoring {
    /// Where scores come from, in a report.
    pub fn source(&self) -> String {
        match (&self.url, &self.predictor_host) {
            (Some(url), _) => format!("the service at {url}"),
            (None, Some(host)) => format!("the predictor at {host}"),
            (None, None) => "the embedded model".to_owned(),
        }
    }

    /// Whether a service or a predictor is named.
    pub fn names_one(&self) -> bool {
        self.url.is_some() || self.predictor_host.is_some()
    }
}

/// A file's result.
#[derive(Serialize)]
struct Line {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Scores the files and prints them in their order.
///
/// # Errors
///
/// When there is no file, or nothing can answer. An image that cannot be scored is a line of its
/// own and makes the exit code 1.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let files = images(&args.files)?;
    let scorer = Scorer::new(&args.scoring).await?;
    let progress = progress(files.len());
    let names = files.clone();
    let mut scores = futures_util::stream::iter(files)
        .map(|file| async { scorer.score(file).await })
        .buffered(IN_FLIGHT);
    let mut lines = Vec::with_capacity(names.len());
    let mut out = std::io::stdout().lock();
    for name in names {
        let Some(score) = scores.next().await else {
            break;
        };
        progress.inc(1);
        let (score, error) = match score {
            Ok(score) => (Some(score), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let line = Line {
            file: name.display().to_string(),
            score,
            error,
        };
        if args.json {
            writeln!(out, "{}", serde_json::to_string(&line)?)?;
        }
        lines.push(line);
    }
    progress.finish_and_clear();
    if !args.json {
        table(&mut out, &lines)?;
    }
    let failed = lines.iter().any(|line| line.error.is_some());
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The files that are meant, folders opened, each folder in order of names.
fn images(given: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in given {
        let meta = std::fs::metadata(path).with_context(|| path.display().to_string())?;
        if meta.is_dir() {
            walk(path, &mut files)?;
        } else {
            files.push(path.clone());
        }
    }
    if files.is_empty() {
        bail!(
            "there is no image below {}",
            given
                .iter()
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
                .join(", ")
        );
    }
    Ok(files)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            walk(&path, files)?;
        } else if path
            .extension()
            .and_then(|extension| extension.to_str())
            .is_some_and(|extension| EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str()))
        {
            files.push(path);
        }
    }
    Ok(())
}

fn progress(files: usize) -> ProgressBar {
    if files < PROGRESS_FROM || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{bar:40} {pos} of {len} images, {per_sec}, {eta} left");
    ProgressBar::new(files as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn table(out: &mut impl Write, lines: &[Line]) -> std::io::Result<()> {
    let width = lines
        .iter()
        .map(|line| line.file.chars().count())
        .max()
        .unwrap_or(0)
        .max(4);
    writeln!(out, "{:<width$}  score", "file")?;
    for line in lines {
        match (&line.score, &line.error) {
            (Some(score), _) => writeln!(out, "{:<width$}  {score:.4}", line.file)?,
            (None, error) => {
                let error = error.as_deref().unwrap_or("no score");
                writeln!(out, "{:<width$}  error: {error}", line.file)?;
            }
        }
    }
    Ok(())
}

/// Who scores.
pub(super) enum Scorer {
    Here {
        engine: Arc<Engine>,
        model: String,
    },
    There {
        client: reqwest::Client,
        url: String,
    },
}

/// The part of a MultiResponse that is read.
#[derive(Deserialize)]
struct Answer {
    multi_data: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    data: Vec<Score>,
}

#[derive(Deserialize)]
struct Score {
    score: f64,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Scorer {
    /// Ready to score.
    pub(super) async fn new(args: &Scoring) -> anyhow::Result<Self> {
        if let Some(url) = &args.url {
            // An error means that one is installed already.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
            let url = format!(
                "{}/v1/models/{}:predict",
                url.trim_end_matches('/'),
                args.model_name
            );
            return Ok(Self::There { client, url });
        }
        let mut flags = vec![format!("--predictor_model={}", args.predictor_model)];
        flags.extend(
            args.predictor_host
                .iter()
                .map(|host| format!("--predictor_host={host}")),
        );
        let settings = Settings::new(&ServeArgs::from_flags(&flags)?)?;
        let engine = service::engine(&settings, &service::metrics(&settings)?)?;
        engine.wait_ready(TIMEOUT).await?;
        Ok(Self::Here {
            engine,
            model: settings.model_name,
        })
    }

    /// The score of an image file.
    pub(super) async fn score(&self, file: PathBuf) -> anyhow::Result<f64> {
        let image = Bytes::from(tokio::fs::read(file).await?);
        match self {
            Self::Here { engine, model } => {
                let request = Request {
                    model: model.clone(),
                    input: Input::Images(vec![Image::Encoded(image)]),
                    id: String::new(),
                    headers: http::HeaderMap::new(),
                    timeout: None,
                    image_errors: None,
                    timings: Arc::new(Timings::start()),
                };
                let rows = engine.run(request).await?;
                let row = rows.into_iter().next().context("no score")?;
                Ok(f64::from(row?))
            }
            Self::There { client, url } => {
                let base64 = base64_simd::STANDARD.encode_to_string(&image);
                let item = format!("data:application/octet-stream;base64,{base64}");
                let body = serde_json::json!({"data": {"item": item}});
                let answer = client.post(url).json(&body).send().await?;
                let status = answer.status();
                let text = answer.bytes().await?;
                if !status.is_success() {
                    let refusal: Result<Refusal, _> = serde_json::from_slice(&text);
                    bail!(
                        "{status}: {}",
                        refusal.map_or("no reason given".to_owned(), |refusal| refusal.error)
                    );
                }
                let answer: Answer =
                    serde_json::from_slice(&text).context("the answer is no MultiResponse")?;
                let score = answer
                    .multi_data
                    .first()
                    .and_then(|entry| entry.data.first());
                Ok(score.context("the answer holds no score")?.score)
            }
        }
    }
}
