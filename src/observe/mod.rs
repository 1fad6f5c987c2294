//! What an operator sees of the service: log, metrics, timings.

pub mod log;
pub(crate) mod metrics;
pub(crate) mod timing;
