//! From flags to settings: what each must be, and what must not be given together. All problems are
//! reported at once.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::observe::log;
use crate::predictor::{ClientCertificate, PredictorHeader, Target};
use crate::quote::quote;
use crate::settings::durations::Durations;
use crate::settings::models;
use crate::settings::traces::Traces;
use crate::settings::{
    ConfigErrors, FrontSettings, LogSettings, PredictorSettings, ServeArgs, Settings,
};
use crate::transport::HeaderPattern;
use crate::transport::tls::TlsFiles;
use crate::{admission, engine, item, pixel};

/// KServe's variable for the certificate authorities of a TLS predictor.
const CA_FILE_VARIABLE: &str = "REQUESTS_CA_BUNDLE";
/// KServe's variable for the service's certificate chain.
const CERTIFICATES_VARIABLE: &str = "KSERVE_TLS_CERT_FILE";
/// KServe's variable for the service's private key.
const KEY_VARIABLE: &str = "KSERVE_TLS_KEY_FILE";

impl Settings {
    /// Validates the flags.
    ///
    /// # Errors
    ///
    /// All problems at once.
    pub fn new(args: &ServeArgs) -> Result<Self, ConfigErrors> {
        let mut problems = Vec::new();
        check_numbers(args, &mut problems);
        let front = front(args, &mut problems);
        let item = item_settings(args, &mut problems);
        let predictor = predictor(args, &mut problems);
        let photo = models::photo(args, &predictor, &mut problems);
        let mut durations = Durations {
            problems: &mut problems,
        };
        let timeout = durations.fraction(
            "predictor_request_timeout_seconds",
            args.predictor_request_timeout_seconds,
        );
        let queue_timeout =
            durations.milliseconds_or_zero("queue_timeout_ms", args.queue_timeout_ms);
        problems.extend(log::parse_filter(&args.log_level).err());
        let traces = Traces::new(args, |name| std::env::var(name).ok(), &mut problems);
        let mut sources = args.sources.clone();
        if !problems.is_empty() {
            let problems = problems.into_iter();
            return Err(ConfigErrors(
                problems.map(|problem| sources.explain(problem)).collect(),
            ));
        }
        for (flag, given, value) in [
            (
                "ssl_certfile",
                args.ssl_certfile.is_some(),
                front.tls.is_some(),
            ),
            (
                "ssl_keyfile",
                args.ssl_keyfile.is_some(),
                front.tls.is_some(),
            ),
            (
                "predictor_ca_file",
                args.predictor_ca_file.is_some(),
                predictor.ca_file.is_some(),
            ),
        ] {
            if value && !given {
                sources.set_environment(flag);
            }
        }
        for flag in traces.from_environment {
            sources.set_environment(flag);
        }
        let mut without_effect = args.kserve.given();
        without_effect.extend(traces.ignored);
        without_effect.extend(sources.ignored.iter().cloned());
        Ok(Self {
            name: args.name,
            front,
            model_name: args.model_name.clone(),
            predictor,
            photo,
            engine: engine::Limits {
                max_images: args.max_images,
                timeout,
                image_errors: args.image_errors,
                concurrency: args.concurrency,
                pixel_threads: resolve_threads(args.pixel_threads),
            },
            admission: admission::Limits {
                images: args.queue,
                bytes: args.max_bytes_in_flight,
                queue_timeout,
            },
            pixel: pixel::Options {
                max_pixels: args.max_pixels,
                exif_orientation: args.exif_orientation,
                formats: args.formats,
            },
            max_request_pixels: args.max_request_pixels,
            max_pixels_in_flight: args.max_pixels_in_flight,
            pixel_threads: resolve_threads(args.pixel_threads),
            item,
            log: LogSettings {
                filter: args.log_level.clone(),
                format: args.log_format,
                predictions: args.enable_latency_logging,
                settable: args.enable_log_settings,
            },
            traces: traces.settings,
            without_effect,
            sources,
        })
    }
}

/// `--pixel_threads`, where 0 means the cores that the cgroup gives.
fn resolve_threads(threads: usize) -> usize {
    if threads == 0 {
        std::thread::available_parallelism().map_or(1, usize::from)
    } else {
        threads
    }
}

