//! The service in one piece: what `serve` runs until a signal, and what tests start on free ports.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::admission::Admission;
use crate::engine::Engine;
use crate::faces::quality::FaceQuality;
#[cfg(feature = "embedded")]
use crate::faces::quality::ONNX;
use crate::front::{self, App};
use crate::item::Fetcher;
use crate::observe::metrics::Metrics;
use crate::oip::InferenceService;
use crate::pixel::JPEG_DECODER;
#[cfg(feature = "embedded")]
use crate::predictor::{EmbeddedModel, LocalSettings};
use crate::predictor::{Predictor, Protocol, RemoteSettings, Resolver, Signature, TlsSettings};
use crate::settings::args::PredictorProtocol;
use crate::settings::{ConfigErrors, Settings};
use crate::shutdown::{self, Phase, ShutdownHandle};
use crate::transformer::Transformer;
use crate::transformer::batch::{Model, PixelThreads, WorkerScratch};
use crate::transport::listener::Connections;

/// Jobs waiting for each pixel thread. `--queue` bounds the images; this bounds only how many of
/// them stand in line as jobs.
const JOBS_PER_THREAD: usize = 256;

/// How long a connection to a predictor may take to be opened.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A service that runs.
pub struct Service {
    /// Where REST and gRPC are served.
    pub http: SocketAddr,
    /// Where gRPC alone is served.
    pub grpc: Option<SocketAddr>,
    engine: Arc<Engine>,
    control: ShutdownHandle,
    servers: JoinSet<()>,
    notice: Duration,
    grace: Duration,
}

/// The engine of the settings; `predict` uses it without any door.
///
/// # Errors
///
/// When a folder, a model or a thread cannot be had.
pub fn engine(settings: &Settings, metrics: &Arc<Metrics>) -> anyhow::Result<Arc<Engine>> {
    let names = &settings.predictor;
    let transformer = FaceQuality::new(
        names.model.clone(),
        names.input.clone(),
        names.output.clone(),
        settings.pixel,
    );
    let signature = transformer.signature().clone();
    let pixels = PixelThreads::start(
        "pixels",
        settings.pixel_threads,
        settings.pixel_threads * JOBS_PER_THREAD,
        WorkerScratch::default,
    );
    let pixels = Arc::new(pixels.context("pixel threads cannot be started")?);
    let model = Model {
        transformer: Arc::new(transformer),
        predictor: Arc::new(predictor(settings, signature, metrics)?),
        pixels: Arc::clone(&pixels),
        fetcher: Arc::new(Fetcher::new(settings.item.clone())?),
    };
    Ok(Arc::new(Engine::new(
        BTreeMap::from([(settings.model_name.clone(), model)]),
        Admission::new(settings.admission, Arc::clone(metrics)),
        settings.engine,
        pixels,
        Arc::clone(metrics),
    )))
}

