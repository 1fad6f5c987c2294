//! What an operator sees of the service: log, metrics, timings, traces.

pub(crate) mod endpoint;
pub(crate) mod facts;
pub mod log;
pub(crate) mod metrics;
pub(crate) mod observer;
#[cfg(feature = "otlp")]
pub(crate) mod otlp;
pub(crate) mod reason;
pub(crate) mod sampler;
pub(crate) mod spans;
pub(crate) mod statistics;
pub(crate) mod timing;
pub(crate) mod trace;
