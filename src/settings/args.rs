//! The flags of `serve` as they are typed, with their help texts. What they mean is in `mod.rs`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, FromArgMatches};

use crate::faces::{self, FaceCrop};
use crate::observe::log::LogFormat;
use crate::observe::spans::OtlpProtocol;
use crate::pixel::{ExifOrientation, Formats};
use crate::predictor::Protocol;
use crate::settings::kserve::KserveArgs;
use crate::settings::sources::Sources;
use crate::transformer::ImageErrors;

/// The flags of `serve`, each of which can also be set in the environment.
#[derive(Args, Clone, Debug)]
// Help texts are shown as they are written: brackets and URLs are not links there.
#[allow(rustdoc::bare_urls, rustdoc::broken_intra_doc_links)]
#[command(rename_all = "snake_case")]
pub struct ServeArgs {
    /// Address to listen on
    #[arg(long, default_value = "0.0.0.0", help_heading = "Server")]
    pub host: IpAddr,
    /// Port for REST and gRPC
    #[arg(long, default_value_t = 8080, help_heading = "Server")]
    pub http_port: u16,
    /// Port for gRPC only
    #[arg(long, default_value_t = 8081, help_heading = "Server")]
    pub grpc_port: u16,
    /// Whether to open the gRPC port
    #[arg(long, default_value = "true", value_parser = parse_bool, num_args = 0..=1, default_missing_value = "true", help_heading = "Server")]
    pub enable_grpc: bool,
    /// Whether to serve the pages at /ui, on which people try the service, and at /docs
    #[arg(long, default_value = "true", value_parser = parse_bool, num_args = 0..=1, default_missing_value = "true", help_heading = "Server")]
    pub enable_ui: bool,
    /// Name of the model in requests
    #[arg(long, default_value = faces::MODEL_NAME, help_heading = "Server")]
    pub model_name: String,
    /// Certificate chain (PEM), which turns TLS on for both ports; KSERVE_TLS_CERT_FILE in the
    /// environment does the same
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub ssl_certfile: Option<PathBuf>,
    /// Private key (PEM) of the certificate; KSERVE_TLS_KEY_FILE in the environment does the same
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub ssl_keyfile: Option<PathBuf>,
    /// Certificate authorities (PEM): every caller must show a certificate that one of them signed
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub ssl_client_ca_file: Option<PathBuf>,
    /// Close connections of both ports after this time, a tenth more or less, so that load spreads to
    /// new replicas; 0: never
    #[arg(
        long,
        default_value_t = 0,
        value_name = "SECONDS",
        help_heading = "Server"
    )]
    pub grpc_max_connection_age_seconds: u64,
    /// Comma-separated headers to forward to the predictor; a trailing `*` matches any suffix
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "HEADERS",
        default_value = "x-request-id,traceparent,tracestate,baggage,b3,x-b3-*,authorization",
        help_heading = "Server"
    )]
    pub forward_headers: Vec<String>,
    /// Comma-separated origins whose web pages may read responses, such as https://example.org; `*`
    /// is any
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "ORIGINS",
        help_heading = "Server"
    )]
    pub cors_allow_origin: Vec<String>,
    /// Time limit for receiving a request's head
    #[arg(
        long,
        default_value_t = 10,
        value_name = "SECONDS",
        help_heading = "Server"
    )]
    pub header_read_timeout_seconds: u64,
    /// Time limit for receiving a request's body
    #[arg(
        long,
        default_value_t = 30,
        value_name = "SECONDS",
        help_heading = "Server"
    )]
    pub body_read_timeout_seconds: u64,
    /// Close connections that have had no request for this time, and end gRPC streams without a
    /// deadline that have had no message
    #[arg(
        long,
        visible_alias = "timeout_keep_alive",
        default_value_t = 75,
        value_name = "SECONDS",
        help_heading = "Server"
    )]
    pub idle_timeout_seconds: u64,
    /// After SIGTERM, keep serving while reporting not ready for this long
    #[arg(
        long,
        default_value_t = 3,
        value_name = "SECONDS",
        help_heading = "Server"
    )]
    pub drain_notice_seconds: u64,
    /// Total time to shut down after SIGTERM, including the drain notice
    #[arg(
        long,
        default_value_t = 25,
        value_name = "SECONDS",
        help_heading = "Server"
    )]
    pub grace_seconds: u64,

    /// Address of the predictor: HOST[:PORT] (without a port: 80, or 443 with TLS), unix:/PATH or
    /// dns:///NAME:PORT; several separated by commas. If unset, the embedded model is used
    #[arg(long, help_heading = "Predictor")]
    pub predictor_host: Option<String>,
    /// Where a model is that is not on --predictor_host: MODEL=ADDRESS, or MODEL=embedded for the one
    /// that is compiled in; repeat for several
    #[arg(
        long,
        value_delimiter = ';',
        value_name = "MODEL=ADDRESS",
        help_heading = "Predictor"
    )]
    pub model_host: Vec<String>,
    /// Protocol to use for the predictor
    #[arg(long, value_enum, default_value_t = Protocol::Auto, help_heading = "Predictor")]
    pub predictor_protocol: Protocol,
    /// Name of the model on the predictor
    #[arg(long, default_value = faces::PREDICTOR_MODEL, help_heading = "Predictor")]
    pub predictor_model: String,
    /// Name of the model's FP32 input [N,3,112,112]
    #[arg(long, default_value = faces::PREDICTOR_INPUT, help_heading = "Predictor")]
    pub predictor_input: String,
    /// Name of the model's FP32 output [N,1]
    #[arg(long, default_value = faces::PREDICTOR_OUTPUT, help_heading = "Predictor")]
    pub predictor_output: String,
    /// Batch size to use when the predictor does not report max_batch_size
    #[arg(
        long,
        default_value_t = 32,
        value_name = "IMAGES",
        help_heading = "Predictor"
    )]
    pub predictor_max_batch: usize,
    /// Use TLS for the predictor
    #[arg(long, default_value = "false", value_parser = parse_bool, num_args = 0..=1, default_missing_value = "true", help_heading = "Predictor")]
    pub predictor_use_ssl: bool,
    /// Certificate authorities (PEM) to trust for the predictor besides the system's;
    /// REQUESTS_CA_BUNDLE in the environment does the same
    #[arg(long, value_name = "FILE", help_heading = "Predictor")]
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
    /// Time limit for a whole request
    #[arg(
        long,
        default_value_t = 30.0,
        value_name = "SECONDS",
        help_heading = "Predictor"
    )]
    pub predictor_request_timeout_seconds: f64,
    /// Maximum number of calls to the predictor in flight
    #[arg(
        long,
        default_value_t = 100,
        value_name = "CALLS",
        help_heading = "Predictor"
    )]
    pub concurrency: usize,
    /// Connections to each address of the predictor
    #[arg(long, default_value_t = 1, help_heading = "Predictor")]
    pub connections: usize,
    /// How often to look up dns:/// names again
    #[arg(
        long,
        default_value_t = 10,
        value_name = "SECONDS",
        help_heading = "Predictor"
    )]
    pub dns_refresh_seconds: u64,
    /// ONNX file to use instead of the embedded model
    #[arg(long, value_name = "FILE", help_heading = "Predictor")]
    pub embedded_model: Option<PathBuf>,

    /// Maximum number of images in flight
    #[arg(
        long,
        default_value_t = 1024,
        value_name = "IMAGES",
        help_heading = "Limits"
    )]
    pub queue: usize,
    /// How long a body may wait for its share of --max_bytes_in_flight
    #[arg(
        long,
        default_value_t = 5000,
        value_name = "MS",
        help_heading = "Limits"
    )]
    pub queue_timeout_ms: u64,
    /// Maximum bytes of bodies and tensors in flight
    #[arg(long, default_value = "256MiB", value_name = "BYTES", value_parser = parse_bytes, help_heading = "Limits")]
    pub max_bytes_in_flight: usize,
    /// Maximum bytes of a request's body, after decompression
    #[arg(long, default_value = "64MiB", value_name = "BYTES", value_parser = parse_bytes, help_heading = "Limits")]
    pub max_body_bytes: usize,
    /// Maximum bytes of an encoded image
    #[arg(long, default_value = "16MiB", value_name = "BYTES", value_parser = parse_bytes, help_heading = "Limits")]
    pub max_item_bytes: usize,
    /// Maximum pixels of an image
    #[arg(
        long,
        default_value_t = 40_000_000,
        value_name = "PIXELS",
        help_heading = "Limits"
    )]
    pub max_pixels: u64,
    /// Pixels of all images of one request
    #[arg(
        long,
        default_value_t = 1_000_000_000,
        value_name = "PIXELS",
        help_heading = "Limits"
    )]
    pub max_request_pixels: u64,
    /// Pixels of the images of all requests that are decoded or wait for it
    #[arg(
        long,
        default_value_t = 2_000_000_000,
        value_name = "PIXELS",
        help_heading = "Limits"
    )]
    pub max_pixels_in_flight: u64,
    /// Maximum number of images in a request
    #[arg(
        long,
        default_value_t = 256,
        value_name = "IMAGES",
        help_heading = "Limits"
    )]
    pub max_images: usize,
    /// Maximum number of open connections
    #[arg(
        long,
        default_value_t = 10_000,
        value_name = "CONNECTIONS",
        help_heading = "Limits"
    )]
    pub max_connections: usize,
    /// Bytes of a request's head: its path and headers (at least 8192)
    #[arg(long, default_value_t = 64 * 1024, help_heading = "Limits")]
    pub max_header_bytes: usize,

    /// Threads that decode and resize images; 0: one per core
    #[arg(
        long,
        default_value_t = 0,
        value_name = "THREADS",
        help_heading = "Images"
    )]
    pub pixel_threads: usize,
    /// How to treat an image's EXIF orientation
    #[arg(long, value_enum, default_value_t = ExifOrientation::Ignore, help_heading = "Images")]
    pub exif_orientation: ExifOrientation,
    /// Comma-separated formats to read: jpeg, png, webp, bmp, gif (the first frame), tiff, pnm
    #[arg(long, default_value_t = Formats::DEFAULT, help_heading = "Images")]
    pub formats: Formats,
    /// How to treat an unreadable image unless the request says otherwise
    #[arg(long, value_enum, default_value_t = ImageErrors::Fail, help_heading = "Images")]
    pub image_errors: ImageErrors,
    /// Root folder for path: items; if unset, they are rejected
    #[arg(long, value_name = "DIR", help_heading = "Images")]
    pub data_dir: Option<PathBuf>,
    /// Time limit for fetching an item by URL
    #[arg(
        long,
        default_value_t = 5000,
        value_name = "MS",
        help_heading = "Images"
    )]
    pub item_url_timeout_ms: u64,
    /// HTTP proxy for fetching items by URL: http://[USER:PASSWORD@]HOST:PORT. It then resolves the
    /// host names, and decides which of them may be reached
    #[arg(long, value_name = "URL", help_heading = "Images")]
    pub item_url_proxy: Option<String>,
    /// Comma-separated host names and CIDRs that items may be fetched from in addition to public
    /// addresses
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "HOST|CIDR",
        help_heading = "Images"
    )]
    pub item_url_allow: Vec<String>,

    /// Whether to serve the model facephoto: whole photos, every face of which is found and scored. By
    /// default if the face detector need not be on a predictor: without --predictor_host, or with a
    /// --model_host for it
    #[arg(long, value_parser = parse_bool, num_args = 0..=1, default_missing_value = "true", help_heading = "Faces")]
    pub enable_facephoto: Option<bool>,
    /// Name of the face detector (CenterFace) on the predictor
    #[arg(long, default_value = faces::DETECTOR_MODEL, help_heading = "Faces")]
    pub detector_model: String,
    /// Longer side of a photo as the face detector sees it, at most
    #[arg(
        long,
        default_value_t = 640,
        value_name = "PIXELS",
        help_heading = "Faces"
    )]
    pub detect_side: usize,
    /// How certain the detector must be of a face, from 0 to 1
    #[arg(
        long,
        default_value_t = 0.5,
        value_name = "SHARE",
        help_heading = "Faces"
    )]
    pub detect_threshold: f32,
    /// Side of the square that is cut out around a face, in longer sides of its box
    #[arg(
        long,
        default_value_t = 1.0,
        value_name = "FACTOR",
        help_heading = "Faces"
    )]
    pub face_margin: f32,
    /// How a face is cut out for the quality model
    #[arg(long, value_enum, default_value_t = FaceCrop::Square, help_heading = "Faces")]
    pub face_crop: FaceCrop,

    /// Log level (error, warn, info, debug, trace) or tracing filter
    #[arg(
        long,
        default_value = "info",
        value_name = "FILTER",
        help_heading = "Log"
    )]
    pub log_level: String,
    /// Format of the log on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text, help_heading = "Log")]
    pub log_format: LogFormat,
    /// Log a line for each prediction: who, what, how long each stage took
    #[arg(long, default_value = "false", value_parser = parse_bool, num_args = 0..=1, default_missing_value = "true", help_heading = "Log")]
    pub enable_latency_logging: bool,
    /// Let callers change the log level (Triton's LogSettings, POST /v2/logging)
    #[arg(long, default_value = "false", value_parser = parse_bool, num_args = 0..=1, default_missing_value = "true", help_heading = "Log")]
    pub enable_log_settings: bool,

    /// OpenTelemetry collector to send traces to: http://HOST:PORT or https://HOST:PORT.
    /// OTEL_EXPORTER_OTLP_ENDPOINT in the environment does the same; empty: none
    #[arg(long, value_name = "URL", help_heading = "Traces")]
    pub otlp_endpoint: Option<String>,
    /// Protocol of the collector; if unset, that of OTEL_EXPORTER_OTLP_PROTOCOL or of its port
    #[arg(long, value_enum, help_heading = "Traces")]
    pub otlp_protocol: Option<OtlpProtocol>,
    /// Share of requests to trace whose caller has not decided, 0 to 1; if unset, OTEL_TRACES_SAMPLER's
    #[arg(long, value_name = "SHARE", help_heading = "Traces")]
    pub trace_sample: Option<f64>,

    #[command(flatten)]
    pub(crate) kserve: KserveArgs,
    /// What the names of metrics begin with.
    #[arg(skip = crate::NAME)]
    pub(crate) name: &'static str,
    #[arg(skip)]
    pub(crate) sources: Sources,
}

