//! Where spans go: in batches to an OpenTelemetry collector. Requests never wait for it: a span that
//! finds the queue full is dropped and counted, as is what the collector does not take.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, InstrumentationScope, Key, KeyValue};
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace as sdk;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter,
    SpanProcessor,
};
use tokio::runtime::Handle;

use super::metrics::SpanCounters;
use super::spans::{OtlpProtocol, Sampler, TraceSettings, Tracing};

/// OpenTelemetry's variable for the spans that wait to be exported, and its default.
const QUEUE_VARIABLE: &str = "OTEL_BSP_MAX_QUEUE_SIZE";
const QUEUE: usize = 2048;

/// OpenTelemetry's variables for the milliseconds that an export may take, and their default.
const TIMEOUT_VARIABLES: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
];
const TIMEOUT: u64 = 10_000;

/// Starts to export, on the current runtime. `forward` says whether the predictor is told its parent;
/// `spans` counts what became of them.
///
/// # Errors
///
/// When the collector's URL cannot be used.
pub(crate) fn start(
    settings: &TraceSettings,
    forward: bool,
    spans: &SpanCounters,
) -> Result<Tracing, String> {
    let Some(endpoint) = &settings.endpoint else {
        return Ok(Tracing::default());
    };
    let exporter = exporter(endpoint, settings.protocol)
        .map_err(|error| format!("--otlp_endpoint: {error}"))?;
    let count = Arc::new(Count {
        queued: AtomicUsize::new(0),
        is_full: AtomicBool::new(false),
        is_failing: AtomicBool::new(false),
        spans: spans.clone(),
    });
    let milliseconds = TIMEOUT_VARIABLES.into_iter().find_map(number);
    let exporter = OnRuntime {
        exporter: Arc::new(exporter),
        runtime: Handle::current(),
        timeout: Duration::from_millis(milliseconds.unwrap_or(TIMEOUT)),
        count: Arc::clone(&count),
    };
    let capacity = number(QUEUE_VARIABLE).map_or(QUEUE, |spans| spans.max(1) as usize);
    let config = BatchConfigBuilder::default().with_max_queue_size(capacity);
    let batches = BatchSpanProcessor::builder(exporter).with_batch_config(config.build());
    let provider = SdkTracerProvider::builder()
        .with_sampler(sampler(settings.sampler))
        .with_resource(resource())
        .with_span_processor(BoundedQueue {
            batches: batches.build(),
            capacity,
            count,
        })
        .build();
    let scope = InstrumentationScope::builder(env!("CARGO_CRATE_NAME"))
        .with_version(env!("CARGO_PKG_VERSION"))
        .build();
    let tracer = BoxedTracer::new(Box::new(provider.tracer_with_scope(scope)));
    let shutdown = move |limit| {
        if let Err(error) = provider.shutdown_with_timeout(limit) {
            tracing::warn!(%error, "spans are left that were not exported");
        }
    };
    let propagator = Box::new(TraceContextPropagator::new());
    Ok(Tracing::new(
        tracer,
        propagator,
        forward,
        Box::new(shutdown),
    ))
}

/// Also takes headers and compression from OpenTelemetry's variables.
fn exporter(
    endpoint: &str,
    protocol: OtlpProtocol,
) -> Result<opentelemetry_otlp::SpanExporter, String> {
    let builder = opentelemetry_otlp::SpanExporter::builder();
    let exporter = match protocol {
        OtlpProtocol::Grpc => {
            let mut builder = builder.with_tonic().with_endpoint(endpoint);
            if endpoint.starts_with("https:") {
                builder = builder.with_tls_config(ClientTlsConfig::new().with_native_roots());
            }
            builder.build()
        }
        OtlpProtocol::HttpProtobuf => {
            // An error means that one is installed already.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let client = reqwest::Client::builder().user_agent(crate::USER_AGENT);
            let client = client.build().map_err(|error| error.to_string())?;
            builder
                .with_http()
                .with_http_client(client)
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(traces_url(endpoint))
                .build()
        }
    };
    exporter.map_err(|error| error.to_string())
}

/// Where OTLP over HTTP has its traces, below the URL of the collector.
fn traces_url(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    if endpoint.ends_with("/v1/traces") {
        endpoint.to_owned()
    } else {
        format!("{endpoint}/v1/traces")
    }
}

fn sampler(sampler: Sampler) -> sdk::Sampler {
    let root = sdk::Sampler::TraceIdRatioBased(sampler.ratio);
    if sampler.parent_based {
        sdk::Sampler::ParentBased(Box::new(root))
    } else {
        root
    }
}