/// Refuses counts of 0, with which no request could succeed.
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
        ("detect_side", args.detect_side),
        (
            "max_pixels",
            usize::try_from(args.max_pixels).unwrap_or(usize::MAX),
        ),
        (
            "max_request_pixels",
            usize::try_from(args.max_request_pixels).unwrap_or(usize::MAX),
        ),
        (
            "max_pixels_in_flight",
            usize::try_from(args.max_pixels_in_flight).unwrap_or(usize::MAX),
        ),
    ] {
        if value == 0 {
            problems.push(format!("--{flag} must be at least 1"));
        }
    }
    // The HTTP library takes no smaller buffers, and HTTP/2 counts in 32 bits.
    if !(8192..=1 << 30).contains(&args.max_header_bytes) {
        problems.push("--max_header_bytes must be from 8192 to 1073741824".to_owned());
    }
    if args.max_connections > tokio::sync::Semaphore::MAX_PERMITS
        || args.concurrency > tokio::sync::Semaphore::MAX_PERMITS
    {
        problems.push(format!(
            "--max_connections and --concurrency must be at most {}",
            tokio::sync::Semaphore::MAX_PERMITS
        ));
    }
}

fn front(args: &ServeArgs, problems: &mut Vec<String>) -> FrontSettings {
    if args.model_name.is_empty() || args.model_name.contains(['/', ':']) {
        problems.push("--model_name must be a non-empty name without / and :".to_owned());
    }
    if args.enable_grpc && args.http_port == args.grpc_port && args.http_port != 0 {
        problems.push(format!(
            "--http_port and --grpc_port are both {}: give them different ports, or --enable_grpc \
             false, since --http_port serves gRPC too",
            args.http_port
        ));
    }
    if args.drain_notice_seconds > args.grace_seconds {
        problems.push("--drain_notice_seconds must not be greater than --grace_seconds".to_owned());
    }
    let certificates = path_or_variable(args.ssl_certfile.as_ref(), CERTIFICATES_VARIABLE);
    let key = path_or_variable(args.ssl_keyfile.as_ref(), KEY_VARIABLE);
    let tls = match (certificates, key) {
        (Some(certificates), Some(key)) => Some(TlsFiles {
            certificates,
            key,
            client_authorities: args.ssl_client_ca_file.clone(),
        }),
        (None, None) => {
            if args.ssl_client_ca_file.is_some() {
                problems
                    .push("--ssl_client_ca_file needs --ssl_certfile and --ssl_keyfile".to_owned());
            }
            None
        }
        _ => {
            problems.push("--ssl_certfile and --ssl_keyfile must be given together".to_owned());
            None
        }
    };
    let forward_headers = args
        .forward_headers
        .iter()
        .map(|name| name.trim())
        .filter(|name| !name.is_empty())
        .filter_map(|name| {
            let forwarded = HeaderPattern::parse(name);
            if forwarded.is_none() {
                problems.push(format!(
                    "--forward_headers: invalid header name {}",
                    quote(name)
                ));
            }
            forwarded
        })
        .collect();
    let cors_allow_origin = args
        .cors_allow_origin
        .iter()
        .map(|origin| origin.trim())
        .filter(|origin| !origin.is_empty())
        .filter_map(|origin| {
            let valid = origin == "*" || origin.contains("://") && !origin.ends_with('/');
            let value = http::HeaderValue::from_str(origin).ok();
            let value = value.filter(|_| valid);
            if value.is_none() {
                problems.push(format!(
                    "--cors_allow_origin: invalid origin {}; expected SCHEME://HOST[:PORT] or *",
                    quote(origin)
                ));
            }
            value
        })
        .collect();
    let mut durations = Durations { problems };
    FrontSettings {
        http: SocketAddr::new(args.host, args.http_port),
        grpc: args
            .enable_grpc
            .then(|| SocketAddr::new(args.host, args.grpc_port)),
        ui: args.enable_ui,
        tls,
        max_connection_age: Some(durations.seconds_or_zero(
            "grpc_max_connection_age_seconds",
            args.grpc_max_connection_age_seconds,
        ))
        .filter(|age| !age.is_zero()),
        forward_headers,
        cors_allow_origin,
        header_read_timeout: durations.seconds(
            "header_read_timeout_seconds",
            args.header_read_timeout_seconds,
        ),
        body_read_timeout: durations
            .seconds("body_read_timeout_seconds", args.body_read_timeout_seconds),
        idle_timeout: durations.seconds("idle_timeout_seconds", args.idle_timeout_seconds),
        max_connections: args.max_connections,
        max_header_bytes: args.max_header_bytes,
        max_body_bytes: args.max_body_bytes,
        drain_notice: durations.seconds_or_zero("drain_notice_seconds", args.drain_notice_seconds),
        grace: durations.seconds_or_zero("grace_seconds", args.grace_seconds),
    }
}

