//! What the flags mean: validated settings, each part as its module takes it. All problems are
//! reported at once, and nothing behind this file sees a flag.

pub mod args;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::pixel::{ExifOrientation, JPEG_DECODER, Options};
use crate::predictor::{ClientCertificate, PredictorHeader, Target};
use crate::settings::args::{Exif, LogFormat, OnImageError, PredictorProtocol, ServeArgs};
use crate::transformer::batch::ImageErrors;
use crate::transport::headers::Forwarded;
use crate::{admission, engine, item};

/// KServe's CA for a TLS predictor.
const CA_ENV: &str = "REQUESTS_CA_BUNDLE";
/// KServe's certificate and key of the service.
const TLS_ENV: (&str, &str) = ("KSERVE_TLS_CERT_FILE", "KSERVE_TLS_KEY_FILE");

/// All that `serve` runs with.
#[derive(Debug)]
pub struct Settings {
    /// The ports and what is asked of connections.
    pub front: Front,
    /// The model's public name.
    pub model_name: String,
    /// Who runs the model.
    pub predictor: Predictor,
    /// What requests are held to.
    pub engine: engine::Limits,
    /// Who may enter.
    pub admission: admission::Limits,
    /// How images are decoded.
    pub pixel: Options,
    /// Threads that decode and resize.
    pub pixel_threads: usize,
    /// Where items come from.
    pub item: item::Settings,
    /// The log.
    pub log: Log,
    /// Flags that were given but have no effect, and why.
    pub without_effect: Vec<(&'static str, &'static str)>,
}

/// The ports and what is asked of connections.
#[derive(Debug)]
pub struct Front {
    /// REST and gRPC together.
    pub http: SocketAddr,
    /// gRPC alone, if wanted.
    pub grpc: Option<SocketAddr>,
    /// Certificate chain and key for TLS on both.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Age at which gRPC connections are closed.
    pub max_connection_age: Option<Duration>,
    /// Headers that go on to the predictor.
    pub forward_headers: Vec<Forwarded>,
    /// Time for a request's head.
    pub header_read_timeout: Duration,
    /// Time for a request's body.
    pub body_read_timeout: Duration,
    /// Time without a request.
    pub idle_timeout: Duration,
    /// Connections at once.
    pub max_connections: usize,
    /// Bytes of one body.
    pub max_body_bytes: usize,
    /// How long after SIGTERM new requests are still taken.
    pub drain_notice: Duration,
    /// How long after SIGTERM all must be answered.
    pub grace: Duration,
}

/// Who runs the model.
#[derive(Debug)]
pub struct Predictor {
    /// Where it is; nowhere: in this process.
    pub targets: Vec<Target>,
    /// How to call.
    pub protocol: PredictorProtocol,
    /// TLS.
    pub tls: bool,
    /// Certificate authorities besides the system's.
    pub ca_file: Option<PathBuf>,
    /// What a predictor is shown that asks for a certificate.
    pub client: Option<ClientCertificate>,
    /// Headers that go with every call.
    pub headers: Vec<PredictorHeader>,
    /// The model's name there.
    pub model: String,
    /// Its input.
    pub input: String,
    /// Its output.
    pub output: String,
    /// Images per call where it does not tell.
    pub max_batch: usize,
    /// Calls in flight.
    pub concurrency: usize,
    /// Connections per address.
    pub connections: usize,
    /// How often names are looked up again.
    pub dns_refresh: Duration,
    /// The ONNX file, where not the built-in one.
    pub embedded_model: Option<PathBuf>,
}

/// The log.
#[derive(Clone, Debug)]
pub struct Log {
    /// A tracing filter.
    pub filter: String,
    /// Its form.
    pub format: LogFormat,
}

/// Everything that is wrong with the flags.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(Vec<String>);

impl ConfigErrors {
    /// A single problem, found when a file that a flag names was opened.
    pub fn from_one(problem: impl std::fmt::Display) -> Self {
        Self(vec![problem.to_string()])
    }
}

