//! The path of a request, written once for all protocols: admit → deadline → transform → record →
//! rows.

pub mod statistics;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use http::HeaderMap;

use crate::admission::{Admission, ByteReservation};
use crate::context::RequestContext;
use crate::engine::statistics::{Snapshot, Statistics};
use crate::error::{Error, Kind};
use crate::observe::metrics::Metrics;
use crate::observe::timing::{Deadline, Timings};
use crate::pixel::JPEG_DECODER;
use crate::predictor::{Readiness, Signature};
use crate::transformer::batch::{ImageErrors, Model, PixelThreads};
use crate::transformer::{Input, Row};

/// How often a command that waits for the predictor looks again.
const READY_POLL: Duration = Duration::from_millis(20);

/// A request in the one form that all protocols are converted to.
#[derive(Debug)]
pub struct Request {
    /// The model's public name (`--model_name`).
    pub model: String,
    /// Images, or the tensor made from them.
    pub input: Input,
    /// The request's id, which goes on to the predictor.
    pub id: String,
    /// Headers that go on to the predictor.
    pub headers: HeaderMap,
    /// The caller's own deadline, if it named one.
    pub timeout: Option<Duration>,
    /// What becomes of images that cannot be read, if the request says.
    pub image_errors: Option<ImageErrors>,
    /// Where its time goes.
    pub timings: Arc<Timings>,
}

/// What the engine holds requests to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `--max_images` per request.
    pub max_images: usize,
    /// `--predictor_request_timeout_seconds`, counted from the request's arrival.
    pub timeout: Duration,
    /// `--image_errors`, where a request does not say.
    pub image_errors: ImageErrors,
}

/// Answers requests for the models it was given.
pub struct Engine {
    models: BTreeMap<String, Model>,
    statistics: BTreeMap<String, Statistics>,
    admission: Admission,
    limits: Limits,
    pixels: Arc<PixelThreads>,
    metrics: Arc<Metrics>,
    draining: AtomicBool,
}

impl Engine {
    /// An engine of these models, by public name.
    pub fn new(
        models: BTreeMap<String, Model>,
        admission: Admission,
        limits: Limits,
        pixels: Arc<PixelThreads>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let statistics = models
            .keys()
            .map(|name| (name.clone(), Statistics::default()));
        Self {
            statistics: statistics.collect(),
            models,
            admission,
            limits,
            pixels,
            metrics,
            draining: AtomicBool::new(false),
        }
    }

    /// Input to rows, one per image and in order.
    ///
    /// # Errors
    ///
    /// Everything that can go wrong, ready to be answered. A panic on the way is caught here.
    pub async fn run(&self, request: Request) -> Result<Vec<Row>, Error> {
        let result = AssertUnwindSafe(self.admit_and_run(&request.model.clone(), request))
            .catch_unwind()
            .await;
        result.unwrap_or_else(|_| {
            Err(Error::internal(
                "the request panicked; the log has the place",
            ))
        })
    }

    async fn admit_and_run(&self, name: &str, request: Request) -> Result<Vec<Row>, Error> {
        let model = self.model(name)?;
        let count = request.input.count();
        if count > self.limits.max_images {
            return Err(Error::new(
                Kind::Invalid,
                format!(
                    "{count} images in one request; at most {} are allowed (--max_images)",
                    self.limits.max_images
                ),
            ));
        }
        let _guest = self.admission.try_admit(count)?;
        let _tensors = match &request.input {
            Input::Images(_) => {
                let row: i64 = model.transformer.signature().input_row.iter().product();
                Some(
                    self.admission
                        .reserve_now(count * row as usize * size_of::<f32>()),
                )
            }
            // It is a part of the body, for which room was taken.
            Input::Tensor(_) => None,
        };
        let timeout = request
            .timeout
            .unwrap_or(self.limits.timeout)
            .min(self.limits.timeout);
        let deadline = Deadline::after(timeout.saturating_sub(request.timings.total()));
        let context = RequestContext {
            priority: None,
            id: request.id,
            model: name.to_owned(),
            timings: request.timings.clone(),
            span: tracing::Span::current(),
            deadline,
            headers: request.headers,
        };
        let image_errors = request.image_errors.unwrap_or(self.limits.image_errors);
        let run = model.run(request.input, image_errors, &context);
        let rows = tokio::time::timeout_at(deadline.instant().into(), run)
            .await
            .map_err(|_| {
                Error::new(
                    Kind::Deadline,
                    format!(
                        "the request was not done within {} ms \
                         (--predictor_request_timeout_seconds, or the caller's own deadline)",
                        timeout.as_millis()
                    ),
                )
            })
            .flatten();
        self.metrics.observe(name, &request.timings);
        if let Some(statistics) = self.statistics.get(name) {
            statistics.record(&request.timings, count, rows.is_ok());
        }
        if let Ok(rows) = &rows {
            let scores = rows.iter().filter(|row| row.is_ok()).count();
            let outcome = |outcome| self.metrics.images.with_label_values(&[name, outcome]);
            outcome("score").inc_by(scores as u64);
            outcome("error").inc_by((rows.len() - scores) as u64);
        }
        rows
    }

