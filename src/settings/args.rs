//! What was typed for `serve`: flags and help texts. What it means is in `config.rs`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, FromArgMatches, ValueEnum};

/// The flags of `serve`; each can also be given as `FACEQUALITY_<NAME>` in the environment.
#[derive(Args, Clone, Debug)]
#[command(rename_all = "snake_case")]
pub struct ServeArgs {
    /// Address to listen on
    #[arg(long, default_value = "0.0.0.0", help_heading = "Front")]
    pub host: IpAddr,
    /// Port of REST and gRPC together
    #[arg(long, default_value_t = 8080, help_heading = "Front")]
    pub http_port: u16,
    /// Port of gRPC alone
    #[arg(long, default_value_t = 8081, help_heading = "Front")]
    pub grpc_port: u16,
    /// Whether the gRPC port is opened
    #[arg(long, value_parser = switch, num_args = 0..=1, default_value = "true", default_missing_value = "true", help_heading = "Front")]
    pub enable_grpc: bool,
    /// Name of the model in requests
    #[arg(long, default_value = "facequality", help_heading = "Front")]
    pub model_name: String,
    /// Certificate chain (PEM) for TLS on both ports
    #[arg(long, help_heading = "Front")]
    pub ssl_certfile: Option<PathBuf>,
    /// Private key (PEM) of the certificate
    #[arg(long, help_heading = "Front")]
    pub ssl_keyfile: Option<PathBuf>,
    /// Close gRPC connections after this long, so that load spreads to new replicas; 0: never
    #[arg(
        long,
        default_value_t = 0,
        value_name = "SECONDS",
        help_heading = "Front"
    )]
    pub grpc_max_connection_age_seconds: u64,
    /// Headers that go on to the predictor, by comma; `*` at the end of a name stands for any rest
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "x-request-id,traceparent,tracestate,baggage,b3,x-b3-*,authorization",
        help_heading = "Front"
    )]
    pub forward_headers: Vec<String>,
    /// The request head must arrive within this time
    #[arg(
        long,
        default_value_t = 10,
        value_name = "SECONDS",
        help_heading = "Front"
    )]
    pub header_read_timeout_seconds: u64,
    /// The request body must arrive within this time
    #[arg(
        long,
        default_value_t = 30,
        value_name = "SECONDS",
        help_heading = "Front"
    )]
    pub body_read_timeout_seconds: u64,
    /// A connection without a request is closed after this time
    #[arg(
        long,
        visible_alias = "timeout_keep_alive",
        default_value_t = 75,
        value_name = "SECONDS",
        help_heading = "Front"
    )]
    pub idle_timeout_seconds: u64,
    /// After SIGTERM: not ready, but still answering, for this time
    #[arg(
        long,
        default_value_t = 3,
        value_name = "SECONDS",
        help_heading = "Front"
    )]
    pub drain_notice_seconds: u64,
    /// After SIGTERM: all must be answered within this time, the notice included
    #[arg(
        long,
        default_value_t = 25,
        value_name = "SECONDS",
        help_heading = "Front"
    )]
    pub grace_seconds: u64,

    /// Where the predictor is: HOST[:PORT], several by comma, unix:/PATH or dns:///NAME:PORT;
    /// without it the embedded model answers
    #[arg(long, help_heading = "Predictor")]
    pub predictor_host: Option<String>,
    /// Protocol towards the predictor
    #[arg(long, value_enum, default_value_t = PredictorProtocol::Auto, help_heading = "Predictor")]
    pub predictor_protocol: PredictorProtocol,
    /// Name of the model on the predictor
    #[arg(
        long,
        default_value = "face_quality_trt_fp16",
        help_heading = "Predictor"
    )]
    pub predictor_model: String,
    /// Name of the model's FP32 input [N,3,112,112]
    #[arg(long, default_value = "input.1", help_heading = "Predictor")]
    pub predictor_input: String,
    /// Name of the model's FP32 output [N,1]
    #[arg(long, default_value = "1346", help_heading = "Predictor")]
    pub predictor_output: String,
    /// Images per call where the predictor does not tell its max_batch_size
    #[arg(long, default_value_t = 32, help_heading = "Predictor")]
    pub predictor_max_batch: usize,
    /// TLS towards the predictor
    #[arg(long, value_parser = switch, num_args = 0..=1, default_value = "false", default_missing_value = "true", help_heading = "Predictor")]
    pub predictor_use_ssl: bool,
    /// Certificate authorities (PEM) for the predictor besides the system's; REQUESTS_CA_BUNDLE in
    /// the environment does the same
    #[arg(long, help_heading = "Predictor")]
    pub predictor_ca_file: Option<PathBuf>,
    /// Certificate chain (PEM) to show to a predictor that asks for one
    #[arg(long, help_heading = "Predictor")]
    pub predictor_cert_file: Option<PathBuf>,
    /// Key (PEM) of --predictor_cert_file
    #[arg(long, help_heading = "Predictor")]
    pub predictor_key_file: Option<PathBuf>,
    /// Header to send with every call to the predictor, such as a token; repeat for several, @FILE
    /// reads the value from a file
    #[arg(
        long,
        value_name = "NAME=VALUE|NAME=@FILE",
        hide_env_values = true,
        help_heading = "Predictor"
    )]
    pub predictor_header: Vec<String>,
    /// A request must be answered within this time
    #[arg(
        long,
        default_value_t = 30.0,
        value_name = "SECONDS",
        help_heading = "Predictor"
    )]
    pub predictor_request_timeout_seconds: f64,
    /// Calls to the predictor in flight
    #[arg(
        long,
        default_value_t = 100,
        value_name = "CALLS",
        help_heading = "Predictor"
    )]
    pub concurrency: usize,
    /// Connections per predictor address
    #[arg(long, default_value_t = 1, help_heading = "Predictor")]
    pub connections: usize,
    /// How often dns:/// names are looked up again
    #[arg(
        long,
        default_value_t = 10,
        value_name = "SECONDS",
        help_heading = "Predictor"
    )]
    pub dns_refresh_seconds: u64,
    /// ONNX file to answer with instead of the embedded model
    #[arg(long, value_name = "FILE", help_heading = "Predictor")]
    pub embedded_model: Option<PathBuf>,

    /// Images admitted and not yet answered
    #[arg(
        long,
        default_value_t = 1024,
        value_name = "IMAGES",
        help_heading = "Limits"
    )]
    pub queue: usize,
    /// How long a body waits for room among --max_bytes_in_flight
    #[arg(
        long,
        default_value_t = 5000,
        value_name = "MS",
        help_heading = "Limits"
    )]
    pub queue_timeout_ms: u64,
    /// Bytes of bodies and tensors at once
    #[arg(long, value_parser = byte_size, default_value = "256MiB", value_name = "BYTES", help_heading = "Limits")]
    pub max_bytes_in_flight: usize,
    /// Bytes of one request's body, after inflating
    #[arg(long, value_parser = byte_size, default_value = "64MiB", value_name = "BYTES", help_heading = "Limits")]
    pub max_body_bytes: usize,
    /// Bytes of one encoded image
    #[arg(long, value_parser = byte_size, default_value = "16MiB", value_name = "BYTES", help_heading = "Limits")]
    pub max_item_bytes: usize,
    /// Pixels of one image
    #[arg(long, default_value_t = 40_000_000, help_heading = "Limits")]
    pub max_pixels: u64,
    /// Images of one request
    #[arg(long, default_value_t = 256, help_heading = "Limits")]
    pub max_images: usize,
    /// Connections at once
    #[arg(long, default_value_t = 10_000, help_heading = "Limits")]
    pub max_connections: usize,

    /// Threads that decode and resize; 0: as many as there are cores
    #[arg(long, default_value_t = 0, help_heading = "Images")]
    pub pixel_threads: usize,
    /// What an image's EXIF orientation does; the predecessor ignored it
    #[arg(long, value_enum, default_value_t = Exif::Ignore, help_heading = "Images")]
    pub exif_orientation: Exif,
    /// What an image that cannot be read does to its request, where the request does not say
    #[arg(long, value_enum, default_value_t = OnImageError::Fail, help_heading = "Images")]
    pub image_errors: OnImageError,
    /// Folder below which path: items may be read; without it they are refused
    #[arg(long, value_name = "DIR", help_heading = "Images")]
    pub data_dir: Option<PathBuf>,
    /// Time to fetch one item by URL
    #[arg(
        long,
        default_value_t = 5000,
        value_name = "MS",
        help_heading = "Images"
    )]
    pub item_url_timeout_ms: u64,
    /// Host names and CIDRs that items may be fetched from besides public addresses, by comma
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "HOST|CIDR",
        help_heading = "Images"
    )]
    pub item_url_allow: Vec<String>,

    /// What is logged: error, warn, info, debug, trace, or a tracing filter
    #[arg(long, default_value = "info", help_heading = "Log")]
    pub log_level: String,
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text, help_heading = "Log")]
    pub log_format: LogFormat,

    #[command(flatten)]
    pub(crate) kserve: KserveArgs,
}

