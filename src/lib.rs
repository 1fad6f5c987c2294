//! A KServe transformer between clients and NVIDIA Triton: face images in, quality scores out.
//!
//! The map: each module with what it uses, the users first, so that every arrow points down.
//! `tests/layers.rs` reads it here and holds the code to it.
//!
//! ```text
//! main → command
//! app → command service settings
//! command → context engine error_chain faces front loadtest observe pixel predictor service settings shutdown transformer transformers wire
//! testing → predictor service settings transformers wire
//! service → admission engine error front item observe oip pixel predictor settings shutdown transformer transformers transport workers
//! transformers → observe predictor quote settings transformer
//! settings → admission engine faces item observe pixel predictor quote transformer transport
//! fuzzing → item recognise wire
//! loadtest → pem procfs wire
//! front → context engine error observe oip predictor quote recognise transformer transport wire
//! oip → context engine error observe predictor quote recognise transformer wire workers
//! engine → admission context error observe predictor transformer
//! faces → error pixel predictor transformer wire
//! transformer → admission context error item observe pixel predictor recognise wire workers
//! error → admission item observe pixel predictor quote transport wire workers
//! transport → admission observe pem reload shutdown wire workers
//! predictor → context error_chain observe pem reload wire workers
//! context → observe
//! admission → observe
//! item → error_chain observe quote recognise
//! observe → procfs
//! recognise
//! quote
//! pem
//! pixel
//! procfs
//! wire
//! workers
//! shutdown
//! error_chain
//! reload
//! ```
//!
//! A request goes `transport` → `front` → (`oip`) → `engine` → `transformer` → `predictor`, and its
//! rows the same way back; docs/ARCHITECTURE.md tells it step by step.

mod admission;
mod app;
pub mod command;
mod context;
mod engine;
mod error;
mod error_chain;
pub mod faces;
mod front;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod item;
#[cfg(feature = "loadtest")]
pub mod loadtest;
mod observe;
mod oip;
mod pem;
pub mod pixel;
pub mod predictor;
mod procfs;
mod quote;
mod recognise;
mod reload;
mod service;
mod settings;
mod shutdown;
pub mod testing;
pub mod transformer;
mod transformers;
mod transport;
pub mod wire;
mod workers;

pub use app::App;
pub use context::RequestContext;
pub use error::{Error, Kind};
pub use item::data_uri;
pub use observe::log;
pub use observe::metrics::Metrics;
pub use observe::reason::{Origin, Reason};
pub use observe::timing::{Deadline, Stage, Timings};
pub use service::{Build, Service};
pub use settings::{ConfigErrors, ServeArgs, Settings};
pub use transformers::{Transformers, remote_settings};
pub use transport::tls;

/// The service's short name: the default name of its model, and what environment variables and
/// metrics begin with.
pub(crate) const NAME: &str = "facequality";

/// How this service names itself to the servers it calls.
pub(crate) const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
