//! What every request's body is held to, over HTTP and gRPC alike, and how it can fail.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::compression::Encoding;
use crate::admission::{ByteBudget, ByteReservation, Refusal};
use crate::observe::timing::{Stage, Timings};
use crate::workers::{CpuPool, Panicked};

/// Smaller bodies are not counted in the budget: so probes and health checks never wait for large
/// ones. What they hold is in the sum of docs/OPERATIONS.md.
pub(super) const SMALL_BODY_BYTES: usize = 64 * 1024;

/// The limits of a request's body.
#[derive(Clone, Debug)]
pub(crate) struct BodyLimits {
    /// `--max_body_bytes`, of the body as sent and as inflated.
    pub max_bytes: usize,
    /// `--body_read_timeout_seconds`.
    pub read_timeout: Duration,
    /// `--idle_timeout_seconds`: how long a stream without a deadline may go without a message.
    pub stream_idle_timeout: Duration,
    /// Where its bytes are reserved before they are read.
    pub budget: ByteBudget,
    /// Where it is inflated.
    pub pool: CpuPool,
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// It has more bytes than are allowed.
    #[error("the {what} has {bytes} bytes or more; at most {limit} are allowed (--max_body_bytes)")]
    TooLarge {
        /// The body, or the body when inflated.
        what: &'static str,
        /// How many are known of.
        bytes: usize,
        /// `--max_body_bytes`.
        limit: usize,
    },
    /// It did not arrive in time.
    #[error("the body did not arrive within {seconds} s (--body_read_timeout_seconds)")]
    TooSlow {
        /// `--body_read_timeout_seconds`.
        seconds: u64,
    },
    /// A stream went without a message for too long.
    #[error("no message came within {seconds} s (--idle_timeout_seconds); open the stream again")]
    IdleStream {
        /// `--idle_timeout_seconds`.
        seconds: u64,
    },
    /// The request's deadline passed before it was complete.
    #[error(
        "the request did not arrive before its deadline (--predictor_request_timeout_seconds, or the caller's own)"
    )]
    DeadlinePassed,
    /// It ended too early, or its connection failed.
    #[error("the body was cut short: {0}")]
    CutShort(String),
    /// It is not what its content-encoding says.
    #[error("the body cannot be inflated: it is not {encoding}, or damaged")]
    Damaged {
        /// The encoding's name.
        encoding: &'static str,
    },
    /// Its content-encoding is unknown.
    #[error("unknown content-encoding; expected gzip or deflate, or a body without one")]
    UnsupportedEncoding,
    /// There was no memory for it in time.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A defect of this service.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl BodyLimits {
    /// Refuses a body of `bytes` bytes if that is too many.
    pub(super) fn check_length(&self, bytes: usize) -> Result<(), BodyError> {
        if bytes <= self.max_bytes {
            return Ok(());
        }
        Err(BodyError::TooLarge {
            what: "body",
            bytes,
            limit: self.max_bytes,
        })
    }

    /// Waits for the bytes of a body that is about to be read; a small one needs none.
    pub(super) async fn reserve(
        &self,
        bytes: usize,
        deadline: Option<Instant>,
        timings: &Timings,
    ) -> Result<Option<ByteReservation>, BodyError> {
        if bytes <= SMALL_BODY_BYTES {
            return Ok(None);
        }
        let _timer = timings.stage(Stage::ByteWait);
        let reserved = self.in_time(deadline, None, self.budget.reserve(bytes));
        Ok(Some(reserved.await??))
    }

    /// Waits for what a peer sends: until the request's deadline, and until `read_by` where bytes
    /// are held meanwhile.
    pub(super) async fn in_time<T>(
        &self,
        deadline: Option<Instant>,
        read_by: Option<Instant>,
        future: impl Future<Output = T>,
    ) -> Result<T, BodyError> {
        let Some(until) = deadline.into_iter().chain(read_by).min() else {
            return Ok(future.await);
        };
        timeout_at(until, future).await.map_err(|_| {
            if deadline == Some(until) {
                BodyError::DeadlinePassed
            } else {
                BodyError::TooSlow {
                    seconds: self.read_timeout.as_secs(),
                }
            }
        })
    }

    /// Inflates a body away from the threads that serve connections. What comes out is counted
    /// before it leaves the thread: were it waited for, bodies that hold bytes would wait for each
    /// other.
    pub(super) async fn inflate(
        &self,
        body: Bytes,
        encoding: Encoding,
        head: Vec<u8>,
    ) -> Result<Inflated, BodyError> {
        let (budget, max_bytes) = (self.budget.clone(), self.max_bytes);
        let inflate = move || {
            let mut bytes = head;
            encoding.inflate_into(&body, max_bytes, &mut bytes)?;
            let reserved = if bytes.len() <= SMALL_BODY_BYTES {
                None
            } else {
                Some(budget.try_reserve(bytes.len())?)
            };
            Ok(Inflated { bytes, reserved })
        };
        self.pool.offload(inflate).await?
    }
}

/// An inflated body and its bytes of the budget.
pub(super) struct Inflated {
    pub(super) bytes: Vec<u8>,
    pub(super) reserved: Option<ByteReservation>,
}
