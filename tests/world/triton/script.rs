//! What the scripted Triton is to do, and what it has observed.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use kserve_transformer::wire::tensor::DataType;
use kserve_transformer::wire::triton::{InferParameter, ModelInferResponse};
use tonic::Code;

/// What the fake says and does. Changed with [`FakeTriton::set`] at any time.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// The name of its one model.
    pub(crate) model: String,
    /// The name of its input.
    pub(crate) input: String,
    /// The datatype of its input.
    pub(crate) input_datatype: DataType,
    /// The shape of its input; with `max_batch_size` 0 all of it, else without the batch axis.
    pub(crate) input_row: Vec<i64>,
    /// The name of its output.
    pub(crate) output: String,
    /// As in the model's configuration; larger batches are refused.
    pub(crate) max_batch_size: i32,
    /// ModelConfig is refused so: UNIMPLEMENTED, as by KServe's own servers, or restricted.
    pub(crate) config_refused: Option<(Code, &'static str)>,
    /// The metadata names no tensors, as KServe's SDK does by default.
    pub(crate) no_tensors: bool,
    /// A header without which every call is refused.
    pub(crate) required_header: Option<(&'static str, &'static str)>,
    /// What every inference over REST is answered with, instead of scores.
    pub(crate) http_response: Option<HttpResponse>,
    /// The model is not loaded: metadata and inference answer NOT_FOUND.
    pub(crate) unloaded: bool,
    /// Inference answers in `fp32_contents`.
    pub(crate) typed: bool,
    /// What comes in is kept, to be looked at.
    pub(crate) keep_inputs: bool,
    /// How long an inference takes.
    pub(crate) delay: Duration,
    /// Inferences wait until it is taken back.
    pub(crate) hold: bool,
    /// Nothing is answered at all, as by a stopped process.
    pub(crate) silent: bool,
    /// What the next inferences do instead of answering; one each.
    pub(crate) faults: VecDeque<Fault>,
    /// What every inference does when `faults` is empty.
    pub(crate) always: Option<Fault>,
    /// What it speaks on new connections.
    pub(crate) speaks: Speaks,
    /// HTTP/2 streams at once on new connections.
    pub(crate) max_streams: Option<u32>,
}

/// The protocols on the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Both,
    Grpc,
    Rest,
}

/// A response as it stands.
#[derive(Clone, Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    pub(crate) headers: &'static [(&'static str, &'static str)],
    pub(crate) body: &'static str,
}

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// An error response.
    Status(Code, &'static str),
    /// All connections are cut.
    Cut,
    /// A response with something changed.
    Twist(fn(&mut ModelInferResponse)),
}

impl Default for Script {
    fn default() -> Self {
        Self {
            model: "face_quality_trt_fp16".to_owned(),
            input: "input.1".to_owned(),
            input_datatype: DataType::Fp32,
            input_row: vec![3, 112, 112],
            output: "1346".to_owned(),
            max_batch_size: 32,
            config_refused: None,
            no_tensors: false,
            required_header: None,
            http_response: None,
            unloaded: false,
            typed: false,
            keep_inputs: false,
            delay: Duration::ZERO,
            hold: false,
            silent: false,
            faults: VecDeque::new(),
            always: None,
            speaks: Speaks::Both,
            max_streams: None,
        }
    }
}

/// What the fake has observed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    /// Connections accepted.
    pub(crate) connections: usize,
    /// Of those over TLS: those that resumed an earlier session.
    pub(crate) resumed_sessions: usize,
    /// ServerLive calls.
    pub(crate) lives: usize,
    /// ModelMetadata calls.
    pub(crate) metadata: usize,
    /// Inferences begun.
    pub(crate) calls: usize,
    /// Inferences running now.
    pub(crate) in_flight: usize,
    /// The most that ever ran at once.
    pub(crate) max_in_flight: usize,
    /// Inferences dropped before their response: the stream was reset.
    pub(crate) canceled: usize,
    /// Rows of each inference.
    pub(crate) batches: Vec<i64>,
    /// The input of each inference with `keep_inputs`, as far as it came raw.
    pub(crate) inputs: Vec<Bytes>,
    /// The id of the last inference.
    pub(crate) id: String,
    /// The parameters of the last inference.
    pub(crate) parameters: HashMap<String, InferParameter>,
    /// The headers (metadata) of the last inference.
    pub(crate) headers: HeaderMap,
}

impl Observed {
    /// The last inference's `grpc-timeout` as it was sent.
    pub(crate) fn grpc_timeout(&self) -> Option<&str> {
        self.headers.get("grpc-timeout")?.to_str().ok()
    }
}
