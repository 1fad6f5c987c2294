//! Settings as they took effect: what `config` prints, and the limits that `/metrics` shows.
//!
//! Every struct is destructured without `..`, so that a setting that is forgotten here does not
//! compile.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;

use crate::faces::PhotoOptions;
use crate::observe::spans::TraceSettings;
use crate::predictor::Target;
use crate::settings::{
    FrontSettings, LogSettings, ModelHost, PhotoSettings, PredictorSettings, Settings, Source,
};
use crate::transport::HeaderPattern;
use crate::{admission, engine, item, pixel};

/// A setting and its value, both as the flag takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The flag, without hyphens before it.
    pub flag: &'static str,
    /// Its value; none if the setting has none.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: Source,
}

impl Settings {
    /// All settings of `serve`, in the order of its `--help`.
    pub fn effective(&self) -> Vec<Effective> {
        let Self {
            name: _,
            front,
            model_name,
            predictor,
            photo,
            engine,
            admission,
            pixel,
            max_request_pixels,
            max_pixels_in_flight,
            pixel_threads,
            item,
            log,
            traces,
            without_effect: _,
            sources,
        } = self;
        let FrontSettings {
            http,
            grpc,
            ui,
            tls,
            max_connection_age,
            forward_headers,
            cors_allow_origin,
            header_read_timeout,
            body_read_timeout,
            idle_timeout,
            max_connections,
            max_header_bytes,
            max_body_bytes,
            drain_notice,
            grace,
        } = front;
        let PredictorSettings {
            targets,
            protocol,
            tls: predictor_tls,
            ca_file,
            client,
            headers,
            model,
            input,
            output,
            max_batch,
            concurrency,
            connections,
            dns_refresh,
            model_hosts,
            embedded_model,
        } = predictor;
        let PhotoSettings {
            enabled,
            detector,
            options:
                PhotoOptions {
                    detect_side,
                    detect_threshold,
                    face_margin,
                    face_crop,
                },
        } = photo;
        let engine::Limits {
            max_images,
            timeout,
            image_errors,
            // Shown where they are set: among the predictor's and the image settings.
            concurrency: _,
            pixel_threads: _,
        } = engine;
        let admission::Limits {
            images,
            bytes,
            queue_timeout,
        } = admission;
        let pixel::Options {
            max_pixels,
            exif_orientation,
            formats,
        } = pixel;
        let item::Settings {
            max_item_bytes,
            // The same flag as `bytes`.
            max_bytes: _,
            data_dir,
            url_timeout,
            url_proxy,
            url_allow,
        } = item;
        let LogSettings {
            filter,
            format,
            predictions,
            settable,
        } = log;
        let TraceSettings {
            endpoint,
            protocol: otlp_protocol,
            sampler,
        } = traces;
        let tls = tls.as_ref();
        let max_age = max_connection_age.unwrap_or_default();
        let rows = [
            text("host", http.ip()),
            text("http_port", http.port()),
            some("grpc_port", grpc.as_ref().map(SocketAddr::port)),
            text("enable_grpc", grpc.is_some()),
            text("enable_ui", ui),
            text("model_name", model_name),
            path("ssl_certfile", tls.map(|tls| tls.certificates.as_path())),
            path("ssl_keyfile", tls.map(|tls| tls.key.as_path())),
            path(
                "ssl_client_ca_file",
                tls.and_then(|tls| tls.client_authorities.as_deref()),
            ),
            seconds("grpc_max_connection_age_seconds", max_age),
            list("forward_headers", forward_headers, HeaderPattern::text),
            list("cors_allow_origin", cors_allow_origin, |origin| {
                String::from_utf8_lossy(origin.as_bytes()).into_owned()
            }),
            seconds("header_read_timeout_seconds", *header_read_timeout),
            seconds("body_read_timeout_seconds", *body_read_timeout),
            seconds("idle_timeout_seconds", *idle_timeout),
            seconds("drain_notice_seconds", *drain_notice),
            seconds("grace_seconds", *grace),
            list("predictor_host", targets, Target::to_string),
            some(
                "model_host",
                (!model_hosts.is_empty()).then(|| {
                    let hosts: Vec<_> = model_hosts.iter().map(ModelHost::to_string).collect();
                    hosts.join(";")
                }),
            ),
            choice("predictor_protocol", protocol),
            text("predictor_model", model),
            text("predictor_input", input),
            text("predictor_output", output),
            text("predictor_max_batch", max_batch),
            text("predictor_use_ssl", predictor_tls),
            path("predictor_ca_file", ca_file.as_deref()),
            path(
                "predictor_cert_file",
                client.as_ref().map(|client| client.cert_file.as_path()),
            ),
            path(
                "predictor_key_file",
                client.as_ref().map(|client| client.key_file.as_path()),
            ),
            // Names and files, no values.
            list("predictor_header", headers, ToString::to_string),
            seconds("predictor_request_timeout_seconds", *timeout),
            text("concurrency", concurrency),
            text("connections", connections),
            seconds("dns_refresh_seconds", *dns_refresh),
            path("embedded_model", embedded_model.as_deref()),
            text("queue", images),
            milliseconds("queue_timeout_ms", *queue_timeout),
            text("max_bytes_in_flight", bytes),
            text("max_body_bytes", max_body_bytes),
            text("max_item_bytes", max_item_bytes),
            text("max_pixels", max_pixels),
            text("max_request_pixels", max_request_pixels),
            text("max_pixels_in_flight", max_pixels_in_flight),
            text("max_images", max_images),
            text("max_connections", max_connections),
            text("max_header_bytes", max_header_bytes),
            text("pixel_threads", pixel_threads),
            choice("exif_orientation", exif_orientation),
            text("formats", formats),
            choice("image_errors", image_errors),
            path("data_dir", data_dir.as_deref()),
            milliseconds("item_url_timeout_ms", *url_timeout),
            some("item_url_proxy", url_proxy.as_ref()),
            list("item_url_allow", url_allow, ToString::to_string),
            text("enable_facephoto", enabled),
            text("detector_model", detector),
            text("detect_side", detect_side),
            text("detect_threshold", detect_threshold),
            text("face_margin", face_margin),
            choice("face_crop", face_crop),
            text("log_level", filter),
            choice("log_format", format),
            text("enable_latency_logging", predictions),
            text("enable_log_settings", settable),
            some("otlp_endpoint", endpoint.as_ref()),
            choice("otlp_protocol", otlp_protocol),
            text("trace_sample", sampler.ratio),
        ];
        let rows = rows.into_iter().map(|row| Effective {
            source: sources.get(row.flag),
            ..row
        });
        rows.collect()
    }

