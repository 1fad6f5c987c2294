//! Flags of KServe's SDK and controller that are accepted so that its manifests need no change, but
//! have no effect.

use std::fmt;

use clap::Args;

/// A flag or a variable that was given although it has no effect.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Ignored {
    /// The flag, with its hyphens, or the variable.
    pub what: String,
    /// Why it has no effect, and what to use instead.
    pub reason: &'static str,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has no effect: {}", self.what, self.reason)
    }
}

/// Flags that have no effect here; each that is given is named in the log.
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
    /// The flags that were given.
    pub(crate) fn given(&self) -> Vec<Ignored> {
        let Self {
            workers,
            protocol,
            max_threads,
            max_asyncio_workers,
            enable_docs_url,
            configure_logging,
            log_config_file,
            access_log_format,
            event_loop,
            predictor_request_retries,
            enable_predictor_health_check,
            grpc_max_send_message_length,
            grpc_max_receive_message_length,
        } = self;
        let threads = "--pixel_threads sets the number of threads";
        let logs = "--log_level and --log_format set up the log";
        let given = |value: &Option<String>, name, reason| {
            value.as_ref().map(|_| Ignored {
                what: format!("--{name}"),
                reason,
            })
        };
        [
            given(
                workers,
                "workers",
                "one process serves all requests; see --pixel_threads and --concurrency",
            ),
            given(
                protocol,
                "protocol",
                "--predictor_protocol sets the predictor's protocol",
            ),
            given(max_threads, "max_threads", threads),
            given(max_asyncio_workers, "max_asyncio_workers", threads),
            given(
                enable_docs_url,
                "enable_docs_url",
                "--enable_ui decides whether there is /docs; /openapi.json always is",
            ),
            given(configure_logging, "configure_logging", logs),
            given(log_config_file, "log_config_file", logs),
            given(access_log_format, "access_log_format", logs),
            given(event_loop, "event_loop", "there is one runtime"),
            given(
                predictor_request_retries,
                "predictor_request_retries",
                "calls that did not run are retried once on another connection",
            ),
            given(
                enable_predictor_health_check,
                "enable_predictor_health_check",
                "the predictor is always checked",
            ),
            given(
                grpc_max_send_message_length,
                "grpc_max_send_message_length",
                "responses are small",
            ),
            given(
                grpc_max_receive_message_length,
                "grpc_max_receive_message_length",
                "--max_body_bytes is the limit for every protocol",
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
