//! Each protocol converts its requests to the engine's one form and the rows back to its own
//! answer. Nothing of admission, timing or errors is decided here.

pub mod grpc;
pub mod served;

#[cfg(test)]
pub(crate) mod scripted;