impl ServeArgs {
    /// The settings of `serve` with these flags and nothing from the environment.
    ///
    /// # Errors
    ///
    /// When a flag is wrong.
    pub fn from_flags(flags: &[String]) -> Result<Self, clap::Error> {
        let command = Self::augment_args(
            clap::Command::new("serve")
                .no_binary_name(true)
                .args_override_self(true),
        );
        Self::from_arg_matches(&command.try_get_matches_from(flags)?)
    }
}

/// Flags of the KServe SDK and controller that mean nothing here; each that is given is logged.
#[derive(Args, Clone, Debug)]
#[command(rename_all = "snake_case")]
pub(crate) struct KserveArgs {
    #[arg(long, hide = true)]
    pub(crate) workers: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) protocol: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) max_threads: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) max_asyncio_workers: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) enable_docs_url: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) enable_latency_logging: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) configure_logging: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) log_config_file: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) access_log_format: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) event_loop: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) predictor_request_retries: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) enable_predictor_health_check: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) grpc_max_send_message_length: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) grpc_max_receive_message_length: Option<String>,
}

impl KserveArgs {
    /// The flags that were given, by name, and why they have no effect.
    pub(crate) fn given(&self) -> Vec<(&'static str, &'static str)> {
        let threads = "threads follow the cores; see --pixel_threads";
        let logs = "the log is set by --log_level and --log_format";
        [
            (
                "workers",
                &self.workers,
                "one process serves all; see --pixel_threads and --concurrency",
            ),
            (
                "protocol",
                &self.protocol,
                "the predictor's protocol is set by --predictor_protocol",
            ),
            ("max_threads", &self.max_threads, threads),
            ("max_asyncio_workers", &self.max_asyncio_workers, threads),
            (
                "enable_docs_url",
                &self.enable_docs_url,
                "there is no /docs page",
            ),
            (
                "enable_latency_logging",
                &self.enable_latency_logging,
                "latencies are in the server-timing header and in /metrics",
            ),
            ("configure_logging", &self.configure_logging, logs),
            ("log_config_file", &self.log_config_file, logs),
            ("access_log_format", &self.access_log_format, logs),
            ("event_loop", &self.event_loop, "there is one runtime"),
            (
                "predictor_request_retries",
                &self.predictor_request_retries,
                "calls that did not run are tried once more on another connection",
            ),
            (
                "enable_predictor_health_check",
                &self.enable_predictor_health_check,
                "the predictor is always checked",
            ),
            (
                "grpc_max_send_message_length",
                &self.grpc_max_send_message_length,
                "answers are small",
            ),
            (
                "grpc_max_receive_message_length",
                &self.grpc_max_receive_message_length,
                "the limit is --max_body_bytes on every protocol",
            ),
        ]
        .into_iter()
        .filter(|(_, value, _)| value.is_some())
        .map(|(name, _, reason)| (name, reason))
        .collect()
    }
}

