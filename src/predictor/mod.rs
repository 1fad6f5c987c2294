//! Tensors in, tensors out: Triton over gRPC or REST, or a model in the process. What the tensors
//! mean is not known here.

mod address;
mod discovery;
#[cfg(feature = "embedded")]
mod embedded;
mod headers;
mod null;
mod outcome;
mod pool;
mod remote;
mod response;
mod retry;
mod signature;
mod span;
mod triton;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use crate::context::RequestContext;
use crate::observe::metrics::{GaugeGuard, Metrics, PredictorMetrics};
use crate::observe::timing::Stage;
use crate::wire::tensor::{DataType, Tensor};

use outcome::OutcomeGuard;
use span::Call;

pub use address::{Port, Target};
pub use discovery::Resolver;
pub use headers::PredictorHeader;
pub use remote::RemoteSettings;
pub use triton::detect::Protocol;
pub use triton::tls::{ClientCertificate, TlsSettings};

/// A shorter wait for a permit is not what kept a call from its deadline.
const WAIT_WORTH_TELLING: Duration = Duration::from_millis(1);

/// The model that is called and the tensors it must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The predictor's name of the model.
    pub model: String,
    /// Its inputs; each call has all of them.
    pub inputs: Vec<TensorSpec>,
    /// Those of its outputs that are read.
    pub outputs: Vec<TensorSpec>,
}

/// A tensor that a model must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// The datatypes that can be sent or read: the model's must be one of them. The first is taken
    /// where the predictor does not say.
    pub datatypes: Vec<DataType>,
    /// Its shape without the batch axis; -1 is an axis of any size.
    pub row: Vec<i64>,
}

impl TensorSpec {
    /// A tensor of one datatype.
    pub fn new(name: impl Into<String>, datatype: DataType, row: &[i64]) -> Self {
        Self {
            name: name.into(),
            datatypes: vec![datatype],
            row: row.to_vec(),
        }
    }

    /// An FP32 tensor.
    pub fn fp32(name: impl Into<String>, row: &[i64]) -> Self {
        Self::new(name, DataType::Fp32, row)
    }

    /// An input of RGB planes, in whichever of FP32, FP16 and UINT8 the model takes.
    pub fn image(name: impl Into<String>, row: &[i64]) -> Self {
        Self::fp32(name, row).or(DataType::Fp16).or(DataType::Uint8)
    }

    /// The same, which may also be of another datatype.
    #[must_use]
    pub fn or(mut self, datatype: DataType) -> Self {
        self.datatypes.push(datatype);
        self
    }

    /// The elements of a row; nothing when an axis is free.
    pub fn row_elements(&self) -> Option<usize> {
        let mut elements = 1_usize;
        for &size in &self.row {
            elements = elements.checked_mul(usize::try_from(size).ok()?)?;
        }
        Some(elements)
    }

    /// The datatype that is taken where the predictor does not say.
    pub(crate) fn preferred(&self) -> DataType {
        self.datatypes.first().copied().unwrap_or(DataType::Fp32)
    }

    /// Whether rows may have this shape.
    fn fits(&self, row: &[i64]) -> bool {
        let fits = |(&size, &wanted): (&i64, &i64)| wanted == -1 && size >= 0 || size == wanted;
        row.len() == self.row.len() && row.iter().zip(&self.row).all(fits)
    }
}

/// Whether calls can be made: the predictor is reachable and has the model of the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// They can.
    Ready {
        /// Rows in one call at most.
        max_batch: usize,
        /// The inputs' datatypes, in the signature's order.
        inputs: Arc<[DataType]>,
    },
    /// They cannot, for this reason.
    NotReady(String),
}