    fn model(&self, name: &str) -> Result<&Model, Error> {
        self.models.get(name).ok_or_else(|| {
            let known: Vec<_> = self.models().collect();
            Error::new(
                Kind::NotFound,
                format!("model {name:?} is not here; there is {}", known.join(", ")),
            )
        })
    }

    /// The public names.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.models.keys().map(String::as_str)
    }

    /// The predictor's model and tensors behind a public name.
    ///
    /// # Errors
    ///
    /// When there is no such model.
    pub fn signature(&self, name: &str) -> Result<&Signature, Error> {
        Ok(self.model(name)?.transformer.signature())
    }

    /// What a model did since the start.
    ///
    /// # Errors
    ///
    /// When there is no such model.
    pub fn statistics(&self, name: &str) -> Result<Snapshot, Error> {
        self.model(name)?;
        Ok(self
            .statistics
            .get(name)
            .map(Statistics::snapshot)
            .unwrap_or_default())
    }

    /// Whether a model takes requests.
    ///
    /// # Errors
    ///
    /// When there is no such model.
    pub fn readiness(&self, name: &str) -> Result<Readiness, Error> {
        let model = self.model(name)?;
        if self.draining.load(Ordering::Acquire) {
            return Ok(Readiness::NotReady("shutting down".to_owned()));
        }
        Ok(model.predictor.readiness())
    }

    /// Why some model takes no requests; nothing when all do.
    pub fn not_ready(&self) -> Option<String> {
        self.models().find_map(|name| match self.readiness(name) {
            Ok(Readiness::Ready { .. }) => None,
            Ok(Readiness::NotReady(reason)) => Some(reason),
            Err(error) => Some(error.to_string()),
        })
    }

    /// Waits until all models take requests.
    ///
    /// # Errors
    ///
    /// When they still do not after `patience`; the reason.
    pub async fn wait_ready(&self, patience: Duration) -> Result<(), Error> {
        let end = Instant::now() + patience;
        while let Some(reason) = self.not_ready() {
            if Instant::now() > end {
                return Err(crate::predictor::Error::NotReady(reason).into());
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Ok(())
    }

    /// From now on no model is ready; requests that come all the same are still answered.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// What decodes JPEGs.
    pub fn jpeg_decoder(&self) -> &'static str {
        JPEG_DECODER
    }

    /// Whether [`Self::drain`] was called.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Waits for room for the bytes of a body.
    ///
    /// # Errors
    ///
    /// When there is none within `--queue_timeout_ms`.
    pub async fn reserve(&self, bytes: usize) -> Result<ByteReservation, Error> {
        Ok(self.admission.reserve(bytes).await?)
    }

    /// Images admitted and not yet answered.
    pub fn in_flight(&self) -> usize {
        self.admission.in_flight()
    }

    /// `--max_images`.
    pub fn max_images(&self) -> usize {
        self.limits.max_images
    }

    /// Runs work that lasts longer than half a millisecond on a pixel thread.
    ///
    /// # Errors
    ///
    /// When it panics.
    pub async fn offload<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.pixels.run(|_| work()).await.map_err(Error::from)
    }
}
