//! Tensors in, tensors out: Triton over gRPC, or a model in the process. Knows nothing of faces,
//! pictures or JSON.

mod connect;
mod contract;
#[cfg(feature = "embedded")]
pub mod embedded;
mod grpc;
mod link;
mod pool;
mod remote;
mod reply;
mod retry;
mod target;

#[cfg(feature = "embedded")]
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::sync::Semaphore;

use self::remote::Remote;
pub use self::remote::RemoteSettings;
pub use self::target::{Resolver, Target};
use crate::metrics::{Counted, Metrics};
use crate::timing::{Deadline, Stage, Timings};
use crate::wire::tensor::Tensor;

/// How we name ourselves to the predictor.
const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// The model that is called and the tensors it must have.
#[derive(Clone, Debug)]
pub struct Signature {
    /// The predictor's name of the model.
    pub model: String,
    /// Its FP32 input.
    pub input: String,
    /// The input's shape without the batch axis.
    pub input_row: Vec<i64>,
    /// Its FP32 output.
    pub output: String,
    /// The output's shape without the batch axis.
    pub output_row: Vec<i64>,
}

/// What goes with the tensors of one call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The request's id.
    pub id: String,
    /// When the caller stops waiting.
    pub deadline: Deadline,
    /// Headers that go on to the predictor.
    pub headers: HeaderMap,
}

/// Whether the predictor answers and has the model of the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It does.
    Ready {
        /// Rows in one call at most.
        max_batch: usize,
    },
    /// It does not, and why.
    NotReady(String),
}

/// Why a call gave no output.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// It does not fit yet; the reason.
    #[error("the predictor is not ready: {0}")]
    NotReady(String),
    /// No connection, or it was lost.
    #[error("the predictor at {address} cannot be reached: {reason}")]
    Unreachable {
        /// Which.
        address: String,
        /// What the transport said.
        reason: String,
    },
    /// The predictor's own word, such as for a full queue.
    #[error("the predictor at {address} is unavailable: {message}")]
    Unavailable {
        /// Which.
        address: String,
        /// Its text.
        message: String,
    },
    /// The request's time was up.
    #[error("the predictor did not answer in time")]
    Deadline,
    /// It answered an error.
    #[error("the predictor answered {code}: {message}")]
    Answered {
        /// Its code.
        code: String,
        /// Its text.
        message: String,
    },
    /// It answered something else than its signature says.
    #[error("the predictor's answer is wrong: {0}")]
    Nonsense(String),
    /// A defect of this service.
    #[error("internal error: {0}")]
    Bug(String),
}

/// A predictor of one model.
#[derive(Debug)]
pub struct Predictor {
    signature: Signature,
    runs: Runs,
    /// `--concurrency`: calls in flight.
    permits: Semaphore,
    metrics: Arc<Metrics>,
}

/// Who runs the model.
#[derive(Debug)]
enum Runs {
    Remote(Remote),
    #[cfg(feature = "embedded")]
    Embedded(embedded::Embedded),
    Null(Null),
}

/// A predictor that answers zeros.
#[derive(Clone, Copy, Debug)]
pub struct Null {
    /// Rows in one call at most.
    pub max_batch: usize,
    /// How long each call takes.
    pub delay: Duration,
}

impl Predictor {
    /// A predictor reached over the network. Its tasks run on the present tokio runtime until it
    /// is dropped; it is ready when one of them has found that the model fits.
    pub fn remote(settings: RemoteSettings, signature: Signature, metrics: Arc<Metrics>) -> Self {
        let concurrency = settings.concurrency;
        let remote = Remote::start(settings, signature.clone(), Arc::clone(&metrics));
        Self::new(signature, Runs::Remote(remote), concurrency, metrics)
    }

    /// The model in this process: the built-in one, or an ONNX file. It runs on `threads` threads
    /// of its own.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is no model that fits, or there are no threads.
    #[cfg(feature = "embedded")]
    pub fn embedded(
        file: Option<&Path>,
        threads: usize,
        concurrency: usize,
        signature: Signature,
        metrics: Arc<Metrics>,
    ) -> Result<Self, embedded::Error> {
        let embedded = embedded::Embedded::load(file, &signature, threads)?;
        metrics.predictor_ready.set(1);
        Ok(Self::new(
            signature,
            Runs::Embedded(embedded),
            concurrency,
            metrics,
        ))
    }

    /// No model: zeros, to measure everything else.
    pub fn null(
        null: Null,
        concurrency: usize,
        signature: Signature,
        metrics: Arc<Metrics>,
    ) -> Self {
        metrics.predictor_ready.set(1);
        Self::new(signature, Runs::Null(null), concurrency, metrics)
    }

    fn new(signature: Signature, runs: Runs, concurrency: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            signature,
            runs,
            permits: Semaphore::new(concurrency),
            metrics,
        }
    }

    /// The model that is called.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Whether it can be called now. Costs nothing.
    pub fn readiness(&self) -> Readiness {
        match &self.runs {
            Runs::Remote(remote) => remote.readiness(),
            #[cfg(feature = "embedded")]
            Runs::Embedded(_) => Readiness::Ready {
                max_batch: embedded::MAX_BATCH,
            },
            Runs::Null(null) => Readiness::Ready {
                max_batch: null.max_batch,
            },
        }
    }

    /// Runs the model on at most `max_batch` rows. Waits for a permit of `--concurrency`.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn infer(
        &self,
        input: Tensor,
        call: &Call,
        timings: &Timings,
    ) -> Result<Tensor, Error> {
        let end = call.deadline.instant().into();
        let run = async {
            let waiting = timings.stage(Stage::Permit);
            // The semaphore is never closed.
            let _permit = self.permits.acquire().await;
            drop(waiting);
            let _counted = Counted::add(&self.metrics.calls_in_flight, 1);
            match &self.runs {
                Runs::Remote(remote) => remote.infer(input, call).await,
                #[cfg(feature = "embedded")]
                Runs::Embedded(embedded) => embedded.infer(input, &self.signature).await,
                Runs::Null(null) => Ok(null.infer(&input, &self.signature).await),
            }
        };
        let result = tokio::time::timeout_at(end, run)
            .await
            .unwrap_or(Err(Error::Deadline));
        let outcome = result.as_ref().err().map_or("ok", Error::outcome);
        self.metrics.calls.with_label_values(&[outcome]).inc();
        result
    }
}

impl Error {
    /// Its name in metrics.
    fn outcome(&self) -> &'static str {
        match self {
            Self::NotReady(_) => "not_ready",
            Self::Unreachable { .. } => "unreachable",
            Self::Unavailable { .. } => "unavailable",
            Self::Deadline => "deadline",
            Self::Answered { .. } => "answered_error",
            Self::Nonsense(_) => "wrong_answer",
            Self::Bug(_) => "bug",
        }
    }
}

impl Null {
    async fn infer(self, input: &Tensor, signature: &Signature) -> Tensor {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let width = signature.output_row.iter().product::<i64>() as usize;
        let zeros = vec![0; input.rows() * width * size_of::<f32>()];
        Tensor::shared(zeros.into(), input.rows(), &signature.output_row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small model's, for the unit tests of this module's files.
    pub(super) fn signature() -> Signature {
        Signature {
            model: "m".to_owned(),
            input: "input.1".to_owned(),
            input_row: vec![3, 2, 2],
            output: "1346".to_owned(),
            output_row: vec![1],
        }
    }
}
