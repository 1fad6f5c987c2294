//! The port that serves gRPC alone: accepts connections, ages them, drains them.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::GrpcRoutes;

/// How HTTP/2 is spoken. Frame size and windows are the receiver's choice: with the library's
/// small defaults a batch of tensors takes ten times the system calls.
#[derive(Clone, Copy, Debug)]
pub struct Http2 {
    /// The largest frame that may be sent to us, in bytes.
    pub max_frame: u32,
    /// Bytes of one stream that may be under way unread.
    pub stream_window: u32,
    /// The same of one connection.
    pub connection_window: u32,
    /// After this time a connection is asked to go, so that clients spread over new replicas
    /// (`--grpc_max_connection_age_seconds`).
    pub max_connection_age: Option<Duration>,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            max_frame: 4 << 20,
            stream_window: 4 << 20,
            connection_window: 16 << 20,
            max_connection_age: None,
        }
    }
}

/// Serves gRPC on a bound listener until `shutdown`; then asks the connections to go and returns
/// when their requests are answered.
pub async fn serve_grpc(
    listener: TcpListener,
    routes: GrpcRoutes,
    settings: Http2,
    shutdown: impl Future<Output = ()>,
) {
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, routes.clone(), settings, stopped.clone()));
                }
                Err(error) => {
                    // Such as too many open files: it passes when connections end.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    // The receivers live in the connections; none left is fine.
    let _ = stop.send(true);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    routes: GrpcRoutes,
    settings: Http2,
    mut stopped: watch::Receiver<bool>,
) {
    // Answers are small and must not wait for more of them.
    let _ = stream.set_nodelay(true);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_frame_size(settings.max_frame)
        .initial_stream_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window);
    let service = TowerToHyperService::new(routes);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let age = async {
        match settings.max_connection_age {
            Some(age) => tokio::time::sleep(age).await,
            None => std::future::pending().await,
        }
    };
    let stop = async {
        // An error is the sender's end, which is a stop too.
        let _ = stopped.wait_for(|&stopped| stopped).await;
    };
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = age => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = stop => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a gRPC connection ended early");
    }
}