/// Why a call gave no output.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The predictor does not have the model yet, or not the one that is needed.
    #[error("the predictor is not ready: {0}")]
    NotReady(String),
    /// There is no connection, or it was lost; what the transport said.
    #[error("cannot reach the predictor: {0}")]
    Unreachable(String),
    /// The predictor's own word, such as for a full queue.
    #[error("the predictor is unavailable: {0}")]
    Unavailable(String),
    /// The predictor does not know the caller (401, UNAUTHENTICATED).
    #[error("the predictor wants credentials: {0}")]
    Unauthenticated(String),
    /// The predictor does not let the caller (403, PERMISSION_DENIED).
    #[error("the predictor denied permission: {0}")]
    PermissionDenied(String),
    /// The predictor, or a proxy in front of it, limits the rate of calls (429,
    /// RESOURCE_EXHAUSTED).
    #[error("the predictor is overloaded: {message}")]
    Overloaded {
        /// Its text.
        message: String,
        /// Its `Retry-After` in seconds.
        retry_after: Option<u32>,
    },
    /// The request's time was up before the call could be made.
    #[error(
        "no call to the predictor came free in time (--concurrency bounds those in flight); the time \
         is --predictor_request_timeout_seconds, or the caller's own deadline"
    )]
    NoPermit,
    /// The request's time was up.
    #[error(
        "the predictor did not answer in time (--predictor_request_timeout_seconds, or the caller's \
         own deadline)"
    )]
    Deadline,
    /// The same, after this time had passed until the call could be made.
    #[error(
        "the predictor did not answer in time (--predictor_request_timeout_seconds, or the caller's \
         own deadline), of which {} ms passed until a call to it came free (--concurrency)",
        .0.as_millis()
    )]
    DeadlineAfterWait(Duration),
    /// The predictor responded with an error.
    #[error("the predictor answered {code}: {message}")]
    ErrorResponse {
        /// The status as its protocol names it.
        code: String,
        /// The predictor's text.
        message: String,
    },
    /// The response is not what the signature says.
    #[error("invalid response from the predictor: {0}")]
    InvalidResponse(String),
    /// A defect of this service.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// The value of the metrics' label `outcome`.
    fn outcome(&self) -> &'static str {
        match self {
            Self::NotReady(_) => "not_ready",
            Self::Unreachable(_) => "unreachable",
            Self::Unavailable(_) => "unavailable",
            Self::Unauthenticated(_) => "unauthenticated",
            Self::PermissionDenied(_) => "permission_denied",
            Self::Overloaded { .. } => "overloaded",
            Self::NoPermit => "no_permit",
            Self::Deadline | Self::DeadlineAfterWait(_) => "deadline",
            Self::ErrorResponse { .. } => "error_response",
            Self::InvalidResponse(_) => "invalid_response",
            Self::Internal(_) => "internal",
        }
    }
}

/// How a predictor in the process behaves.
#[derive(Clone, Copy, Debug)]
pub struct LocalSettings {
    /// `--concurrency`: calls in flight at most.
    pub concurrency: usize,
    /// Rows in one call.
    pub max_batch: usize,
}

/// Where an ONNX model is.
#[derive(Clone, Debug)]
pub enum EmbeddedModel {
    /// In a file.
    File(PathBuf),
    /// Compiled in.
    Bytes(&'static [u8]),
}

/// A predictor of one model.
#[derive(Debug)]
pub struct Predictor {
    signature: Signature,
    /// `--concurrency`.
    permits: Semaphore,
    metrics: PredictorMetrics,
    backend: Backend,
}

#[derive(Debug)]
enum Backend {
    Remote(remote::Remote),
    Local {
        runner: Runner,
        readiness: watch::Sender<Readiness>,
    },
}

/// What a scripted model answers: inputs to outputs, both in the signature's order.
#[derive(Clone)]
pub(crate) struct Respond(pub(crate) Arc<RespondFn>);

type RespondFn = dyn Fn(Vec<Tensor>) -> Result<Vec<Tensor>, Error> + Send + Sync;

impl std::fmt::Debug for Respond {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Respond")
    }
}

/// What runs in the process.
#[derive(Debug)]
enum Runner {
    Null,
    Scripted(Respond),
    #[cfg(feature = "embedded")]
    Embedded(embedded::Embedded),
}

impl Predictor {
    /// A predictor behind a network. Starts to connect in tasks on the current tokio runtime, which
    /// end with the predictor; it becomes ready by itself.
    ///
    /// # Errors
    ///
    /// When a certificate file cannot be used.
    pub fn remote(
        settings: &RemoteSettings,
        signature: Signature,
        metrics: &Metrics,
    ) -> Result<Self, String> {
        let metrics = metrics.predictor(&signature.model);
        let remote = remote::Remote::start(settings, signature.clone(), metrics.clone())?;
        Ok(Self {
            signature,
            permits: Semaphore::new(settings.concurrency),
            metrics,
            backend: Backend::Remote(remote),
        })
    }

    /// An ONNX model in the process, on `threads` threads of its own.
    ///
    /// # Errors
    ///
    /// When it cannot be loaded, or has other tensors than the signature.
    #[cfg(feature = "embedded")]
    pub fn embedded(
        model: &EmbeddedModel,
        threads: usize,
        settings: LocalSettings,
        signature: Signature,
        metrics: &Metrics,
    ) -> Result<Self, String> {
        let runner = Runner::Embedded(embedded::Embedded::load(model, &signature, threads)?);
        Ok(Self::local(runner, settings, signature, metrics))
    }

