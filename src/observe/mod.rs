//! What an operator sees of the service: log, metrics, timings.

pub mod log;
pub mod metrics;
pub mod timing;
