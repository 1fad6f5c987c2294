//! What the flags mean: validated settings, each part as its module takes it.

mod args;
mod durations;
mod effective;
mod kserve;
mod models;
mod sources;
mod traces;
mod validate;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::faces::PhotoOptions;
use crate::observe::log::LogFormat;
use crate::observe::spans::TraceSettings;
use crate::predictor::{ClientCertificate, PredictorHeader, Protocol, Target};
use crate::transport::HeaderPattern;
use crate::transport::tls::TlsFiles;
use crate::{admission, engine, item, pixel};

pub use args::ServeArgs;
pub(crate) use kserve::Ignored;
pub(crate) use sources::Source;

pub(crate) use effective::display_targets;
pub(crate) use sources::{Sources, name_variable, read_environment, variable};

/// All that `serve` runs with.
#[derive(Debug)]
pub struct Settings {
    /// What the names of metrics begin with.
    pub name: &'static str,
    /// The ports and the limits of their connections.
    pub front: FrontSettings,
    /// The model's name in requests.
    pub model_name: String,
    /// The model server, or the models in this process.
    pub predictor: PredictorSettings,
    /// The model that takes whole photos, where it is served.
    pub photo: PhotoSettings,
    /// The limits of a single request.
    pub engine: engine::Limits,
    /// The limits of all requests together.
    pub admission: admission::Limits,
    /// How images are decoded.
    pub pixel: pixel::Options,
    /// Pixels of all images of one request.
    pub max_request_pixels: u64,
    /// Pixels of the images of all requests that are decoded or wait for it.
    pub max_pixels_in_flight: u64,
    /// Threads that decode and resize.
    pub pixel_threads: usize,
    /// Where items may come from.
    pub item: item::Settings,
    /// What is logged, and how.
    pub log: LogSettings,
    /// Where traces go.
    pub traces: TraceSettings,
    /// What was given but has no effect.
    pub without_effect: Vec<Ignored>,
    /// Where each value comes from.
    pub(crate) sources: Sources,
}

/// The ports and the limits of their connections.
#[derive(Debug)]
pub struct FrontSettings {
    /// Address for REST and gRPC.
    pub http: SocketAddr,
    /// Address for gRPC only, unless `--enable_grpc false`.
    pub grpc: Option<SocketAddr>,
    /// Whether the page at `/ui` is served.
    pub ui: bool,
    /// TLS on both ports, if wanted.
    pub tls: Option<TlsFiles>,
    /// Age at which connections are closed.
    pub max_connection_age: Option<Duration>,
    /// Headers to forward to the predictor.
    pub forward_headers: Vec<HeaderPattern>,
    /// Origins whose web pages may read responses.
    pub cors_allow_origin: Vec<http::HeaderValue>,
    /// Time limit for a request's head.
    pub header_read_timeout: Duration,
    /// Time limit for a request's body.
    pub body_read_timeout: Duration,
    /// How long a connection may have no request.
    pub idle_timeout: Duration,
    /// Open connections at most.
    pub max_connections: usize,
    /// Bytes of one request's head.
    pub max_header_bytes: usize,
    /// Bytes of one body.
    pub max_body_bytes: usize,
    /// How long after SIGTERM new requests are still accepted.
    pub drain_notice: Duration,
    /// When after SIGTERM the process ends, whatever still runs.
    pub grace: Duration,
}

/// The model server, or the model in this process.
#[derive(Debug)]
pub struct PredictorSettings {
    /// Its addresses; none: the model runs in this process.
    pub targets: Vec<Target>,
    /// The protocol to call it with.
    pub protocol: Protocol,
    /// Whether to use TLS.
    pub tls: bool,
    /// Certificate authorities besides the system's.
    pub ca_file: Option<PathBuf>,
    /// What a predictor is shown that asks for a certificate.
    pub client: Option<ClientCertificate>,
    /// Headers that go with every call.
    pub headers: Vec<PredictorHeader>,
    /// The model's name there.
    pub model: String,
    /// The name of its input.
    pub input: String,
    /// The name of its output.
    pub output: String,
    /// Images per call, if it does not report a maximum.
    pub max_batch: usize,
    /// Calls in flight at most.
    pub concurrency: usize,
    /// Connections to each address.
    pub connections: usize,
    /// How often `dns:///` names are looked up again.
    pub dns_refresh: Duration,
    /// Where models are that are not at `targets`.
    pub model_hosts: Vec<ModelHost>,
    /// The ONNX file, unless it is the embedded one.
    pub embedded_model: Option<PathBuf>,
}

/// Where the predictor of one model is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelHost {
    /// The predictor's name of it.
    pub model: String,
    /// Its addresses; none for the model that is compiled in.
    pub targets: Vec<Target>,
}

/// The model that takes whole photos.
#[derive(Clone, Debug)]
pub struct PhotoSettings {
    /// Whether it is served.
    pub enabled: bool,
    /// The predictor's name of the face detector.
    pub detector: String,
    /// How faces are found and cut out.
    pub options: PhotoOptions,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// A level or a tracing filter.
    pub filter: String,
    /// The form of a line.
    pub format: LogFormat,
    /// Whether each prediction gets a line.
    pub predictions: bool,
    /// Whether callers may change the level.
    pub settable: bool,
}

impl PredictorSettings {
    /// The addresses of a model; none where the one that is compiled in is used.
    pub fn targets_of(&self, model: &str) -> &[Target] {
        let host = self.model_hosts.iter().find(|host| host.model == model);
        host.map_or(&self.targets, |host| &host.targets)
    }
}

/// Everything that is wrong with the settings, a line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(Vec<String>);

impl ConfigErrors {
    /// A single problem, such as a file that a flag names and that cannot be used.
    pub fn from_one(problem: impl std::fmt::Display) -> Self {
        Self(vec![problem.to_string()])
    }
}
