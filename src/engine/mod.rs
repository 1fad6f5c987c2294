//! The path of a request, written once for all protocols: admit → begin in time → transform → record
//! → rows.

mod models;
mod queue;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use schemars::SchemaGenerator;
use tokio::time::timeout_at;

use self::models::{Entry, Models};
use self::queue::Queue;
use crate::admission::{Admission, ByteBudget};
use crate::context::RequestContext;
use crate::error::{Error, Kind};
use crate::observe::metrics::{Metrics, ModelMetrics};
use crate::observe::timing::{Deadline, Stage};
use crate::predictor::Readiness;
use crate::transformer::{
    AnyRows, AnyTransformer, Column, Cx, ImageErrors, Input, Model, Resources, ResponseSchemas,
};

/// What requests are held to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `--max_images` per request.
    pub max_images: usize,
    /// `--predictor_request_timeout_seconds`, counted from the request's first byte: the deadline
    /// that is set where a request arrives.
    pub timeout: Duration,
    /// `--image_errors`, where a request does not say.
    pub image_errors: ImageErrors,
    /// `--concurrency`: calls in flight that each predictor takes.
    pub concurrency: usize,
    /// `--pixel_threads`.
    pub pixel_threads: usize,
}

/// What a public model takes and gives.
pub(crate) struct ModelForm<'a> {
    /// Whether it takes images.
    pub(crate) images: bool,
    /// Whether it is a predictor's model as it is.
    pub(crate) passthrough: bool,
    /// The model whose inputs it takes, too or instead.
    pub(crate) tensors: Option<&'a Model>,
    /// Its outputs over V2 and gRPC.
    pub(crate) columns: Vec<Column>,
}

/// Runs requests for the models it was given.
pub(crate) struct Engine {
    models: Models,
    resources: Resources,
    admission: Admission,
    limits: Limits,
    draining: AtomicBool,
}

impl Limits {
    /// Calls of a model whose requests are in work: those in flight, and enough behind them that a
    /// permit which comes free is taken at once.
    fn slots(&self) -> usize {
        let prepared = (2 * self.pixel_threads).max(self.concurrency / 8);
        self.concurrency.saturating_add(prepared)
    }
}

impl Engine {
    /// An engine of these transformers, by public name.
    pub(crate) fn new(
        transformers: BTreeMap<String, Arc<dyn AnyTransformer>>,
        resources: Resources,
        admission: Admission,
        limits: Limits,
        metrics: &Metrics,
    ) -> Self {
        let queue = || Queue::new(limits.slots(), admission.queue_timeout());
        let models = Models::new(transformers, queue, metrics);
        let queues = models.queues();
        metrics.scraped(
            "queue_waiting",
            "calls that wait to begin, in front of each model",
            move || {
                let sample = |(name, queue): &(String, Arc<Queue>)| {
                    let labels = vec![("model_name", name.clone())];
                    (labels, queue.waiting() as f64)
                };
                queues.iter().map(sample).collect()
            },
        );
        Self {
            models,
            resources,
            admission,
            limits,
            draining: AtomicBool::new(false),
        }
    }