fn item_settings(args: &ServeArgs, problems: &mut Vec<String>) -> item::Settings {
    let url_allow = args
        .item_url_allow
        .iter()
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
        .filter_map(|text| match text.parse::<item::AllowRule>() {
            Ok(allow) => Some(allow),
            Err(problem) => {
                problems.push(format!("--item_url_allow: {problem}"));
                None
            }
        })
        .collect();
    let url_proxy = args.item_url_proxy.as_deref().and_then(|text| {
        let proxy = item::UrlProxy::parse(text);
        proxy
            .map_err(|problem| problems.push(format!("--item_url_proxy: {problem}")))
            .ok()
    });
    item::Settings {
        max_item_bytes: args.max_item_bytes,
        max_bytes: args.max_bytes_in_flight,
        data_dir: args.data_dir.clone(),
        url_timeout: Durations { problems }
            .milliseconds("item_url_timeout_ms", args.item_url_timeout_ms),
        url_proxy,
        url_allow,
    }
}

fn predictor(args: &ServeArgs, problems: &mut Vec<String>) -> PredictorSettings {
    let targets = match args.predictor_host.as_deref() {
        None | Some("") => Vec::new(),
        Some(text) => Target::parse_list(text, args.predictor_use_ssl).unwrap_or_else(|problem| {
            problems.push(problem);
            Vec::new()
        }),
    };
    if args.predictor_host.is_none() && !cfg!(feature = "embedded") {
        problems.push(
            "--predictor_host is required: this build has no embedded model (feature `embedded`)"
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
    let model_hosts = models::hosts(args, problems);
    PredictorSettings {
        model_hosts,
        client,
        headers,
        targets,
        protocol: args.predictor_protocol,
        tls: args.predictor_use_ssl,
        ca_file: path_or_variable(args.predictor_ca_file.as_ref(), CA_FILE_VARIABLE),
        model: args.predictor_model.clone(),
        input: args.predictor_input.clone(),
        output: args.predictor_output.clone(),
        max_batch: args.predictor_max_batch,
        concurrency: args.concurrency,
        connections: args.connections,
        dns_refresh: Durations { problems }
            .seconds("dns_refresh_seconds", args.dns_refresh_seconds),
        embedded_model: args.embedded_model.clone(),
    }
}

/// A flag's path, or that of KServe's variable for the same.
fn path_or_variable(flag: Option<&PathBuf>, variable: &str) -> Option<PathBuf> {
    flag.cloned()
        .or_else(|| std::env::var_os(variable).map(PathBuf::from))
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
    fn authorities_of_callers_need_a_certificate_of_our_own() {
        let alone = settings(&["--ssl_client_ca_file=ca"]).unwrap_err();
        assert_eq!(
            alone.to_string(),
            "--ssl_client_ca_file needs --ssl_certfile and --ssl_keyfile"
        );
        let all = [
            "--ssl_client_ca_file=ca",
            "--ssl_certfile=c",
            "--ssl_keyfile=k",
        ];
        let tls = settings(&all).unwrap().front.tls.unwrap();
        assert_eq!(tls.client_authorities.unwrap().to_str(), Some("ca"));
    }

    #[test]
    fn all_problems_at_once() {
        let problems = settings(&[
            "--queue=0",
            "--max_pixels_in_flight=0",
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
                "--max_pixels_in_flight must be at least 1",
                "--model_name must be a non-empty name without / and :",
                "--ssl_certfile and --ssl_keyfile must be given together",
                "--forward_headers: invalid header name \"x y\"",
                "--predictor_request_timeout_seconds must be from 0.001 to 86400 (one day)",
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