impl ServeArgs {
    /// Parses flags alone: nothing is taken from the environment.
    ///
    /// # Errors
    ///
    /// When a flag is unknown or its value is invalid.
    pub fn from_flags(flags: &[String]) -> Result<Self, clap::Error> {
        let command = Self::augment_args(
            clap::Command::new("serve")
                .no_binary_name(true)
                .args_override_self(true),
        );
        Self::from_matches(&command.try_get_matches_from(flags)?, crate::NAME)
    }

    /// The flags of a program with where each value comes from.
    pub(crate) fn from_matches(
        matches: &clap::ArgMatches,
        program: &'static str,
    ) -> Result<Self, clap::Error> {
        let mut args = Self::from_arg_matches(matches)?;
        args.sources = Sources::of(matches, program);
        args.name = program;
        Ok(args)
    }
}

/// A boolean as KServe's SDK reads it.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "y" | "yes" | "t" | "true" | "on" | "1" => Ok(true),
        "n" | "no" | "f" | "false" | "off" | "0" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// A number of bytes, with or without a unit: `16MiB`, `64k`.
fn parse_bytes(text: &str) -> Result<usize, String> {
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
        assert_eq!(parse_bytes("12"), Ok(12));
        assert_eq!(parse_bytes("16MiB"), Ok(16 << 20));
        assert_eq!(parse_bytes("1 k"), Ok(1024));
        assert!(parse_bytes("MiB").is_err());
        assert!(parse_bytes("1x").is_err());
        assert!(parse_bytes("99999999999999GiB").is_err());
    }
}
