//! The fuzz targets, each written once: [`targets`] for `cargo fuzz` and for the harness in `main.rs`,
//! which needs neither a nightly compiler nor libFuzzer.

// A target tells what it found by a panic.
#![allow(clippy::missing_panics_doc)]

#[path = "../../tests/parity/generator/mod.rs"]
#[allow(dead_code, unreachable_pub)]
pub(crate) mod generator;
#[cfg(feature = "oracle")]
#[path = "../../tests/parity/oracle/libjpeg.rs"]
mod libjpeg;
pub mod mutate;
pub mod png;
pub mod seeds;
pub mod targets;
