//! Tensors in, tensors out: Triton over gRPC, or a model in the process. Knows nothing of faces,
//! images or JSON.

mod address;
#[cfg(feature = "embedded")]
mod embedded;
mod pool;
mod remote;
mod response;
mod retry;
mod signature;
mod triton;

#[cfg(feature = "embedded")]
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout_at;

use crate::context::RequestContext;
use crate::observe::metrics::{GaugeGuard, Metrics};
use crate::observe::timing::Stage;
use crate::wire::tensor::Tensor;

pub use address::{Resolver, Target};
pub use remote::RemoteSettings;
pub use triton::detect::Protocol;
pub use triton::dial::TlsSettings;

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
    #[error(
        "the predictor did not answer in time (--predictor_request_timeout_seconds, or the caller's \
         own deadline)"
    )]
    Deadline,
    /// It answered an error.
    #[error("the predictor answered {code}: {message}")]
    ErrorResponse {
        /// Its code.
        code: String,
        /// Its text.
        message: String,
    },
    /// It answered something else than its signature says.
    #[error("the predictor's answer is wrong: {0}")]
    InvalidResponse(String),
    /// A defect of this service.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// Its name in metrics.
    fn outcome(&self) -> &'static str {
        match self {
            Self::NotReady(_) => "not_ready",
            Self::Unreachable { .. } => "unreachable",
            Self::Unavailable { .. } => "unavailable",
            Self::Deadline => "deadline",
            Self::ErrorResponse { .. } => "error_response",
            Self::InvalidResponse(_) => "invalid_response",
            Self::Internal(_) => "internal",
        }
    }
}

/// How a predictor in the process behaves.
#[derive(Clone, Debug)]
pub struct LocalSettings {
    /// `--concurrency`: calls in flight at most.
    pub concurrency: usize,
    /// `--max_batch`: rows in one call.
    pub max_batch: usize,
    /// `--delay_ms`: added to each call.
    pub delay: Duration,
}

impl Default for LocalSettings {
    fn default() -> Self {
        Self {
            concurrency: 100,
            max_batch: 32,
            delay: Duration::ZERO,
        }
    }
}

/// A predictor of one model.
#[derive(Debug)]
pub struct Predictor {
    signature: Signature,
    /// `--concurrency`.
    permits: Semaphore,
    metrics: Arc<Metrics>,
    backend: Backend,
}

#[derive(Debug)]
enum Backend {
    Remote(remote::Remote),
    Local(Local),
}

/// Whatever runs in the process.
#[derive(Debug)]
struct Local {
    runner: Runner,
    delay: Duration,
    readiness: watch::Sender<Readiness>,
}

#[derive(Debug)]
enum Runner {
    Null,
    #[cfg(feature = "embedded")]
    Embedded(embedded::Embedded),
}

impl Predictor {
    /// One behind a network. Starts to connect in tasks on the current tokio runtime, which end
    /// with the predictor; it becomes ready by itself.
    ///
    /// # Errors
    ///
    /// When a certificate file cannot be used.
    pub fn remote(
        settings: &RemoteSettings,
        signature: Signature,
        metrics: Arc<Metrics>,
    ) -> Result<Self, String> {
        let remote = remote::Remote::start(settings, signature.clone(), Arc::clone(&metrics))?;
        Ok(Self {
            signature,
            permits: Semaphore::new(settings.concurrency),
            metrics,
            backend: Backend::Remote(remote),
        })
    }

    /// An ONNX model in the process, on `threads` threads of its own: a file's, or the compiled-in
    /// one.
    ///
    /// # Errors
    ///
    /// When it cannot be loaded, or has other tensors than the signature.
    #[cfg(feature = "embedded")]
    pub fn embedded(
        file: Option<&Path>,
        threads: usize,
        settings: &LocalSettings,
        signature: Signature,
        metrics: Arc<Metrics>,
    ) -> Result<Self, String> {
        let runner = embedded::Embedded::load(file, &signature, threads)?;
        Ok(Self::local(
            Runner::Embedded(runner),
            settings,
            signature,
            metrics,
        ))
    }

    /// Answers zeros at once: what is left is the cost of everything else.
    pub fn null(settings: &LocalSettings, signature: Signature, metrics: Arc<Metrics>) -> Self {
        Self::local(Runner::Null, settings, signature, metrics)
    }

    fn local(
        runner: Runner,
        settings: &LocalSettings,
        signature: Signature,
        metrics: Arc<Metrics>,
    ) -> Self {
        metrics.predictor_ready.set(1);
        let max_batch = settings.max_batch;
        Self {
            signature,
            permits: Semaphore::new(settings.concurrency),
            metrics,
            backend: Backend::Local(Local {
                runner,
                delay: settings.delay,
                readiness: watch::Sender::new(Readiness::Ready { max_batch }),
            }),
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

    /// The same, to be told of changes.
    pub fn watch_readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness_sender().subscribe()
    }

    fn readiness_sender(&self) -> &watch::Sender<Readiness> {
        match &self.backend {
            Backend::Remote(remote) => remote.readiness(),
            Backend::Local(local) => &local.readiness,
        }
    }

    /// Runs the model on at most `max_batch` rows. Waits for a permit of `--concurrency`. Dropped,
    /// it gives the permit back and takes the call back.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn infer(&self, input: Tensor, context: &RequestContext) -> Result<Tensor, Error> {
        let run = async {
            let permit = {
                let _clock = context.timings.stage(Stage::Permit);
                self.permits.acquire().await
            };
            let _permit = permit.map_err(|closed| Error::Internal(closed.to_string()))?;
            let _counted = GaugeGuard::add(&self.metrics.calls_in_flight, 1);
            match &self.backend {
                Backend::Remote(remote) => remote.infer(&self.signature, input, context).await,
                Backend::Local(local) => {
                    let result = local.infer(&self.signature, input).await;
                    let outcome = result.as_ref().map_or_else(Error::outcome, |_| "ok");
                    self.metrics.calls.with_label_values(&[outcome]).inc();
                    result
                }
            }
        };
        timeout_at(context.deadline.instant().into(), run)
            .await
            .unwrap_or(Err(Error::Deadline))
    }
}

impl Local {
    async fn infer(&self, signature: &Signature, input: Tensor) -> Result<Tensor, Error> {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        match &self.runner {
            Runner::Null => {
                let values = signature.output_row.iter().product::<i64>() as usize;
                let zeros = Bytes::from(vec![0; input.rows() * values * 4]);
                Ok(Tensor::shared(zeros, input.rows(), &signature.output_row))
            }
            #[cfg(feature = "embedded")]
            Runner::Embedded(model) => model.infer(signature, input).await,
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
            input: "input.1".to_owned(),
            input_row: vec![3, 2, 2],
            output: "1346".to_owned(),
            output_row: vec![1],
        }
    }
}
