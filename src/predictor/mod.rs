//! Tensors in, tensors out: Triton over gRPC, or a model in the process. Knows nothing of faces,
//! pictures or JSON.

use http::HeaderMap;

use crate::timing::{Deadline, Timings};
use crate::wire::tensor::Tensor;

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
}

impl Predictor {
    /// The model that is called.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Whether it can be called now. Costs nothing.
    pub fn readiness(&self) -> Readiness {
        Readiness::NotReady("not written".to_owned())
    }

    /// Runs the model on at most `max_batch` rows. Waits for a permit of `--concurrency`.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn infer(
        &self,
        _input: Tensor,
        _call: &Call,
        _timings: &Timings,
    ) -> Result<Tensor, Error> {
        Err(Error::NotReady("not written".to_owned()))
    }
}