/// `--predictor_protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PredictorProtocol {
    /// By port, else by asking
    Auto,
    /// Triton's gRPC
    GrpcV2,
    /// Triton's REST with binary tensors
    V2,
}

/// `--exif_orientation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Exif {
    /// Pixels as they are stored
    Ignore,
    /// Turned upright
    Apply,
}

/// `--image_errors`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnImageError {
    /// The request fails, naming the first bad image
    Fail,
    /// The others are scored, the bad image's place holds its error
    Report,
}

/// `--log_format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// A switch's value as KServe's SDK reads it.
fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "y" | "yes" | "t" | "true" | "on" | "1" => Ok(true),
        "n" | "no" | "f" | "false" | "off" | "0" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// Bytes, or with a unit: `16MiB`, `64k`.
fn byte_size(text: &str) -> Result<usize, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err("expected bytes, or a number with KiB, MiB or GiB".to_owned()),
    };
    let number: usize = number
        .parse()
        .map_err(|_| "expected a number of bytes".to_owned())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "too many bytes".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_with_units() {
        assert_eq!(byte_size("12"), Ok(12));
        assert_eq!(byte_size("16MiB"), Ok(16 << 20));
        assert_eq!(byte_size("1 k"), Ok(1024));
        assert!(byte_size("MiB").is_err());
        assert!(byte_size("1x").is_err());
        assert!(byte_size("99999999999999GiB").is_err());
    }
}
