//! A KServe transformer between clients and NVIDIA Triton: face images in, quality scores out.
//!
//! The tree is the diagram; a module uses only what its arrows lead to.
//!
//! ```text
//! main → command → config → cli
//!            │        └────→ (the settings of what stands below)
//!            ├→ front → engine → admission
//!            │             └───→ transformer → item
//!            │                        ├──────→ pixel            (imports nothing of ours)
//!            │                        └──────→ predictor → wire (imports nothing of ours)
//!            └→ loadtest → predictor, wire    front → predictor, wire
//! ```
//!
//! `error`, `timing`, `metrics`, `statistics`, `workers`, `telemetry` and `shutdown` serve all of them.

pub mod admission;
pub mod command;
pub mod context;
pub mod engine;
pub mod error;
pub mod faces;
pub mod front;
pub mod item;
pub mod loadtest;
pub mod observe;
pub mod oip;
pub mod pixel;
pub mod predictor;
pub mod reload;
pub mod service;
pub mod settings;
pub mod shutdown;
pub mod transformer;
pub mod transport;
pub mod wire;
pub mod workers;