impl Settings {
    /// Judges what was typed.
    ///
    /// # Errors
    ///
    /// All problems, a line each.
    pub fn new(args: &ServeArgs) -> Result<Self, ConfigErrors> {
        let mut problems = Vec::new();
        check_numbers(args, &mut problems);
        let front = front(args, &mut problems);
        let item = item_settings(args, &mut problems);
        let predictor = predictor(args, &mut problems);
        let timeout = Duration::try_from_secs_f64(args.predictor_request_timeout_seconds)
            .ok()
            .filter(|timeout| !timeout.is_zero())
            .unwrap_or_else(|| {
                problems.push("--predictor_request_timeout_seconds must be above 0".to_owned());
                Duration::ZERO
            });
        if !problems.is_empty() {
            return Err(ConfigErrors(problems));
        }
        Ok(Self {
            front,
            model_name: args.model_name.clone(),
            predictor,
            engine: engine::Limits {
                max_images: args.max_images,
                timeout,
                image_errors: match args.image_errors {
                    OnImageError::Fail => ImageErrors::Fail,
                    OnImageError::Report => ImageErrors::Report,
                },
            },
            admission: admission::Limits {
                images: args.queue,
                bytes: args.max_bytes_in_flight,
                reserve_timeout: Duration::from_millis(args.queue_timeout_ms),
            },
            pixel: Options {
                max_pixels: args.max_pixels,
                exif_orientation: match args.exif_orientation {
                    Exif::Ignore => ExifOrientation::Ignore,
                    Exif::Apply => ExifOrientation::Apply,
                },
            },
            pixel_threads: threads(args.pixel_threads),
            item,
            log: Log {
                filter: args.log_level.clone(),
                format: args.log_format,
            },
            without_effect: args.kserve.given(),
        })
    }

    /// The settings as `config` prints them: name and value.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let Self {
            front, predictor, ..
        } = self;
        let path = |path: &Option<PathBuf>| {
            path.as_ref()
                .map_or("none".to_owned(), |path| path.display().to_string())
        };
        let client = predictor.client.as_ref();
        let headers = predictor.headers.iter().map(ToString::to_string);
        let headers: Vec<_> = headers.collect();
        let hosts = match predictor.targets.as_slice() {
            [] => "none: the embedded model answers".to_owned(),
            targets => join(targets),
        };
        let forwarded: Vec<String> = front.forward_headers.iter().map(Forwarded::text).collect();
        vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("jpeg_decoder", JPEG_DECODER.to_owned()),
            ("http", front.http.to_string()),
            (
                "grpc",
                front
                    .grpc
                    .map_or("off".to_owned(), |address| address.to_string()),
            ),
            (
                "tls",
                front
                    .tls
                    .as_ref()
                    .map_or("off".to_owned(), |(chain, _)| chain.display().to_string()),
            ),
            ("model_name", self.model_name.clone()),
            ("predictor_host", hosts),
            (
                "predictor_protocol",
                format!("{:?}", predictor.protocol).to_lowercase(),
            ),
            ("predictor_use_ssl", predictor.tls.to_string()),
            ("predictor_ca_file", path(&predictor.ca_file)),
            (
                "predictor_cert_file",
                path(&client.map(|client| client.cert_file.clone())),
            ),
            (
                "predictor_key_file",
                path(&client.map(|client| client.key_file.clone())),
            ),
            // Names and files, no values.
            ("predictor_header", headers.join(", ")),
            ("predictor_model", predictor.model.clone()),
            ("predictor_input", predictor.input.clone()),
            ("predictor_output", predictor.output.clone()),
            ("predictor_max_batch", predictor.max_batch.to_string()),
            (
                "predictor_request_timeout_seconds",
                seconds(self.engine.timeout),
            ),
            ("embedded_model", path(&predictor.embedded_model)),
            ("concurrency", format!("{} calls", predictor.concurrency)),
            (
                "connections",
                format!("{} per address", predictor.connections),
            ),
            ("dns_refresh_seconds", seconds(predictor.dns_refresh)),
            ("queue", format!("{} images", self.admission.images)),
            (
                "queue_timeout_ms",
                self.admission.reserve_timeout.as_millis().to_string(),
            ),
            ("max_bytes_in_flight", self.admission.bytes.to_string()),
            ("max_body_bytes", front.max_body_bytes.to_string()),
            ("max_item_bytes", self.item.max_item_bytes.to_string()),
            ("max_pixels", self.pixel.max_pixels.to_string()),
            ("max_images", self.engine.max_images.to_string()),
            ("max_connections", front.max_connections.to_string()),
            ("pixel_threads", self.pixel_threads.to_string()),
            (
                "exif_orientation",
                format!("{:?}", self.pixel.exif_orientation).to_lowercase(),
            ),
            (
                "image_errors",
                format!("{:?}", self.engine.image_errors).to_lowercase(),
            ),
            ("forward_headers", forwarded.join(",")),
            (
                "header_read_timeout_seconds",
                seconds(front.header_read_timeout),
            ),
            (
                "body_read_timeout_seconds",
                seconds(front.body_read_timeout),
            ),
            ("idle_timeout_seconds", seconds(front.idle_timeout)),
            ("drain_notice_seconds", seconds(front.drain_notice)),
            ("grace_seconds", seconds(front.grace)),
            ("log_level", self.log.filter.clone()),
        ]
    }

    /// The bounds as the metric `facequality_limit` shows them.
    pub fn bounds(&self) -> [(&'static str, u64); 5] {
        [
            ("concurrency", self.predictor.concurrency as u64),
            ("queue", self.admission.images as u64),
            ("max_bytes_in_flight", self.admission.bytes as u64),
            ("max_connections", self.front.max_connections as u64),
            ("pixel_threads", self.pixel_threads as u64),
        ]
    }
}