    /// The limits as the metric `limit` shows them, by flag.
    pub fn limits(&self) -> [(&'static str, u64); 6] {
        [
            ("concurrency", self.predictor.concurrency as u64),
            ("queue", self.admission.images as u64),
            ("max_bytes_in_flight", self.admission.bytes as u64),
            ("max_pixels_in_flight", self.max_pixels_in_flight),
            ("max_connections", self.front.max_connections as u64),
            ("pixel_threads", self.pixel_threads as u64),
        ]
    }
}

impl Display for ModelHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.targets.as_slice() {
            [] => write!(f, "{}=embedded", self.model),
            targets => write!(f, "{}={}", self.model, display_targets(targets)),
        }
    }
}

/// Targets as `--predictor_host` takes them.
pub(crate) fn display_targets(targets: &[Target]) -> String {
    join(targets, Target::to_string)
}

fn join<T>(values: &[T], write: impl Fn(&T) -> String) -> String {
    values.iter().map(write).collect::<Vec<_>>().join(",")
}

fn some(flag: &'static str, value: Option<impl Display>) -> Effective {
    let value = value.map(|value| value.to_string());
    let source = Source::Default;
    Effective {
        flag,
        value,
        source,
    }
}

fn text(flag: &'static str, value: impl Display) -> Effective {
    some(flag, Some(value))
}

fn path(flag: &'static str, value: Option<&Path>) -> Effective {
    some(flag, value.map(Path::display))
}

fn list<T>(flag: &'static str, values: &[T], write: impl Fn(&T) -> String) -> Effective {
    some(flag, (!values.is_empty()).then(|| join(values, write)))
}

/// A value by the name that clap parses.
fn choice(flag: &'static str, value: &impl ValueEnum) -> Effective {
    let value = value.to_possible_value();
    some(flag, value.as_ref().map(|value| value.get_name()))
}

fn seconds(flag: &'static str, value: Duration) -> Effective {
    text(flag, value.as_secs_f64())
}

fn milliseconds(flag: &'static str, value: Duration) -> Effective {
    text(flag, value.as_millis())
}

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;
    use crate::settings::ServeArgs;

    fn effective(flags: &[&str]) -> Vec<Effective> {
        let flags: Vec<_> = flags.iter().map(|&flag| flag.to_owned()).collect();
        let args = ServeArgs::from_flags(&flags).unwrap();
        Settings::new(&args).unwrap().effective()
    }

    #[test]
    fn every_flag_is_shown_in_the_order_of_the_help() {
        let command = ServeArgs::augment_args(clap::Command::new("serve"));
        let flags: Vec<_> = command
            .get_arguments()
            .filter(|flag| !flag.is_hide_set())
            .map(|flag| flag.get_id().to_string())
            .collect();
        let shown: Vec<_> = effective(&[]).iter().map(|row| row.flag).collect();
        assert_eq!(shown, flags);
    }

    #[test]
    fn each_value_has_its_source() {
        let rows = effective(&["--queue=5"]);
        let source = |flag| rows.iter().find(|row| row.flag == flag).unwrap().source;
        assert_eq!(source("queue"), Source::Flag);
        assert_eq!(source("max_images"), Source::Default);
    }

    #[test]
    fn values_can_be_given_to_the_flags_again() {
        let given = [
            "--predictor_host=a:1,dns:///b:2,unix:/c",
            "--model_host=centerface=embedded",
            "--predictor_protocol=grpc-v2",
            "--face_crop=align",
            "--image_errors=report",
            "--max_body_bytes=1MiB",
            "--item_url_allow=10.1.0.0/16,minio",
            "--forward_headers=x-a,x-b3-*",
            "--cors_allow_origin=https://a.test,https://b.test:8443",
            "--predictor_request_timeout_seconds=0.5",
            "--enable_grpc=false",
            "--log_format=json",
        ];
        let first = effective(&given);
        let again: Vec<_> = first
            .iter()
            .filter_map(|row| Some(format!("--{}={}", row.flag, row.value.as_ref()?)))
            .collect();
        let again: Vec<_> = again.iter().map(String::as_str).collect();
        let values = |rows: Vec<Effective>| rows.into_iter().map(|row| row.value);
        assert!(values(effective(&again)).eq(values(first)));
    }
}
