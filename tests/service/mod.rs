//! What a client sees: the real service in front of a scripted Triton that speaks the real
//! protocol.

mod bad_input;
mod crop;
mod drain;
mod errors;
mod heads;
mod items;
mod load;
mod memory;
mod metrics;
#[cfg(feature = "embedded")]
mod openapi;
#[cfg(feature = "embedded")]
mod photo;
mod protocols;
mod tls;
#[cfg(all(feature = "embedded", feature = "otlp"))]
mod traces;
mod ui;
mod v1;