/// Cores that the cgroup gives, where 0 was asked for.
pub fn threads(asked: usize) -> usize {
    match asked {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        asked => asked,
    }
}

/// Targets as `--predictor_host` takes them.
pub fn join(targets: &[Target]) -> String {
    let targets: Vec<_> = targets.iter().map(Target::to_string).collect();
    targets.join(",")
}

fn seconds(duration: Duration) -> String {
    duration.as_secs_f64().to_string()
}

/// Counts of which none would be none too many.
fn check_numbers(args: &ServeArgs, problems: &mut Vec<String>) {
    for (flag, value) in [
        ("concurrency", args.concurrency),
        ("connections", args.connections),
        ("queue", args.queue),
        ("max_bytes_in_flight", args.max_bytes_in_flight),
        ("max_body_bytes", args.max_body_bytes),
        ("max_item_bytes", args.max_item_bytes),
        ("max_images", args.max_images),
        ("max_connections", args.max_connections),
        ("predictor_max_batch", args.predictor_max_batch),
        (
            "max_pixels",
            usize::try_from(args.max_pixels).unwrap_or(usize::MAX),
        ),
    ] {
        if value == 0 {
            problems.push(format!("--{flag} must be at least 1"));
        }
    }
    if args.max_connections > tokio::sync::Semaphore::MAX_PERMITS
        || args.concurrency > tokio::sync::Semaphore::MAX_PERMITS
    {
        problems.push("--max_connections and --concurrency must be smaller".to_owned());
    }
}

fn front(args: &ServeArgs, problems: &mut Vec<String>) -> Front {
    if args.model_name.is_empty() || args.model_name.contains(['/', ':']) {
        problems.push("--model_name must be a word without / and :".to_owned());
    }
    if args.enable_grpc && args.http_port == args.grpc_port && args.http_port != 0 {
        problems.push(format!(
            "--http_port and --grpc_port are both {}; --http_port serves gRPC too, so that \
             --enable_grpc false may be what is wanted",
            args.http_port
        ));
    }
    if args.drain_notice_seconds > args.grace_seconds {
        problems.push("--drain_notice_seconds must be within --grace_seconds".to_owned());
    }
    let given = |flag: &Option<PathBuf>, variable| {
        flag.clone()
            .or_else(|| std::env::var_os(variable).map(PathBuf::from))
    };
    let chain = given(&args.ssl_certfile, TLS_ENV.0);
    let key = given(&args.ssl_keyfile, TLS_ENV.1);
    if chain.is_some() != key.is_some() {
        problems.push("--ssl_certfile and --ssl_keyfile go together".to_owned());
    }
    let forward_headers = args
        .forward_headers
        .iter()
        .map(|name| name.trim())
        .filter(|name| !name.is_empty())
        .filter_map(|name| {
            let forwarded = Forwarded::parse(name);
            if forwarded.is_none() {
                problems.push(format!("--forward_headers: {name:?} is no header name"));
            }
            forwarded
        })
        .collect();
    let seconds = Duration::from_secs;
    Front {
        http: SocketAddr::new(args.host, args.http_port),
        grpc: args
            .enable_grpc
            .then(|| SocketAddr::new(args.host, args.grpc_port)),
        tls: chain.zip(key),
        max_connection_age: Some(args.grpc_max_connection_age_seconds)
            .filter(|&age| age > 0)
            .map(seconds),
        forward_headers,
        header_read_timeout: seconds(args.header_read_timeout_seconds),
        body_read_timeout: seconds(args.body_read_timeout_seconds),
        idle_timeout: seconds(args.idle_timeout_seconds),
        max_connections: args.max_connections,
        max_body_bytes: args.max_body_bytes,
        drain_notice: seconds(args.drain_notice_seconds),
        grace: seconds(args.grace_seconds),
    }
}

