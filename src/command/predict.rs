//! `predict`: scores image files, in this process or with a running service.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use futures_util::StreamExt;
use http::header::CONTENT_TYPE;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::header::{Header, header_map};
use super::image_files;
use crate::context::RequestContext;
use crate::engine::Engine;
use crate::error_chain::error_chain;
use crate::faces;
use crate::front;
use crate::observe::timing::Deadline;
use crate::service;
use crate::settings::{ConfigErrors, ServeArgs, Settings};
use crate::transformer::{Image, Input};
use crate::wire::error_body;
use crate::wire::v1::request;
use crate::wire::v1::response::parse_multi_response;

/// Images in flight: enough to keep every core and a service busy.
pub(super) const IN_FLIGHT: usize = 16;

/// Progress is shown from this number of images on.
const PROGRESS_FROM: usize = 20;

/// How long a running service may take for one image.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Flags of `predict`.
#[derive(clap::Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// Image files, or folders, whose image files are scored, including those in subfolders
    #[arg(required = true, value_name = "FILE|DIR")]
    pub files: Vec<PathBuf>,
    /// Print one JSON object per line instead of a table
    #[arg(long)]
    pub json: bool,
    /// What computes the scores
    #[command(flatten)]
    pub scoring: Scoring,
}

/// Flags that say what computes the scores; none: the embedded model.
#[derive(clap::Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct Scoring {
    /// URL of a running service, such as http://127.0.0.1:8080; if unset, the images are scored in
    /// this process
    #[arg(long, conflicts_with = "predictor_host")]
    pub url: Option<String>,
    /// Header of every request to --url, as in -H 'Host: face.example'; repeatable
    #[arg(
        long = "header",
        short = 'H',
        value_name = "NAME: VALUE",
        requires = "url"
    )]
    pub headers: Vec<Header>,
    /// Name of the service's model
    #[arg(long, default_value = faces::MODEL_NAME)]
    pub model_name: String,
    /// Address of Triton, as for `serve`; if unset, the embedded model is used
    #[arg(long)]
    pub predictor_host: Option<String>,
    /// Name of the model on Triton
    #[arg(long, default_value = faces::PREDICTOR_MODEL)]
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

    /// Whether a service or a predictor is named, rather than the embedded model.
    pub fn has_backend(&self) -> bool {
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
/// When there is no file, or the service or predictor cannot be used. An image that cannot be scored
/// is a line of its own and makes the exit code 1.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let files = image_files::expand(&args.files)?;
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

/// What computes the scores.
pub(super) enum Scorer {
    /// This process, with the embedded model or a predictor.
    InProcess { engine: Arc<Engine>, model: String },
    /// A running service.
    Http {
        client: reqwest::Client,
        url: String,
    },
}

impl Scorer {
    /// Waits until the predictor is ready.
    pub(super) async fn new(args: &Scoring) -> anyhow::Result<Self> {
        if let Some(url) = &args.url {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                let problem = "--url: expected http://HOST:PORT or https://HOST:PORT";
                return Err(ConfigErrors::from_one(problem).into());
            }
            // An error means that one is installed already.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let client = reqwest::Client::builder()
                .user_agent(crate::USER_AGENT)
                .default_headers(header_map(&args.headers))
                .timeout(TIMEOUT)
                .build()?;
            let url = format!(
                "{}/v1/models/{}:predict",
                url.trim_end_matches('/'),
                args.model_name
            );
            return Ok(Self::Http { client, url });
        }
        let mut flags = vec![format!("--predictor_model={}", args.predictor_model)];
        flags.extend(
            args.predictor_host
                .iter()
                .map(|host| format!("--predictor_host={host}")),
        );
        let settings = Settings::new(&ServeArgs::from_flags(&flags)?)?;
        let engine = service::engine(&settings, super::transformers, &service::metrics(&settings))?;
        service::wait_ready(&*engine, TIMEOUT).await?;
        Ok(Self::InProcess {
            engine,
            model: settings.model_name,
        })
    }

    /// The score of an image file.
    pub(super) async fn score(&self, file: PathBuf) -> anyhow::Result<f64> {
        let image = Bytes::from(tokio::fs::read(file).await?);
        match self {
            Self::InProcess { engine, model } => {
                let mut context = RequestContext::new(String::new(), Deadline::after(TIMEOUT));
                context.model.clone_from(model);
                let input = Input::Images(vec![Image::Encoded(image)]);
                let rows = engine.run(input, None, &context).await?;
                score_of(&front::multi_response(&*rows, engine.source(model)?)?)
            }
            Self::Http { client, url } => {
                let base64 = base64_simd::STANDARD.encode_to_string(&image);
                let item = format!("data:application/octet-stream;base64,{base64}");
                let body = request::to_json(&[item]);
                let request = client.post(url).header(CONTENT_TYPE, "application/json");
                let response = request.body(body).send().await;
                let response = response.map_err(|error| anyhow!(error_chain(&error)))?;
                let status = response.status();
                let body = response.bytes().await?;
                if !status.is_success() {
                    bail!("{status}: {}", error_body::parse(&body));
                }
                score_of(&body)
            }
        }
    }
}

/// The first score of a MultiResponse.
fn score_of(response: &[u8]) -> anyhow::Result<f64> {
    let rows = parse_multi_response(response)?;
    let row = rows.into_iter().next();
    row.context("the response holds no score")?
        .map_err(anyhow::Error::msg)
}
