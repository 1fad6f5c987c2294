//! A predictor without a transformer, served as Triton serves the model: its own tensor names,
//! `max_batch_size`, raw answers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Context, InferenceService, ModelDescription, TensorSpec};
use crate::admission::ByteReservation;
use crate::context::RequestContext;
use crate::engine::statistics::{Snapshot, Statistics};
use crate::error::{Error, Kind};
use crate::observe::timing::{Deadline, Stage};
use crate::predictor::{Predictor, Readiness};
use crate::transformer::Input;
use crate::workers::Workers;

/// The time of a call whose caller named no deadline. Triton has none; this one only keeps a lost
/// call from staying for ever.
const NO_DEADLINE: Duration = Duration::from_secs(3600);

/// Jobs that may wait for the thread beside the connections.
const ASIDE_QUEUE: usize = 64;

/// A predictor as a server of one model.
#[derive(Debug)]
pub struct Passthrough {
    predictor: Arc<Predictor>,
    max_batch: usize,
    delay: Duration,
    statistics: Statistics,
    aside: Workers<()>,
}

impl Passthrough {
    /// Serves this predictor under the model name of its signature.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn new(predictor: Arc<Predictor>) -> std::io::Result<Self> {
        Ok(Self {
            predictor,
            max_batch: usize::MAX,
            delay: Duration::ZERO,
            statistics: Statistics::default(),
            aside: Workers::start("aside", 1, ASIDE_QUEUE, || ())?,
        })
    }

    /// The same with a smaller max_batch_size than the predictor's.
    pub fn with_max_batch(self, max_batch: usize) -> Self {
        Self { max_batch, ..self }
    }

    /// The same with calls that take longer.
    pub fn with_delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    fn known(&self, model: &str) -> Result<(), Error> {
        let name = &self.predictor.signature().model;
        if name == model {
            return Ok(());
        }
        Err(Error::new(
            Kind::NotFound,
            format!("model {model:?} is not here; there is {name}"),
        ))
    }
}

#[async_trait]
impl InferenceService for Passthrough {
    fn names(&self) -> Vec<String> {
        vec![self.predictor.signature().model.clone()]
    }

    fn describe(&self, model: &str) -> Result<ModelDescription, Error> {
        self.known(model)?;
        let signature = self.predictor.signature();
        Ok(ModelDescription {
            name: signature.model.clone(),
            platform: "onnxruntime_onnx",
            max_batch: match self.predictor.readiness() {
                Readiness::Ready { max_batch } => max_batch.min(self.max_batch).max(1),
                Readiness::NotReady(_) => 1,
            },
            images: None,
            max_images: 0,
            input: TensorSpec {
                name: signature.input.clone(),
                row: signature.input_row.clone(),
            },
            output: TensorSpec {
                name: signature.output.clone(),
                row: signature.output_row.clone(),
            },
            alias: None,
            always_raw: true,
        })
    }

    fn readiness(&self, model: &str) -> Result<Readiness, Error> {
        self.known(model)?;
        Ok(self.predictor.readiness())
    }

    fn statistics(&self, model: &str) -> Result<Snapshot, Error> {
        self.known(model)?;
        Ok(self.statistics.snapshot())
    }

    async fn run(
        &self,
        _model: &str,
        input: Input,
        id: String,
        context: Context,
    ) -> Result<Bytes, Error> {
        let Input::Tensor(tensor) = input else {
            return Err(Error::internal("images for a predictor"));
        };
        let rows = tensor.rows();
        let timings = &context.timings;
        let timeout = context.timeout.unwrap_or(NO_DEADLINE).min(NO_DEADLINE);
        let call = RequestContext {
            priority: None,
            id,
            model: String::new(),
            timings: context.timings.clone(),
            span: tracing::Span::current(),
            deadline: Deadline::after(timeout.saturating_sub(timings.total())),
            headers: context.headers,
        };
        let result = {
            let _clock = timings.stage(Stage::Predict);
            let infer = async {
                if !self.delay.is_zero() {
                    tokio::time::sleep(self.delay).await;
                }
                self.predictor.infer(tensor, &call).await
            };
            tokio::time::timeout_at(call.deadline.instant().into(), infer).await
        };
        let result = match result {
            Ok(result) => result.map_err(Error::from),
            Err(_) => Err(Error::new(
                Kind::Deadline,
                format!("the request was not done within {} ms", timeout.as_millis()),
            )),
        };
        self.statistics.record(timings, rows, result.is_ok());
        Ok(result?.into_data())
    }

    async fn reserve(&self, _bytes: usize) -> Result<Option<ByteReservation>, Error> {
        Ok(None)
    }

    async fn run_aside(&self, work: Box<dyn FnOnce() + Send>) -> Result<(), Error> {
        self.aside.run(|()| work()).await.map_err(Error::from)
    }
}