fn predictor(
    settings: &Settings,
    signature: Signature,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Predictor> {
    let metrics = Arc::clone(metrics);
    if settings.predictor.targets.is_empty() {
        return embedded(settings, signature, metrics);
    }
    Predictor::remote(&remote_settings(settings), signature, metrics)
        .map_err(|error| ConfigErrors::from_one(error).into())
}

/// How the settings' predictor behind a network is reached.
pub fn remote_settings(settings: &Settings) -> RemoteSettings {
    let choice = &settings.predictor;
    RemoteSettings {
        targets: choice.targets.clone(),
        protocol: match choice.protocol {
            PredictorProtocol::Auto => Protocol::Auto,
            PredictorProtocol::GrpcV2 => Protocol::Grpc,
            PredictorProtocol::V2 => Protocol::Rest,
        },
        tls: choice.tls.then(|| TlsSettings {
            ca_file: choice.ca_file.clone(),
            client: choice.client.clone(),
        }),
        headers: choice.headers.clone(),
        connections: choice.connections,
        concurrency: choice.concurrency,
        default_max_batch: choice.max_batch,
        connect_timeout: CONNECT_TIMEOUT,
        dns_refresh: choice.dns_refresh,
        resolver: Resolver::system(),
    }
}

#[cfg(feature = "embedded")]
fn embedded(
    settings: &Settings,
    signature: Signature,
    metrics: Arc<Metrics>,
) -> anyhow::Result<Predictor> {
    let file = settings.predictor.embedded_model.clone();
    let model = file.map_or(EmbeddedModel::Bytes(ONNX), EmbeddedModel::File);
    let local = LocalSettings {
        concurrency: settings.predictor.concurrency,
        max_batch: settings.predictor.max_batch,
    };
    Predictor::embedded(&model, settings.pixel_threads, local, signature, metrics)
        .map_err(|error| ConfigErrors::from_one(error).into())
}

#[cfg(not(feature = "embedded"))]
fn embedded(_: &Settings, _: Signature, _: Arc<Metrics>) -> anyhow::Result<Predictor> {
    // Settings without addresses were refused.
    anyhow::bail!("this build has no embedded model")
}

/// The metrics of the settings.
///
/// # Errors
///
/// None but defects.
pub fn metrics(settings: &Settings) -> anyhow::Result<Arc<Metrics>> {
    Ok(Arc::new(Metrics::new(JPEG_DECODER, &settings.bounds())?))
}

impl Service {
    /// Opens the ports and serves.
    ///
    /// # Errors
    ///
    /// When a port, a file or a thread cannot be had.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        let metrics = metrics(&settings)?;
        let engine = engine(&settings, &metrics)?;
        let door = settings.front;
        let listen = async |address: SocketAddr| {
            let listener = TcpListener::bind(address).await;
            listener.with_context(|| format!("{address} cannot be listened on"))
        };
        let tls = match &door.tls {
            Some((chain, key)) => {
                Some(crate::transport::tls::acceptor(chain, key).map_err(ConfigErrors::from_one)?)
            }
            None => None,
        };
        let http = listen(door.http).await?;
        let grpc = match door.grpc {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let routes = front::grpc::routes(
            Arc::clone(&engine) as Arc<dyn InferenceService>,
            front::grpc::Settings {
                max_body_bytes: door.max_body_bytes,
                body_read_timeout: door.body_read_timeout,
                concurrency: settings.predictor.concurrency,
                forward_headers: door.forward_headers.clone(),
                metrics: Arc::clone(&metrics),
            },
        )?;
        let (control, shutdown) = shutdown::channel();
        let app = Arc::new(App {
            engine: Arc::clone(&engine),
            metrics,
            settings: front::Settings {
                max_body_bytes: door.max_body_bytes,
                body_read_timeout: door.body_read_timeout,
                forward_headers: door.forward_headers,
            },
            grpc: routes.clone(),
        });
        let connections = Connections {
            permits: Arc::new(Semaphore::new(door.max_connections)),
            header_read_timeout: door.header_read_timeout,
            idle_timeout: door.idle_timeout,
            max_age: None,
            tls,
        };
        let mut servers = JoinSet::new();
        let http_address = http.local_addr()?;
        let grpc_address = grpc.as_ref().map(TcpListener::local_addr).transpose()?;
        if let Some(listener) = grpc {
            let connections = Connections {
                max_age: door.max_connection_age,
                ..connections.clone()
            };
            let routes = Arc::new(routes);
            servers.spawn(crate::transport::listener::serve(
                listener,
                routes,
                connections,
                shutdown.clone(),
            ));
        }
        servers.spawn(crate::transport::listener::serve(
            http,
            app,
            connections,
            shutdown,
        ));
        Ok(Self {
            http: http_address,
            grpc: grpc_address,
            engine,
            control,
            servers,
            notice: door.drain_notice,
            grace: door.grace,
        })
    }

    /// Ends in named steps: not ready, no new connections, what runs is finished, all is closed.
    /// Takes at most `--grace_seconds`.
    pub async fn drain(mut self) {
        let end = tokio::time::Instant::now() + self.grace;
        self.engine.drain();
        tracing::info!(
            images = self.engine.in_flight(),
            seconds = self.notice.as_secs_f64(),
            "draining: not ready any more, still answering"
        );
        tokio::time::sleep(self.notice).await;
        self.control.enter(Phase::Closing);
        tracing::info!(
            images = self.engine.in_flight(),
            "draining: no new connections"
        );
        let finish = async { while self.servers.join_next().await.is_some() {} };
        match tokio::time::timeout_at(end, finish).await {
            Ok(()) => tracing::info!("drained: all is answered"),
            Err(_) => tracing::warn!(
                images = self.engine.in_flight(),
                "drained: out of time (--grace_seconds), what still runs is cut off"
            ),
        }
        self.control.enter(Phase::Terminated);
        self.servers.join_all().await;
    }
}
