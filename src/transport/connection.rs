//! One connection: HTTP/1.1 or HTTP/2, with or without TLS, until it is closed by its peer, by its
//! silence, by its age or by the end of the service. What its requests mean is not known here.

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
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::idle_timeout::{Activity, GuardedBody, TrackedIo};
use crate::shutdown::{Phase, Shutdown};

/// The body of a response: there already, or gRPC's.
pub type Body = Either<Full<Bytes>, tonic::body::Body>;

/// HTTP/2 frame and windows. The receiver chooses them: with the usual 16 KiB frames a batch of
/// tensors came in ten times as many reads.
const FRAME_BYTES: u32 = 1 << 20;
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Streams of one HTTP/2 connection at once; more wait at the client.
const MAX_STREAMS: u32 = 1024;
/// How long a connection that is told to close may take.
const GRACEFUL_CLOSE: Duration = Duration::from_secs(1);

/// Makes the responses to the requests of a port.
pub trait Handler: Send + Sync + 'static {
    /// Whether HTTP/1 is spoken at all. Clients that ask a port what it speaks take a response in
    /// HTTP/1 for a REST server's.
    const HTTP1: bool = true;

    /// The response to one request. Failures are responses too.
    fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// The limits of connections.
#[derive(Clone)]
pub struct ConnectionSettings {
    /// Shared by all ports: `--max_connections`.
    pub permits: Arc<Semaphore>,
    /// `--header_read_timeout_seconds`.
    pub header_read_timeout: Duration,
    /// `--idle_timeout_seconds`.
    pub idle_timeout: Duration,
    /// Age at which a connection is told to close.
    pub max_age: Option<Duration>,
    /// TLS, if wanted.
    pub tls: Option<TlsAcceptor>,
}

/// Serves a connection until it is closed.
pub(super) async fn serve_connection<H: Handler>(
    stream: TcpStream,
    handler: Arc<H>,
    settings: ConnectionSettings,
    shutdown: Shutdown,
) {
    // Responses are written in one piece; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let Some(tls) = settings.tls.clone() else {
        return serve_http(stream, handler, settings, shutdown).await;
    };
    match tokio::time::timeout(settings.header_read_timeout, tls.accept(stream)).await {
        Ok(Ok(stream)) => serve_http(stream, handler, settings, shutdown).await,
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake took too long"),
    }
}

async fn serve_http<H: Handler>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    handler: Arc<H>,
    settings: ConnectionSettings,
    shutdown: Shutdown,
) {
    let activity = Activity::new();
    let multiplexed = AtomicBool::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        let guard = activity.begin_request();
        multiplexed.store(request.version() == Version::HTTP_2, Ordering::Relaxed);
        let response = Arc::clone(&handler).handle(request);
        async move {
            let response = response.await.map(|body| GuardedBody {
                body,
                _guard: guard,
            });
            Ok::<_, Infallible>(response)
        }
    });
    let io = TokioIo::new(TrackedIo {
        io: stream,
        activity: Arc::clone(&activity),
    });
    let builder = if H::HTTP1 {
        builder()
    } else {
        builder().http2_only()
    };
    let mut connection = pin!(builder.serve_connection(io, service));
    let too_long = async {
        let opened = tokio::time::Instant::now();
        loop {
            let mut remaining = activity.remaining(
                settings.header_read_timeout,
                settings.idle_timeout,
                multiplexed.load(Ordering::Relaxed),
            );
            if let Some(age) = settings.max_age {
                remaining = remaining.min(age.saturating_sub(opened.elapsed()));
            }
            if remaining.is_zero() {
                return;
            }
            tokio::time::sleep(remaining).await;
        }
    };
    let limit = tokio::select! {
        ended = connection.as_mut() => return log_end(ended),
        () = too_long => match settings.max_age {
            // An old connection finishes what it has begun.
            Some(_) => settings.idle_timeout,
            None => GRACEFUL_CLOSE,
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
        .max_concurrent_streams(MAX_STREAMS);
    builder
}

fn log_end(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