    /// Input to rows, one per image and in order. `image_errors` is what the request says, if it
    /// does.
    ///
    /// # Errors
    ///
    /// Everything that can go wrong, ready to be sent. A panic on the way is caught here.
    pub(crate) async fn run(
        &self,
        input: Input,
        image_errors: Option<ImageErrors>,
        context: &RequestContext,
    ) -> Result<Box<dyn AnyRows>, Error> {
        AssertUnwindSafe(self.admit_and_run(input, image_errors, context))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| {
                Err(Error::internal(
                    "the request panicked; the log has the place",
                ))
            })
    }

    async fn admit_and_run(
        &self,
        input: Input,
        image_errors: Option<ImageErrors>,
        context: &RequestContext,
    ) -> Result<Box<dyn AnyRows>, Error> {
        let entry = self.models.get(&context.model)?;
        context.facts.set_model(&entry.metrics);
        entry.check_input(&context.model, &input)?;
        let count = input.count();
        context.facts.set_images(count);
        if count > self.limits.max_images {
            return Err(Error::new(
                Kind::Invalid,
                format!(
                    "{count} images in one request; at most {} are allowed (--max_images)",
                    self.limits.max_images
                ),
            ));
        }
        if let Some(span) = &context.request_span {
            span.set("inference.model", context.model.clone());
            span.set("inference.images", i64::try_from(count).unwrap_or(i64::MAX));
        }
        entry.queue.check(context.deadline)?;
        let expected = entry.queue.expected_wait();
        let _permit = self.admission.try_admit(count, expected)?;
        let _in_work = {
            let _timer = context.timings.stage(Stage::QueueWait);
            let begin = entry.queue.begin(entry.calls(count));
            timeout_at(context.deadline.instant().into(), begin)
                .await
                .map_err(|_| too_late())??
        };
        let image_errors = image_errors.unwrap_or(self.limits.image_errors);
        let several_models = entry.models.len() > 1;
        let cx = Cx::new(&self.resources, context, image_errors).naming_models(several_models);
        let rows = entry.transformer.run(input, &cx).await;
        let rows = rows.and_then(|rows| complete(rows, count, image_errors));
        if let Ok(rows) = &rows {
            let failed = (0..count).filter(|&index| rows.error(index).is_some());
            let failed = failed.count();
            entry.metrics.scores.inc_by((count - failed) as u64);
            entry.metrics.image_errors.inc_by(failed as u64);
        }
        rows
    }

    /// Refuses a request that would not be admitted or could not begin in time, before its body is
    /// read. `model` is its name, where that is known from its head; where only the message tells, a
    /// request is refused that no model would take.
    ///
    /// # Errors
    ///
    /// When the model is unknown, the queue is full, or the wait is expected to be too long.
    pub(crate) fn check_load(&self, model: Option<&str>, deadline: Deadline) -> Result<(), Error> {
        let check = |entry: &Entry| {
            entry.queue.check(deadline)?;
            Ok(self.admission.check(entry.queue.expected_wait())?)
        };
        if let Some(name) = model {
            return check(self.models.get(name)?);
        }
        let mut refusal = Ok(());
        for entry in self.models.entries() {
            refusal = check(entry);
            if refusal.is_ok() {
                break;
            }
        }
        refusal
    }

    /// The public names.
    pub(crate) fn models(&self) -> impl Iterator<Item = &str> {
        self.models.names()
    }

    /// The public names of models that take images.
    pub(crate) fn image_models(&self) -> impl Iterator<Item = &str> {
        self.models.image_models()
    }

    /// What a model takes and gives.
    ///
    /// # Errors
    ///
    /// When the model is unknown.
    pub(crate) fn form(&self, name: &str) -> Result<ModelForm<'_>, Error> {
        let entry = self.models.get(name)?;
        Ok(ModelForm {
            images: !entry.tensors,
            passthrough: !entry.transformer.takes_images(),
            tensors: entry.tensor_input(),
            columns: entry.transformer.columns(),
        })
    }

    /// The schemas of a model's V1 responses; none where it takes no images.
    ///
    /// # Errors
    ///
    /// When the model is unknown.
    pub(crate) fn schemas(
        &self,
        name: &str,
        generator: &mut SchemaGenerator,
    ) -> Result<Option<ResponseSchemas>, Error> {
        Ok(self.models.get(name)?.transformer.schemas(generator))
    }

    /// What `extra_info.source` of a model's V1 responses says.
    ///
    /// # Errors
    ///
    /// When the model is unknown.
    pub(crate) fn source(&self, name: &str) -> Result<&'static str, Error> {
        Ok(self.models.get(name)?.transformer.source())
    }

    /// Where a model's predictions are counted.
    ///
    /// # Errors
    ///
    /// When the model is unknown.
    pub(crate) fn metrics(&self, name: &str) -> Result<&Arc<ModelMetrics>, Error> {
        Ok(&self.models.get(name)?.metrics)
    }

    /// Whether a model takes requests.
    ///
    /// # Errors
    ///
    /// When the model is unknown.
    pub(crate) fn readiness(&self, name: &str) -> Result<Readiness, Error> {
        let entry = self.models.get(name)?;
        if self.draining() {
            return Ok(Readiness::NotReady("shutting down".to_owned()));
        }
        Ok(entry.readiness())
    }

    /// From now on no model is ready; requests that come all the same still run.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether [`Self::drain`] was called.
    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// The bytes of all requests in flight.
    pub(crate) fn byte_budget(&self) -> &ByteBudget {
        self.admission.bytes()
    }

    /// Images admitted, whose request has no response yet.
    pub(crate) fn in_flight(&self) -> usize {
        self.admission.in_flight()
    }

    /// `--max_images`.
    pub(crate) fn max_images(&self) -> usize {
        self.limits.max_images
    }
}

/// One row for each image; all of them sound, if a failed one fails the request.
fn complete(
    rows: Box<dyn AnyRows>,
    count: usize,
    image_errors: ImageErrors,
) -> Result<Box<dyn AnyRows>, Error> {
    if rows.len() != count {
        let found = rows.len();
        let text = format!("the transformer gave {found} rows for {count} images");
        return Err(Error::internal(text));
    }
    if image_errors == ImageErrors::Fail {
        let failed = (0..count).find_map(|index| Some((index, rows.error(index)?.clone())));
        if let Some((index, error)) = failed {
            return Err(error.with_image(index));
        }
    }
    Ok(rows)
}

/// The request's time was up before it could begin.
fn too_late() -> Error {
    Error::new(
        Kind::Deadline,
        "the request waited behind others until its time was up \
         (--predictor_request_timeout_seconds, or the caller's own deadline)",
    )
}
