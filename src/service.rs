//! The service in one piece: what `serve` runs until a signal, and what tests start on free ports.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
#[cfg(feature = "otlp")]
use http::HeaderName;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::admission::Admission;
use crate::engine::Engine;
use crate::error::Error;
use crate::front::{self, GrpcRoutes, Router};
use crate::item::Fetcher;
use crate::observe::metrics::Metrics;
use crate::observe::observer::Observer;
#[cfg(feature = "otlp")]
use crate::observe::otlp;
#[cfg(feature = "otlp")]
use crate::observe::spans::TRACEPARENT;
use crate::observe::spans::Tracing;
use crate::oip::{InferenceService, OpenInference};
use crate::pixel::ExifOrientation;
use crate::predictor;
use crate::settings::{ConfigErrors, Settings};
use crate::shutdown::{self, Phase, ShutdownHandle};
use crate::transformer::{PixelBudget, PixelThreads, Resources, WorkerScratch};
use crate::transformers::Transformers;
use crate::transport::tls::ServerTls;
use crate::transport::{self, BodyLimits, ConnectionSettings};
use crate::workers::CpuPool;

/// Jobs waiting for each pixel thread. `--queue` bounds the images; this bounds only how many of
/// them stand in line as jobs.
const JOBS_PER_THREAD: usize = 256;

/// How often [`wait_ready`] looks again.
const READY_POLL: Duration = Duration::from_millis(20);

/// How long the end of the service waits for the collector to take the last spans.
const FLUSH_TIME: Duration = Duration::from_secs(5);

