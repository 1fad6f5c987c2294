//! Listening and connections: HTTP/1.1 and HTTP/2 (with or without TLS) on one port. What the
//! requests mean is not known here.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::idle_timeout::{Activity, Sending, Watched};
use crate::shutdown::{Phase, Shutdown};

/// The body of an answer: there already, or gRPC's.
pub type Body = Either<Full<Bytes>, tonic::body::Body>;

/// HTTP/2 frame and windows. The receiver chooses them: with the usual 16 KiB frames a batch of
/// tensors came in ten times as many reads.
const FRAME_BYTES: u32 = 1 << 20;
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Streams of one HTTP/2 connection at once; more wait at the client.
const STREAMS: u32 = 1024;
/// How long a connection that is told to close may take.
const CLOSING: Duration = Duration::from_secs(1);
/// Pause after the system refused a connection, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who answers the requests of a port.
pub trait Routes: Send + Sync + 'static {
    /// Whether HTTP/1 is answered at all. Those who ask a port what it speaks take an answer in
    /// HTTP/1 for a REST server.
    const HTTP1: bool = true;

    /// Answers one request. Failures are answers too.
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// What is asked of connections.
#[derive(Clone)]
pub struct Connections {
    /// Shared by all ports: `--max_connections`.
    pub permits: Arc<Semaphore>,
    /// `--header_read_timeout_seconds`.
    pub header_read_timeout: Duration,
    /// `--idle_timeout_seconds`.
    pub idle_timeout: Duration,
    /// Age at which a connection is told to go.
    pub max_age: Option<Duration>,
    /// TLS, if wanted.
    pub tls: Option<TlsAcceptor>,
}

/// Serves a port until the shutdown's end; returns when the last connection is closed.
pub async fn serve<R: Routes>(
    listener: TcpListener,
    routes: Arc<R>,
    settings: Connections,
    shutdown: Shutdown,
) {
    let mut connections = JoinSet::new();
    let mut closing = pin!(shutdown.reached(Phase::Closing));
    loop {
        // Above the limit connections wait in the system's backlog.
        let permit = tokio::select! {
            () = &mut closing => break,
            permit = Arc::clone(&settings.permits).acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            () = &mut closing => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (routes, settings) = (Arc::clone(&routes), settings.clone());
                let shutdown = shutdown.clone();
                connections.spawn(async move {
                    let _permit = permit;
                    connection(stream, routes, settings, shutdown).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        () = finish => {}
        () = shutdown.reached(Phase::Terminated) => {}
    }
}

async fn connection<R: Routes>(
    stream: TcpStream,
    routes: Arc<R>,
    settings: Connections,
    shutdown: Shutdown,
) {
    // Answers are written in one piece; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let Some(tls) = settings.tls.clone() else {
        return speak(stream, routes, settings, shutdown).await;
    };
    match tokio::time::timeout(settings.header_read_timeout, tls.accept(stream)).await {
        Ok(Ok(stream)) => speak(stream, routes, settings, shutdown).await,
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake took too long"),
    }
}

async fn speak<R: Routes>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    routes: Arc<R>,
    settings: Connections,
    shutdown: Shutdown,
) {
    let activity = Activity::new();
    let multiplexed = AtomicBool::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        let running = activity.begin_request();
        multiplexed.store(request.version() == Version::HTTP_2, Ordering::Relaxed);
        let answer = Arc::clone(&routes).answer(request);
        async move {
            let answer = answer.await.map(|body| Sending {
                body,
                _running: running,
            });
            Ok::<_, Infallible>(answer)
        }
    });
    let io = TokioIo::new(Watched {
        io: stream,
        activity: Arc::clone(&activity),
    });
    let builder = match R::HTTP1 {
        true => builder(),
        false => builder().http2_only(),
    };
    let mut connection = pin!(builder.serve_connection(io, service));
    let silent = async {
        let born = tokio::time::Instant::now();
        loop {
            let mut patience = activity.patience(
                settings.header_read_timeout,
                settings.idle_timeout,
                multiplexed.load(Ordering::Relaxed),
            );
            if let Some(age) = settings.max_age {
                patience = patience.min(age.saturating_sub(born.elapsed()));
            }
            if patience.is_zero() {
                return;
            }
            tokio::time::sleep(patience).await;
        }
    };
    let limit = tokio::select! {
        ended = connection.as_mut() => return log_end(ended),
        () = silent => match settings.max_age {
            // An old connection finishes what it has begun.
            Some(_) => settings.idle_timeout,
            None => CLOSING,
        },
        () = shutdown.reached(Phase::Closing) => Duration::MAX,
    };
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => log_end(ended),
        () = tokio::time::sleep(limit) => {}
        () = shutdown.reached(Phase::Terminated) => {}
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // The head's time limit is ours (`Activity`): hyper's would close idle connections too.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_frame_size(FRAME_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS);
    builder
}

fn log_end(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
