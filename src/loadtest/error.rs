//! Why there are no figures.

/// Why a load test did not take place. What fails once it runs is counted, not returned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings cannot be followed.
    #[error("{0}")]
    Usage(String),
    /// There is no connection to the target.
    #[error("cannot reach {url}: {reason} (--url)")]
    Unreachable {
        /// The target's address, as it was given.
        url: String,
        /// The system's words.
        reason: String,
    },
}
