//! Spans of requests, made with OpenTelemetry's API: one for each request, below it one for each stage
//! and each call to the predictor. Where they go is `otlp.rs`; while that is off nothing is made.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderValue};
use opentelemetry::global::BoxedTracer;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt, Tracer as _};
use opentelemetry::{Context, Key, KeyValue, Value};
use opentelemetry_http::HeaderExtractor;

use super::trace::Trace;

/// The header that names a trace and a span of it (W3C Trace Context).
pub(crate) const TRACEPARENT: &str = "traceparent";

/// Sends out what was not exported yet, for so long at most. It blocks.
pub(super) type Shutdown = Box<dyn Fn(Duration) + Send + Sync>;

/// Whether spans are made, and by what. Clones share it; by default there are none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tracing(Option<Arc<Tracer>>);

struct Tracer {
    tracer: BoxedTracer,
    propagator: Box<dyn TextMapPropagator + Send + Sync>,
    /// Whether the predictor is told its parent.
    forward: bool,
    shutdown: Shutdown,
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tracer")
    }
}

impl Tracing {
    /// Spans by this tracer; `forward` says whether the predictor is told its parent.
    #[cfg_attr(not(feature = "otlp"), allow(dead_code))] // `otlp.rs` calls it
    pub(super) fn new(
        tracer: BoxedTracer,
        propagator: Box<dyn TextMapPropagator + Send + Sync>,
        forward: bool,
        shutdown: Shutdown,
    ) -> Self {
        Self(Some(Arc::new(Tracer {
            tracer,
            propagator,
            forward,
            shutdown,
        })))
    }

    /// The span that a request came from, by its headers.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Option<Caller> {
        let tracer = self.0.as_ref()?;
        let headers = HeaderExtractor(headers);
        let context = tracer
            .propagator
            .extract_with_context(&Context::new(), &headers);
        Some(Caller {
            tracer: Arc::clone(tracer),
            context,
        })
    }

    /// Exports what is left, for `limit` at most. No spans are made after it.
    pub(crate) async fn shutdown(&self, limit: Duration) {
        let Some(tracer) = self.0.clone() else { return };
        let (sender, done) = tokio::sync::oneshot::channel();
        // A thread of its own: it blocks, and what it waits for runs on the runtime.
        let thread = std::thread::Builder::new().name("traces".to_owned());
        let spawned = thread.spawn(move || {
            (tracer.shutdown)(limit);
            let _ = sender.send(());
        });
        if spawned.is_ok() {
            let _ = done.await;
        }
    }
}

/// The span that a request came from; an invalid one where the caller has no trace.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    tracer: Arc<Tracer>,
    context: Context,
}

impl Caller {
    /// Whether the caller has a trace.
    pub(crate) fn has_trace(&self) -> bool {
        self.context.span().span_context().is_valid()
    }

    /// The span of a request that began at `begin`; the sampler decides here whether it is recorded.
    pub(crate) fn begin(&self, name: Cow<'static, str>, begin: Instant) -> Span {
        let clock = Clock {
            wall: SystemTime::now(),
            monotonic: Instant::now(),
        };
        Span::start(
            &self.tracer,
            clock,
            &self.context,
            name,
            SpanKind::Server,
            begin,
        )
    }
}

/// Places the moments of one request on the wall clock, all by the same reading of it.
#[derive(Clone, Copy, Debug)]
struct Clock {
    wall: SystemTime,
    monotonic: Instant,
}

impl Clock {
    fn at(self, moment: Instant) -> SystemTime {
        match moment.checked_duration_since(self.monotonic) {
            Some(later) => self.wall + later,
            None => self.wall - self.monotonic.duration_since(moment),
        }
    }
}

/// A span that was begun. Clones share it; when the last one is dropped it ends.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    tracer: Arc<Tracer>,
    clock: Clock,
    context: Context,
}

impl Span {
    fn start(
        tracer: &Arc<Tracer>,
        clock: Clock,
        parent: &Context,
        name: Cow<'static, str>,
        kind: SpanKind,
        begin: Instant,
    ) -> Self {
        let builder = SpanBuilder::from_name(name)
            .with_kind(kind)
            .with_start_time(clock.at(begin));
        let span = tracer.tracer.build_with_context(builder, parent);
        Self {
            tracer: Arc::clone(tracer),
            clock,
            context: Context::new().with_span(span),
        }
    }

    fn child(&self, name: Cow<'static, str>, kind: SpanKind, begin: Instant) -> Self {
        let Self {
            tracer,
            clock,
            context,
        } = self;
        Self::start(tracer, *clock, context, name, kind, begin)
    }

    /// A span of work in this process.
    pub(crate) fn internal(&self, name: &'static str, begin: Instant) -> Self {
        self.child(name.into(), SpanKind::Internal, begin)
    }

    /// A span of a call to another process, which begins now.
    pub(crate) fn client(&self, name: &'static str) -> Self {
        self.child(name.into(), SpanKind::Client, Instant::now())
    }

    /// Whether it will be exported. If not, what is set costs something and does nothing.
    pub(crate) fn is_recording(&self) -> bool {
        self.context.span().is_recording()
    }

    /// Sets an attribute.
    pub(crate) fn set(&self, key: impl Into<Key>, value: impl Into<Value>) {
        self.context
            .span()
            .set_attribute(KeyValue::new(key, value.into()));
    }

    /// It failed: the kind of failure, and what there is to say of it.
    pub(crate) fn fail(&self, kind: &str, text: &str) {
        self.set("error.type", kind.to_owned());
        self.context
            .span()
            .set_status(Status::error(text.to_owned()));
    }

    /// It ended at this moment. Only the first end counts.
    pub(crate) fn end_at(&self, moment: Instant) {
        self.context
            .span()
            .end_with_timestamp(self.clock.at(moment));
    }

    /// It ends now.
    pub(crate) fn end(&self) {
        self.end_at(Instant::now());
    }

    /// Its trace, as logs and metrics name it.
    pub(crate) fn trace(&self) -> Trace {
        let span = self.context.span();
        let span = span.span_context();
        let id = u128::from_be_bytes(span.trace_id().to_bytes());
        Trace::new(id, span.is_sampled())
    }

    /// What tells the predictor that this span is its parent, if it is to be told.
    pub(crate) fn traceparent(&self) -> Option<HeaderValue> {
        let span = self.context.span();
        let span = span.span_context();
        let (trace, id) = (span.trace_id(), span.span_id());
        let flags = u8::from(span.is_sampled());
        self.tracer
            .forward
            .then(|| HeaderValue::try_from(format!("00-{trace}-{id}-{flags:02x}")).ok())?
    }
}

/// How traces are exported.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSettings {
    /// `--otlp_endpoint`: the collector's URL; without one nothing is traced.
    pub endpoint: Option<String>,
    /// What the collector speaks.
    pub protocol: OtlpProtocol,
    /// Which requests are recorded.
    pub sampler: Sampler,
}

/// A form of the OpenTelemetry Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OtlpProtocol {
    /// gRPC
    Grpc,
    /// Protobuf over HTTP
    #[value(name = "http/protobuf")]
    HttpProtobuf,
}

/// Which requests are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// The share of the requests whose caller has no trace, from 0 to 1.
    pub ratio: f64,
    /// Whether a caller that has a trace has decided already.
    pub parent_based: bool,
}
