//! The integration tests in one binary, so that they link once. Arithmetic and parsing are tested
//! beside the code; here is what others see.
//!
//! Apart stand `tests/hostile` (it watches the memory of its own process), `tests/parity.rs` (CI runs it
//! a second time, on images of a new seed) and `tests/clients` (the real Triton and the real clients).

// Helpers of tests fail by panicking, as tests do.
#![allow(clippy::panic, clippy::unwrap_used)]

// What tests start: the service, a scripted Triton that speaks both of its protocols, and a client.
mod world;

// What a client sees: status, body and headers of the real service in front of the scripted Triton.
mod service;

// The predictor alone against the scripted Triton: calls, faults, addresses, TLS.
mod predictor;

// The load test against targets whose behaviour is known by construction.
#[cfg(feature = "loadtest")]
mod loadtest;

// The binary's command line: flags, environment, exit codes.
mod commands;

// The delivery form: fields, values and their sources.
mod delivery;

// The log's writer, when nobody reads what it writes.
mod log;

// Nothing that was sent appears in a log or an answer, at any level.
mod privacy;

// The map in src/lib.rs against the code.
mod layers;