/// Names the models of a service and adds its transformers.
pub type Build = fn(&mut Transformers<'_>) -> Result<(), ConfigErrors>;

/// A service that runs.
pub struct Service {
    /// Where REST and gRPC are served.
    pub http: SocketAddr,
    /// Where gRPC alone is served.
    pub grpc: Option<SocketAddr>,
    engine: Arc<Engine>,
    shutdown: ShutdownHandle,
    servers: JoinSet<()>,
    tracing: Tracing,
    notice: Duration,
    grace: Duration,
}

/// The engine of the settings; `predict` uses it without any port.
///
/// # Errors
///
/// When a folder, a model or a thread is not available.
pub(crate) fn engine(
    settings: &Settings,
    build: impl Fn(&mut Transformers<'_>) -> Result<(), ConfigErrors>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Arc<Engine>> {
    let mut transformers = Transformers::new(settings, metrics);
    build(&mut transformers)?;
    let pixels = PixelThreads::start(
        "pixels",
        settings.pixel_threads,
        settings.pixel_threads * JOBS_PER_THREAD,
        WorkerScratch::default,
    );
    let fetcher =
        Fetcher::new(settings.item.clone(), Arc::clone(metrics)).map_err(ConfigErrors::from_one)?;
    let admission = Admission::new(settings.admission, metrics);
    let pixels = Arc::new(pixels.context("cannot start the pixel threads")?);
    let (waiting, busy) = (Arc::downgrade(&pixels), Arc::downgrade(&pixels));
    metrics.scraped_value(
        "pixel_jobs_waiting",
        "images in the queue of the pixel threads",
        move || {
            waiting
                .upgrade()
                .map_or(0.0, |pixels| pixels.waiting() as f64)
        },
    );
    metrics.scraped_value(
        "pixel_threads_busy",
        "pixel threads that are at work",
        move || busy.upgrade().map_or(0.0, |pixels| pixels.busy() as f64),
    );
    let resources = Resources {
        pixels,
        fetcher: Arc::new(fetcher),
        pixel_budget: PixelBudget::new(
            settings.pixel.max_pixels,
            settings.max_request_pixels,
            settings.max_pixels_in_flight,
            settings.pixel_threads,
            metrics,
        ),
        bytes: admission.bytes().clone(),
    };
    Ok(Arc::new(Engine::new(
        transformers.finish()?,
        resources,
        admission,
        settings.engine,
        metrics,
    )))
}

/// Waits until all models take requests.
///
/// # Errors
///
/// When they still do not after `patience`; the reason.
pub(crate) async fn wait_ready(
    service: &dyn InferenceService,
    patience: Duration,
) -> Result<(), Error> {
    let end = Instant::now() + patience;
    while let Some(reason) = service.not_ready() {
        if Instant::now() > end {
            return Err(predictor::Error::NotReady(reason).into());
        }
        tokio::time::sleep(READY_POLL).await;
    }
    Ok(())
}

/// The metrics of the settings.
pub(crate) fn metrics(settings: &Settings) -> Arc<Metrics> {
    Arc::new(Metrics::new(settings.name, &settings.limits()))
}

/// Opens what the settings name, as [`Service::start`] does, but no port.
///
/// # Errors
///
/// When a folder, a certificate or a model cannot be used.
pub(crate) fn check(settings: &Settings, build: Build) -> anyhow::Result<()> {
    server_tls(settings)?;
    engine(settings, build, &metrics(settings))?;
    Ok(())
}

fn server_tls(settings: &Settings) -> Result<Option<Arc<ServerTls>>, ConfigErrors> {
    let tls = settings.front.tls.as_ref().map(ServerTls::load);
    let tls = tls.transpose().map_err(ConfigErrors::from_one)?;
    Ok(tls.map(Arc::new))
}

impl Service {
    /// Opens the ports and serves the transformers that `build` gives, such as
    /// [`command::transformers`](crate::command::transformers).
    ///
    /// # Errors
    ///
    /// When a port, a file or a thread is not available.
    pub async fn start(
        settings: Settings,
        build: impl Fn(&mut Transformers<'_>) -> Result<(), ConfigErrors>,
    ) -> anyhow::Result<Self> {
        let metrics = metrics(&settings);
        let engine = engine(&settings, build, &metrics)?;
        let tracing = start_tracing(&settings, &metrics)?;
        let (router, grpc_routes) = routes(&settings, &engine, &metrics, tracing.clone())?;
        let tls = server_tls(&settings)?;
        let front = settings.front;
        let http = listen(front.http).await?;
        let grpc = match front.grpc {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let http_address = http.local_addr()?;
        let grpc_address = grpc.as_ref().map(TcpListener::local_addr).transpose()?;
        let permits = Arc::new(Semaphore::new(front.max_connections));
        let (free, most) = (Arc::clone(&permits), front.max_connections);
        metrics.scraped_value("connections_open", "connections that are open", move || {
            (most - free.available_permits().min(most)) as f64
        });
        let connections = ConnectionSettings {
            permits,
            header_read_timeout: front.header_read_timeout,
            idle_timeout: front.idle_timeout,
            max_header_bytes: front.max_header_bytes,
            max_age: front.max_connection_age,
            tls,
        };
        if let Some(tls) = connections.tls.clone() {
            metrics.scraped(
                "tls_certificate_not_after_seconds",
                "when the service's certificate ends, in seconds since 1970",
                move || {
                    let end = tls.not_after().into_iter();
                    end.map(|end| (Vec::new(), end as f64)).collect()
                },
            );
        }
        let (shutdown_handle, shutdown) = shutdown::channel();
        let mut servers = JoinSet::new();
        if let Some(listener) = grpc {
            servers.spawn(transport::serve(
                listener,
                Arc::new(grpc_routes),
                connections.clone(),
                shutdown.clone(),
            ));
        }
        servers.spawn(transport::serve(
            http,
            Arc::new(router),
            connections,
            shutdown,
        ));
        Ok(Self {
            http: http_address,
            grpc: grpc_address,
            engine,
            shutdown: shutdown_handle,
            servers,
            tracing,
            notice: front.drain_notice,
            grace: front.grace,
        })
    }

    /// Ends in named steps: not ready, no new connections, what runs is finished, all is closed.
    /// Takes at most `--grace_seconds`.
    pub async fn drain(mut self) {
        let end = tokio::time::Instant::now() + self.grace;
        self.engine.drain();
        self.shutdown.enter(Phase::Draining);
        tracing::info!(
            images = self.engine.in_flight(),
            seconds = self.notice.as_secs_f64(),
            "draining: no longer ready, still serving"
        );
        tokio::time::sleep(self.notice).await;
        self.shutdown.enter(Phase::Closing);
        tracing::info!(
            images = self.engine.in_flight(),
            "draining: no new connections"
        );
        let finish = async { while self.servers.join_next().await.is_some() {} };
        match tokio::time::timeout_at(end, finish).await {
            Ok(()) => tracing::info!("drained: all requests have their response"),
            Err(_) => tracing::warn!(
                images = self.engine.in_flight(),
                "drained: out of time (--grace_seconds), cutting off what still runs"
            ),
        }
        self.shutdown.enter(Phase::Terminated);
        self.servers.join_all().await;
        let left = end.saturating_duration_since(tokio::time::Instant::now());
        self.tracing.shutdown(left.min(FLUSH_TIME)).await;
    }
}

#[cfg(feature = "otlp")]
fn start_tracing(settings: &Settings, metrics: &Metrics) -> Result<Tracing, ConfigErrors> {
    let name = HeaderName::from_static(TRACEPARENT);
    let mut forwarded = settings.front.forward_headers.iter();
    let forward = forwarded.any(|pattern| pattern.matches(&name));
    let started = otlp::start(&settings.traces, forward, &metrics.spans);
    started.map_err(ConfigErrors::from_one)
}

#[cfg(not(feature = "otlp"))]
fn start_tracing(_: &Settings, _: &Metrics) -> Result<Tracing, ConfigErrors> {
    Ok(Tracing::default())
}

/// The protocols of the settings: on the port of all of them, and on that of gRPC alone.
fn routes(
    settings: &Settings,
    engine: &Arc<Engine>,
    metrics: &Arc<Metrics>,
    tracing: Tracing,
) -> anyhow::Result<(Router, GrpcRoutes)> {
    let pool = CpuPool::start(settings.pixel_threads).context("cannot start the byte threads")?;
    let service = Arc::clone(engine) as Arc<dyn InferenceService>;
    let oip = OpenInference::new(service, pool.clone()).with_log_settable(settings.log.settable);
    let shared = Arc::new(front::Settings {
        body: BodyLimits {
            max_bytes: settings.front.max_body_bytes,
            read_timeout: settings.front.body_read_timeout,
            stream_idle_timeout: settings.front.idle_timeout,
            budget: engine.byte_budget().clone(),
            pool,
        },
        timeout: settings.engine.timeout,
        stream_concurrency: settings.predictor.concurrency,
        forward_headers: settings.front.forward_headers.clone(),
        cors: front::Cors(settings.front.cors_allow_origin.clone()),
        ui: settings.front.ui.then_some(front::Ui {
            upright: settings.pixel.exif_orientation == ExifOrientation::Apply,
        }),
        observer: Arc::new(Observer::new(Arc::clone(metrics), settings.log.predictions)),
        tracing,
    });
    shared.count_from_zero();
    let grpc = front::grpc_routes(&oip, Arc::clone(&shared))?;
    let router = Router::new(Some(Arc::clone(engine)), oip, grpc.clone(), shared)?;
    Ok((router, grpc))
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address}"))
}
