//! One connection: HTTP/1.1 or HTTP/2, with or without TLS, until it is closed by its peer, by its
//! silence, by its age or by the end of the service. What its requests mean is not known here.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::handler::{Body, Handler};
use super::idle_timeout::{Activity, TrackedIo};
use super::refused_head::RefusingIo;
use super::request_body::RequestBody;
use super::send_timeout::{GuardedBody, StreamExecutor};
use super::tls::ServerTls;
use crate::shutdown::{Phase, Shutdown};

/// HTTP/2 frame and windows. The receiver chooses them: with the usual 16 KiB frames a batch of
/// tensors came in ten times as many reads. The window of a connection is memory that its peer can
/// fill before any body is read, so it is in the sum of docs/OPERATIONS.md.
const FRAME_BYTES: u32 = 1 << 20;
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 2 << 20;
/// Streams of one HTTP/2 connection at once; more wait at the client.
const MAX_STREAMS: u32 = 1024;
/// How long a connection that is told to close may take when it has no requests.
const GRACEFUL_CLOSE: Duration = Duration::from_secs(1);
/// How often a peer is asked whether it is still there, over HTTP/2 and over TCP: one that vanished
/// would keep its place for as long as it has a stream open.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// The limits of connections.
#[derive(Clone)]
pub(crate) struct ConnectionSettings {
    /// Shared by all ports: `--max_connections`.
    pub permits: Arc<Semaphore>,
    /// `--header_read_timeout_seconds`.
    pub header_read_timeout: Duration,
    /// `--idle_timeout_seconds`, also for responses that are not read.
    pub idle_timeout: Duration,
    /// `--max_header_bytes`.
    pub max_header_bytes: usize,
    /// Age at which a connection is told to close.
    pub max_age: Option<Duration>,
    /// TLS, if wanted.
    pub tls: Option<Arc<ServerTls>>,
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
    let keepalive = TcpKeepalive::new()
        .with_time(KEEP_ALIVE)
        .with_interval(KEEP_ALIVE / 3);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    let Some(tls) = settings.tls.clone() else {
        return serve_http(stream, handler, settings, shutdown).await;
    };
    let handshake = tls.acceptor().accept(stream);
    match tokio::time::timeout(settings.header_read_timeout, handshake).await {
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
    let service = service_fn(|request: Request<Incoming>| {
        let guard = activity.begin_request();
        let version = request.version();
        let request = request.map(|body| RequestBody::new(body, version));
        let keeps_alive = version == Version::HTTP_11;
        let too_large =
            version == Version::HTTP_2 && head_bytes(&request) > settings.max_header_bytes;
        let handler = Arc::clone(&handler);
        let shutdown = shutdown.clone();
        async move {
            let mut response = if too_large {
                refuse(&*handler, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
            } else {
                handler.handle(request).await
            };
            if keeps_alive && shutdown.has_reached(Phase::Draining) {
                // Kept, the connection would be closed under the caller's next request.
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Infallible>(response.map(|body| GuardedBody::new(body, guard)))
        }
    });
    let io = TrackedIo::new(stream, Arc::clone(&activity));
    let io = TokioIo::new(RefusingIo::new(
        io,
        Arc::clone(&handler),
        Arc::clone(&activity),
    ));
    let builder = builder(&settings);
    let builder = if H::HTTP1 {
        builder
    } else {
        builder.http2_only()
    };
    let mut connection = pin!(builder.serve_connection(io, service));
    let aged = async {
        match settings.max_age {
            Some(age) => tokio::time::sleep(with_jitter(age)).await,
            None => std::future::pending().await,
        }
    };
    // What has been begun is finished, also a request that crosses the word to close.
    let closed = async {
        loop {
            tokio::time::sleep(GRACEFUL_CLOSE).await;
            if !activity.has_requests() {
                return;
            }
        }
    };
    let limit = tokio::select! {
        ended = connection.as_mut() => return log_end(ended),
        () = silent(&activity, &settings) => None,
        // A stream may last as long as its caller likes; here it ends.
        () = aged => Some(settings.idle_timeout),
        () = shutdown.reached(Phase::Closing) => Some(Duration::MAX),
    };
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => log_end(ended),
        () = closed, if limit.is_none() => {}
        () = tokio::time::sleep(limit.unwrap_or_default()), if limit.is_some() => {}
        () = shutdown.reached(Phase::Terminated) => {}
    }
}

/// A tenth more or less: opened together, connections would return together.
fn with_jitter(age: Duration) -> Duration {
    age.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// What a head counts as on HTTP/2, with the allowance of its standard for each header.
fn head_bytes<B>(request: &Request<B>) -> usize {
    let path = request.uri().path_and_query();
    let headers = request.headers().iter();
    path.map_or(0, |path| path.as_str().len())
        + headers
            .map(|(name, value)| name.as_str().len() + value.len() + 32)
            .sum::<usize>()
}

fn refuse(handler: &impl Handler, status: StatusCode) -> Response<Body> {
    let body = handler.refuse(status);
    let mut response = Response::new(Either::Left(Full::new(body)));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// Returns when a head has been on its way for too long, or there has been no request for too long.
async fn silent(activity: &Activity, settings: &ConnectionSettings) {
    loop {
        let remaining = activity.remaining(settings.header_read_timeout, settings.idle_timeout);
        if remaining.is_zero() {
            return;
        }
        tokio::time::sleep(remaining).await;
    }
}

fn builder(settings: &ConnectionSettings) -> auto::Builder<StreamExecutor> {
    let max_header_bytes = u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX);
    let mut builder = auto::Builder::new(StreamExecutor {
        send_timeout: settings.idle_timeout,
    });
    // The head's time limit is ours (`Activity`): hyper's would close idle connections too.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(settings.max_header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_frame_size(FRAME_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        // Twice what is taken: a head in between gets a response that says what is wrong with it.
        .max_header_list_size(max_header_bytes.saturating_mul(2))
        .keep_alive_interval(KEEP_ALIVE);
    builder
}

fn log_end(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_one_age_go_at_different_times() {
        let age = Duration::from_secs(100);
        let mut ages: Vec<_> = (0..100).map(|_| with_jitter(age)).collect();
        let bounds = Duration::from_secs(90)..Duration::from_secs(110);
        assert!(ages.iter().all(|age| bounds.contains(age)), "{ages:?}");
        ages.dedup();
        assert!(ages.len() > 90, "{ages:?}");
    }
}
