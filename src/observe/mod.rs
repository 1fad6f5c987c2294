//! What the service tells of itself: log, metrics, timings.

pub mod log;
pub mod metrics;
pub mod timing;
