//! What to load, how, and what must hold. Where it was typed is not known here.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderMap;

use crate::loadtest::measure::slo::Slo;
use crate::loadtest::protocol::Protocol;
use crate::loadtest::schedule::{Arrival, Rates};

/// One load test.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The target, or A of two.
    pub target: Endpoint,
    /// B, which is loaded in turn with A.
    pub compare: Option<Endpoint>,
    /// Turns of each of two targets.
    pub rounds: usize,
    /// Files to be sent.
    pub images: Vec<PathBuf>,
    /// What the model calls its tensors.
    pub tensors: ModelTensors,
    /// Headers of every request beside those that the protocol needs, to both targets.
    pub headers: HeaderMap,
    /// PEM certificates to trust besides the system's, where a URL asks for TLS.
    pub ca_file: Option<PathBuf>,
    /// Images per request.
    pub batch: usize,
    /// How requests follow each other.
    pub load: Load,
    /// The beginning of each run, which is not counted.
    pub warmup: Duration,
    /// Time from the sending of a request to the end of its response, at most.
    pub timeout: Duration,
    /// Requests that can be in flight in an open loop.
    pub max_connections: usize,
    /// A JSON object of expected scores by file name.
    pub golden: Option<PathBuf>,
    /// By how much a score may differ from the expected one, or from the first of its image.
    pub tolerance: f64,
    /// The bounds that a run must hold.
    pub slo: Option<Slo>,
    /// Whether to show progress on standard error: a line that changes, or where that is not a
    /// terminal, a line for each finished run.
    pub progress: bool,
    /// How the load test was called, for the report; without secrets.
    pub command_line: Option<String>,
}

/// Where to send, and as what.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `http://host:port` or `grpc://host:port`; with TLS `https://` or `grpcs://`.
    pub url: String,
    /// How requests are written.
    pub protocol: Protocol,
    /// The model's name at the target.
    pub model: String,
    /// The target's process on this machine, whose CPU is measured.
    pub pid: Option<u32>,
}

/// The model's tensors, for the protocols in which they are named.
#[derive(Clone, Debug)]
pub struct ModelTensors {
    /// The FP32 input.
    pub input: String,
    /// The input's shape without its first dimension, the batch.
    pub row: Vec<i64>,
    /// Names under which the score can come; a response without any has it in its first output.
    pub outputs: Vec<String>,
}

/// How requests follow each other.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// A number of requests at once, each followed by the next when its response is there.
    Closed {
        /// Requests in flight.
        concurrency: usize,
        /// When to end.
        until: Until,
    },
    /// On schedule.
    Open {
        /// The rate, or the first and the last.
        rates: Rates,
        /// Rates between and including those.
        steps: usize,
        /// How requests are spaced.
        arrival: Arrival,
        /// How long each rate lasts.
        length: Duration,
    },
    /// On schedule at different rates, to find the highest that holds the SLO.
    FindRate {
        /// The rate of the first probe.
        start: f64,
        /// How requests are spaced.
        arrival: Arrival,
        /// How long each probe lasts.
        length: Duration,
    },
}

/// When a closed loop ends. The warm-up is not counted.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After this number of requests.
    Requests(u64),
    /// After this time.
    Elapsed(Duration),
}
