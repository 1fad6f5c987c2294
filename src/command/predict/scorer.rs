//! What computes scores for the commands: this process, or a running service.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};

use crate::command::header::{Header, header_map};
use crate::command::product;
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
use crate::wire::v1::response::parse_results;

/// How long a running service may take for one image.
const TIMEOUT: Duration = Duration::from_secs(60);

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
    /// Name of the model: the service's, or facephoto for every face of whole photos
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

    /// Whether the images are whole photos, whose faces are found and scored.
    pub(super) fn finds_faces(&self) -> bool {
        self.model_name == faces::PHOTO_MODEL_NAME
    }

    /// Whether a service or a predictor is named, rather than the embedded model.
    pub fn has_backend(&self) -> bool {
        self.url.is_some() || self.predictor_host.is_some()
    }
}

/// A result as a service writes it: the score of an image, or of a face with its place in a photo.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Found {
    pub(super) score: f64,
    #[serde(flatten)]
    pub(super) place: Option<Place>,
}

/// Where a face is in its photo, in pixels.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Place {
    /// Left, top, width and height.
    #[serde(rename = "box")]
    pub(super) rect: [f32; 4],
    /// Eyes, nose, corners of the mouth.
    pub(super) landmarks: [[f32; 2]; 5],
    /// How certain the detector is.
    pub(super) detection: f32,
}

/// What computes the scores.
pub(in crate::command) enum Scorer {
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
    pub(in crate::command) async fn new(args: &Scoring) -> anyhow::Result<Self> {
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
        if args.finds_faces() {
            flags.push("--enable_facephoto=true".to_owned());
        } else {
            flags.push(format!("--model_name={}", args.model_name));
        }
        flags.extend(
            args.predictor_host
                .iter()
                .map(|host| format!("--predictor_host={host}")),
        );
        let settings = Settings::new(&ServeArgs::from_flags(&flags)?)?;
        let metrics = service::metrics(&settings);
        let engine = service::engine(&settings, product::transformers, &metrics)?;
        service::wait_ready(&*engine, TIMEOUT).await?;
        Ok(Self::InProcess {
            engine,
            model: args.model_name.clone(),
        })
    }

    /// The score of an image file.
    pub(in crate::command) async fn score(&self, file: PathBuf) -> anyhow::Result<f64> {
        let image = Bytes::from(tokio::fs::read(file).await?);
        only(self.results(image).await?)
    }

    /// What the model says of an image: its score, or its faces.
    pub(super) async fn results(&self, image: Bytes) -> anyhow::Result<Vec<Found>> {
        match self {
            Self::InProcess { engine, model } => {
                let mut context = RequestContext::new(String::new(), Deadline::after(TIMEOUT));
                context.model.clone_from(model);
                let input = Input::Images(vec![Image::Encoded(image)]);
                let rows = engine.run(input, None, &context).await?;
                read(&front::multi_response(&*rows, engine.source(model)?)?)
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
                read(&body)
            }
        }
    }
}

/// The results of the one image of a MultiResponse.
fn read(response: &[u8]) -> anyhow::Result<Vec<Found>> {
    let rows = parse_results(response)?;
    let row = rows.into_iter().next();
    row.context("the response holds no result")?
        .map_err(anyhow::Error::msg)
}

/// The score of an image that has one.
pub(super) fn only(results: Vec<Found>) -> anyhow::Result<f64> {
    match results.as_slice() {
        [only] => Ok(only.score),
        results => bail!("expected one score for each image, found {}", results.len()),
    }
}
