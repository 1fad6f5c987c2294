//! The time limit on sending a response: over HTTP/2 a peer that opens no window keeps a response,
//! and what it was made from, for as long as it likes.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep};

use super::idle_timeout::RequestGuard;

tokio::task_local! {
    /// Set in the task of each HTTP/2 stream.
    static PROGRESS: Arc<SendProgress>;
}

/// Since when a stream's peer has been waited for.
#[derive(Debug, Default)]
struct SendProgress(Mutex<Option<Instant>>);

impl SendProgress {
    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when the peer has been waited for that long.
    async fn stalled(&self, timeout: Duration) {
        loop {
            let waited = self.since().map_or(Duration::ZERO, |since| since.elapsed());
            let remaining = timeout.saturating_sub(waited);
            if remaining.is_zero() {
                return;
            }
            sleep(remaining).await;
        }
    }
}

/// Runs the streams of HTTP/2 connections, and resets those whose response is not read in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamExecutor {
    pub(super) send_timeout: Duration,
}

impl<F> hyper::rt::Executor<F> for StreamExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        let progress = Arc::new(SendProgress::default());
        let timeout = self.send_timeout;
        let stream = PROGRESS.scope(Arc::clone(&progress), stream);
        tokio::spawn(async move {
            tokio::select! {
                _ = stream => {}
                () = progress.stalled(timeout) => {
                    tracing::debug!("a response was not read in time; its stream is reset");
                }
            }
        });
    }
}

/// A response's body that keeps its request counted until it has been sent, and notes for how long
/// its peer is waited for.
#[derive(Debug)]
pub(super) struct GuardedBody<B> {
    body: B,
    progress: Option<Arc<SendProgress>>,
    _guard: RequestGuard,
}

impl<B> GuardedBody<B> {
    /// To be called where the response is made, in the task of its stream.
    pub(super) fn new(body: B, guard: RequestGuard) -> Self {
        let progress = PROGRESS.try_with(Arc::clone).ok();
        let guarded = Self {
            body,
            progress,
            _guard: guard,
        };
        guarded.wait_for_peer(true);
        guarded
    }

    fn wait_for_peer(&self, waits: bool) {
        if let Some(progress) = &self.progress {
            *progress.since() = waits.then(Instant::now);
        }
    }
}

impl<B: Body + Unpin> Body for GuardedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        // What is pending is waited for here and not at the peer's.
        self.wait_for_peer(frame.is_ready());
        frame
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for GuardedBody<B> {
    fn drop(&mut self) {
        self.wait_for_peer(false);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use hyper::rt::Executor;
    use tokio::sync::oneshot;

    use super::super::idle_timeout::Activity;
    use super::*;

    /// Whether a stream that does this ends by itself.
    async fn finishes<F: Future + Send + 'static>(
        stream: impl FnOnce(GuardedBody<Full<Bytes>>) -> F + Send + 'static,
    ) -> bool {
        let executor = StreamExecutor {
            send_timeout: Duration::from_secs(10),
        };
        let (sender, finished) = oneshot::channel();
        executor.execute(async move {
            let guard = Activity::new().begin_request();
            let body = GuardedBody::new(Full::new(Bytes::from_static(b"x")), guard);
            stream(body).await;
            let _ = sender.send(());
        });
        finished.await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_is_not_read_is_given_up_and_a_slow_one_is_not() {
        let minute = Duration::from_secs(60);
        assert!(
            !finishes(move |body| async move {
                sleep(minute).await;
                drop(body);
            })
            .await
        );
        assert!(
            finishes(move |body| async move {
                body.collect().await.unwrap();
                sleep(minute).await;
            })
            .await
        );
    }
}
