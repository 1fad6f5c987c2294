//! A load test: what a client feels, measured from outside. It drives this service, a Python
//! transformer, or Triton itself over the protocols they share, and knows nothing of how they work.
//!
//! ```text
//! execute → compare, search → run → connection_pool → dispatch → target (HTTP/1.1, gRPC, streams)
//!                              ├──→ schedule          ├──→ workload   what is sent, built once
//!                              └──→ measurement       ├──→ verify     whether the scores are right
//!                                                     └──→ measure    what is kept → show
//! ```
//!
//! In an open loop requests leave on schedule whatever the responses do, and latency counts from
//! the moment that was intended; so a stall of the target is felt by all the requests that fell into
//! it. A closed loop waits for its responses and says that it cannot see such a stall.

mod bodies;
mod compare;
mod connection_pool;
mod dispatch;
mod error;
mod execute;
mod failure;
mod give_up;
mod measure;
mod measurement;
mod protocol;
mod provenance;
mod report;
mod run;
mod schedule;
mod scores;
mod search;
mod settings;
mod show;
mod target;
mod units;
mod verdicts;
mod verify;
mod workload;

pub use crate::procfs::{cpu_time, memory};
pub use compare::median;
pub use error::Error;
pub use execute::execute;
pub use failure::FailureKind;
pub use measure::slo::Slo;
pub use measure::summary::Summary;
pub use protocol::Protocol;
pub use report::Report;
pub use schedule::{Arrival, Rates};
pub use settings::{Endpoint, Load, ModelTensors, Settings, Until};
pub use show::html::html;
pub use show::text::text;
pub use units::parse_duration;