    /// Answers zeros at once: what is left is the cost of everything else.
    pub fn null(settings: LocalSettings, signature: Signature, metrics: &Metrics) -> Self {
        Self::local(Runner::Null, settings, signature, metrics)
    }

    /// Answers by a function.
    pub(crate) fn scripted(
        respond: Respond,
        settings: LocalSettings,
        signature: Signature,
        metrics: &Metrics,
    ) -> Self {
        Self::local(Runner::Scripted(respond), settings, signature, metrics)
    }

    fn local(
        runner: Runner,
        settings: LocalSettings,
        signature: Signature,
        metrics: &Metrics,
    ) -> Self {
        let metrics = metrics.predictor(&signature.model);
        metrics.ready.set(1);
        let ready = Readiness::Ready {
            max_batch: settings.max_batch,
            inputs: signature.inputs.iter().map(TensorSpec::preferred).collect(),
        };
        Self {
            signature,
            permits: Semaphore::new(settings.concurrency),
            metrics,
            backend: Backend::Local {
                runner,
                readiness: watch::Sender::new(ready),
            },
        }
    }

    /// The model that is called.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Whether it can be called now. Costs nothing.
    pub fn readiness(&self) -> Readiness {
        self.readiness_sender().borrow().clone()
    }

    /// The same, as a channel that says when it changes.
    pub fn watch_readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness_sender().subscribe()
    }

    fn readiness_sender(&self) -> &watch::Sender<Readiness> {
        match &self.backend {
            Backend::Remote(remote) => remote.readiness(),
            Backend::Local { readiness, .. } => readiness,
        }
    }

    /// Runs the model on at most `max_batch` rows: inputs and outputs in the signature's order. Waits
    /// for a permit of `--concurrency`. Dropped, it gives the permit back and takes the call back.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn infer(
        &self,
        inputs: Vec<Tensor>,
        context: &RequestContext,
    ) -> Result<Vec<Tensor>, Error> {
        let deadline = context.deadline.instant().into();
        let begin = Instant::now();
        let permit = {
            let _timer = context.timings.stage(Stage::PermitWait);
            let waiting = OutcomeGuard::new(&self.metrics, context.deadline, "no_permit");
            let permit = timeout_at(deadline, self.permits.acquire()).await;
            let permit = permit.map_err(|_| Error::NoPermit)?;
            waiting.disarm();
            permit
        };
        let _permit = permit.map_err(|closed| Error::Internal(closed.to_string()))?;
        let waited = begin.elapsed();
        let _gauge = GaugeGuard::add(&self.metrics.calls_in_flight, 1);
        let rows = inputs.first().map_or(0, Tensor::rows);
        self.metrics.images.observe(rows as f64);
        let begun = Instant::now();
        let run = async {
            match &self.backend {
                Backend::Remote(remote) => remote.infer(&self.signature, inputs, context).await,
                Backend::Local { runner, .. } => {
                    let call = Call {
                        model: &self.signature.model,
                        rows: inputs.first().map_or(0, Tensor::rows),
                        attempt: 1,
                    };
                    let mut outcome =
                        OutcomeGuard::new(&self.metrics, context.deadline, "deadline")
                            .traced(call.local(context));
                    let result = runner.infer(&self.signature, inputs).await;
                    outcome.set(result.as_ref().map_or_else(Error::outcome, |_| "ok"));
                    result
                }
            }
        };
        let result = timeout_at(deadline, run).await;
        if let Ok(Ok(_)) = result {
            let took = begun.elapsed();
            self.metrics.seconds.observe(took.as_secs_f64());
            context.facts.add_call(rows, took);
        }
        match result.unwrap_or(Err(Error::Deadline)) {
            Err(Error::Deadline) if waited >= WAIT_WORTH_TELLING => {
                Err(Error::DeadlineAfterWait(waited))
            }
            result => result,
        }
    }
}

impl Runner {
    async fn infer(
        &self,
        signature: &Signature,
        inputs: Vec<Tensor>,
    ) -> Result<Vec<Tensor>, Error> {
        match self {
            Self::Null => Ok(null::infer(signature, &inputs)),
            Self::Scripted(respond) => respond.0(inputs),
            #[cfg(feature = "embedded")]
            Self::Embedded(model) => model.infer(inputs).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small model: rows of `[3, 2, 2]` to `[1]`.
    pub(super) fn signature() -> Signature {
        Signature {
            model: "m".to_owned(),
            inputs: vec![TensorSpec::fp32("input.1", &[3, 2, 2])],
            outputs: vec![TensorSpec::fp32("1346", &[1])],
        }
    }
}