fn item_settings(args: &ServeArgs, problems: &mut Vec<String>) -> item::Settings {
    let url_allow = args
        .item_url_allow
        .iter()
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
        .filter_map(|text| match text.parse::<item::Allow>() {
            Ok(allow) => Some(allow),
            Err(problem) => {
                problems.push(format!("--item_url_allow: {problem}"));
                None
            }
        })
        .collect();
    item::Settings {
        max_item_bytes: args.max_item_bytes,
        max_bytes: args.max_bytes_in_flight,
        data_dir: args.data_dir.clone(),
        url_timeout: Duration::from_millis(args.item_url_timeout_ms),
        url_allow,
    }
}

fn predictor(args: &ServeArgs, problems: &mut Vec<String>) -> Predictor {
    let targets = match args.predictor_host.as_deref() {
        None | Some("") => Vec::new(),
        Some(text) => Target::parse_list(text, args.predictor_use_ssl).unwrap_or_else(|problem| {
            problems.push(problem);
            Vec::new()
        }),
    };
    if args.predictor_host.is_none() && !cfg!(feature = "embedded") {
        problems.push(
            "--predictor_host is needed: this build has no embedded model (feature embedded)"
                .to_owned(),
        );
    }
    if !targets.is_empty() && args.embedded_model.is_some() {
        problems.push("--embedded_model has no effect beside --predictor_host".to_owned());
    }
    let client = match (&args.predictor_cert_file, &args.predictor_key_file) {
        (None, None) => None,
        (Some(cert_file), Some(key_file)) if args.predictor_use_ssl => Some(ClientCertificate {
            cert_file: cert_file.clone(),
            key_file: key_file.clone(),
        }),
        (Some(_), Some(_)) => {
            problems
                .push("--predictor_cert_file has no effect without --predictor_use_ssl".to_owned());
            None
        }
        _ => {
            problems.push("--predictor_cert_file and --predictor_key_file go together".to_owned());
            None
        }
    };
    let headers = args.predictor_header.iter().filter_map(|text| {
        PredictorHeader::parse(text)
            .map_err(|problem| problems.push(format!("--predictor_header: {problem}")))
            .ok()
    });
    let headers = headers.collect();
    Predictor {
        targets,
        client,
        headers,
        protocol: args.predictor_protocol,
        tls: args.predictor_use_ssl,
        ca_file: args
            .predictor_ca_file
            .clone()
            .or_else(|| std::env::var_os(CA_ENV).map(PathBuf::from)),
        model: args.predictor_model.clone(),
        input: args.predictor_input.clone(),
        output: args.predictor_output.clone(),
        max_batch: args.predictor_max_batch,
        concurrency: args.concurrency,
        connections: args.connections,
        dns_refresh: Duration::from_secs(args.dns_refresh_seconds.max(1)),
        embedded_model: args.embedded_model.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn settings(flags: &[&str]) -> Result<Settings, ConfigErrors> {
        let flags: Vec<_> = flags.iter().map(|&flag| flag.to_owned()).collect();
        Settings::new(&ServeArgs::from_flags(&flags).unwrap())
    }

    #[test]
    fn all_problems_at_once() {
        let problems = settings(&[
            "--queue=0",
            "--model_name=a/b",
            "--ssl_certfile=c",
            "--forward_headers=x y",
            "--predictor_request_timeout_seconds=0",
        ])
        .unwrap_err()
        .to_string();
        let lines: Vec<_> = problems.lines().collect();
        assert_eq!(
            lines,
            [
                "--queue must be at least 1",
                "--model_name must be a word without / and :",
                "--ssl_certfile and --ssl_keyfile go together",
                "--forward_headers: \"x y\" is no header name",
                "--predictor_request_timeout_seconds must be above 0",
            ]
        );
    }

    #[test]
    fn every_interface_and_both_ports_by_default() {
        let front = settings(&[]).unwrap().front;
        assert_eq!(
            front.http,
            SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 8080)
        );
        assert_eq!(front.grpc.map(|address| address.port()), Some(8081));
        assert_eq!(settings(&["--enable_grpc=false"]).unwrap().front.grpc, None);
    }
}