/// What the spans are of: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, and what they leave open.
fn resource() -> Resource {
    let given = Resource::builder().build();
    let get = |key| given.get(&Key::from_static_str(key));
    let name = get("service.name").map(|name| name.to_string());
    let mut builder = Resource::builder();
    // What the SDK calls a service without a name.
    if name.is_none_or(|name| name.starts_with("unknown_service")) {
        builder = builder.with_service_name(env!("CARGO_PKG_NAME"));
    }
    if get("service.version").is_none() {
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        builder = builder.with_attribute(version);
    }
    builder.build()
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.trim().parse().ok()
}

/// What became of the spans.
#[derive(Debug)]
struct Count {
    /// Spans that wait, or are on their way.
    queued: AtomicUsize,
    /// Whether the log has been told that the queue is full.
    is_full: AtomicBool,
    /// Whether the log has been told that exports fail.
    is_failing: AtomicBool,
    spans: SpanCounters,
}

impl Count {
    /// Whether one more may wait.
    fn try_queue(&self, capacity: usize) -> bool {
        if self.queued.fetch_add(1, Ordering::Relaxed) < capacity {
            return true;
        }
        self.queued.fetch_sub(1, Ordering::Relaxed);
        self.spans.dropped.inc();
        if !self.is_full.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                capacity,
                "the queue of spans is full ({QUEUE_VARIABLE}): spans are dropped, and counted in \
                 the metric spans_total"
            );
        }
        false
    }

    /// So many have left the queue.
    fn exported(&self, spans: usize, result: Result<(), String>) {
        self.queued.fetch_sub(spans, Ordering::Relaxed);
        match result {
            Ok(()) => {
                self.spans.exported.inc_by(spans as u64);
                self.is_full.store(false, Ordering::Relaxed);
                if self.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the collector takes spans again");
                }
            }
            Err(error) => {
                self.spans.failed.inc_by(spans as u64);
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        error,
                        "the collector does not take spans (--otlp_endpoint): they are lost, and \
                         counted in the metric spans_total"
                    );
                }
            }
        }
    }
}

/// The SDK's batches behind a bound whose drops are counted.
#[derive(Debug)]
struct BoundedQueue {
    batches: BatchSpanProcessor,
    capacity: usize,
    count: Arc<Count>,
}

impl SpanProcessor for BoundedQueue {
    fn on_start(&self, _: &mut sdk::Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.count.try_queue(self.capacity) {
            self.batches.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Exports on the runtime, in bounded time: the SDK's own thread has neither a clock nor sockets.
#[derive(Debug)]
struct OnRuntime {
    exporter: Arc<opentelemetry_otlp::SpanExporter>,
    runtime: Handle,
    timeout: Duration,
    count: Arc<Count>,
}

impl SpanExporter for OnRuntime {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (spans, timeout) = (batch.len(), self.timeout);
        let exporter = Arc::clone(&self.exporter);
        let export = async move { tokio::time::timeout(timeout, exporter.export(batch)).await };
        let result = match self.runtime.spawn(export).await {
            Ok(Ok(result)) => result.map_err(|error| error.to_string()),
            Ok(Err(_)) => Err(format!("no answer within {} ms", timeout.as_millis())),
            Err(ended) => Err(ended.to_string()),
        };
        self.count.exported(spans, result);
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        // Nothing is being exported yet.
        if let Some(exporter) = Arc::get_mut(&mut self.exporter) {
            exporter.set_resource(resource);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metrics::Metrics;

    #[test]
    fn traces_have_a_place_below_the_collectors_url() {
        let expected = "http://c:4318/v1/traces";
        for given in ["http://c:4318", "http://c:4318/", expected] {
            assert_eq!(traces_url(given), expected);
        }
        assert_eq!(traces_url("https://c/otlp"), "https://c/otlp/v1/traces");
    }

    #[test]
    fn a_full_queue_drops_spans_and_counts_them() {
        let count = Count {
            queued: AtomicUsize::new(0),
            is_full: AtomicBool::new(false),
            is_failing: AtomicBool::new(false),
            spans: Metrics::default().spans.clone(),
        };
        let queued = (0..5).filter(|_| count.try_queue(3)).count();
        assert_eq!(queued, 3);
        count.exported(2, Err("unreachable".to_owned()));
        assert!(count.try_queue(3) && count.try_queue(3) && !count.try_queue(3));
        count.exported(3, Ok(()));
        let SpanCounters {
            exported,
            failed,
            dropped,
        } = &count.spans;
        assert_eq!(
            [exported, failed, dropped].map(|counter| counter.get()),
            [3, 2, 3]
        );
    }
}
