//! Listening: connections are accepted as long as permits last, and finished at the end.

use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::connection::{self, ConnectionSettings};
use super::handler::Handler;
use crate::shutdown::{Phase, Shutdown};

/// Pause after the system refused a connection, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A port of which only as many connections are open as there are permits.
struct Listener {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

/// A place among `--max_connections`; free again when it is dropped.
type ConnectionPermit = OwnedSemaphorePermit;

impl Listener {
    /// The next connection. Above the limit one of each port waits here, so that no port keeps a
    /// permit that it does not use, and the others in the system's backlog.
    async fn accept(&self) -> Result<(TcpStream, ConnectionPermit), AcquireError> {
        let stream = self.accept_any().await;
        let permit = Arc::clone(&self.permits).acquire_owned().await?;
        Ok((stream, permit))
    }

    /// Failures are logged and tried again.
    async fn accept_any(&self) -> TcpStream {
        loop {
            let error = match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                // Its peer left before its turn came.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => error,
            };
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// Serves a port until the shutdown's end; returns when the last connection is closed.
pub(crate) async fn serve<H: Handler>(
    listener: TcpListener,
    handler: Arc<H>,
    settings: ConnectionSettings,
    shutdown: Shutdown,
) {
    let listener = Listener {
        listener,
        permits: Arc::clone(&settings.permits),
    };
    let mut connections = JoinSet::new();
    let mut closing = pin!(shutdown.reached(Phase::Closing));
    loop {
        let accepted = tokio::select! {
            () = &mut closing => break,
            accepted = listener.accept() => accepted,
        };
        // The permits are never closed.
        let Ok((stream, permit)) = accepted else {
            break;
        };
        let (handler, settings) = (Arc::clone(&handler), settings.clone());
        let shutdown = shutdown.clone();
        connections.spawn(async move {
            connection::serve_connection(stream, handler, settings, shutdown).await;
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        () = finish => {}
        () = shutdown.reached(Phase::Terminated) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn listener(permits: &Arc<Semaphore>) -> (Listener, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await;
        let permits = Arc::clone(permits);
        (Listener { listener, permits }, peer.unwrap())
    }

    #[tokio::test]
    async fn a_port_that_waits_for_connections_keeps_no_permit() {
        let permits = Arc::new(Semaphore::new(1));
        let (idle, _peer) = listener(&permits).await;
        let (busy, _peer) = listener(&permits).await;
        drop(idle.accept().await.unwrap());
        let waiting = tokio::spawn(async move { idle.accept().await.map(drop) });
        let accepted = busy.accept().await.unwrap();
        drop(accepted);
        waiting.abort();
    }
}
