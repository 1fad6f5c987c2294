//! What every request's body is held to, over HTTP and gRPC alike, and how it can fail.

use std::time::Duration;

use crate::admission::{ByteBudget, Refusal};
use crate::workers::{CpuPool, Panicked};

/// The limits of a request's body.
#[derive(Clone, Debug)]
pub struct BodyLimits {
    /// `--max_body_bytes`, of the body as sent and as inflated.
    pub max_bytes: usize,
    /// `--body_read_timeout_seconds`.
    pub read_timeout: Duration,
    /// Where its bytes are reserved before they are read.
    pub budget: ByteBudget,
    /// Where it is inflated.
    pub pool: CpuPool,
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
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

    pub(super) fn too_slow(&self) -> BodyError {
        BodyError::TooSlow {
            seconds: self.read_timeout.as_secs(),
        }
    }
}
