//! The head and idle timeouts of a connection: how long a request's head has been on its way, and
//! for how long there has been no request.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// No head is on its way.
const NO_HEAD: u64 = u64::MAX;

/// What a connection has been doing. Moments are milliseconds since `begin`.
#[derive(Debug)]
pub(super) struct Activity {
    begin: Instant,
    /// Requests whose response has not been sent to its end.
    requests: AtomicUsize,
    /// When the first byte of a request came that is not yet complete.
    head: AtomicU64,
    /// When the last response ended.
    idle: AtomicU64,
}

impl Activity {
    /// A connection that was accepted now; its first head is waited for.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            begin: Instant::now(),
            requests: AtomicUsize::new(0),
            head: AtomicU64::new(0),
            idle: AtomicU64::new(0),
        })
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_millis() as u64
    }

    fn on_read(&self) {
        if self.requests.load(Ordering::Relaxed) == 0 {
            let now = self.now();
            let _ = self
                .head
                .compare_exchange(NO_HEAD, now, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// A request's head is complete.
    pub(super) fn begin_request(self: &Arc<Self>) -> RequestGuard {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head.store(NO_HEAD, Ordering::Relaxed);
        RequestGuard(Arc::clone(self))
    }

    /// How long the connection may go on as it is; zero when it has been silent for too long.
    /// On HTTP/2 `multiplexed` bytes without a request (pings, windows) are no head.
    pub(super) fn remaining(&self, head: Duration, idle: Duration, multiplexed: bool) -> Duration {
        if self.requests.load(Ordering::Relaxed) > 0 {
            // Whatever comes next takes at least that long.
            return head.min(idle).max(Duration::from_millis(100));
        }
        let since = |moment: &AtomicU64| {
            Duration::from_millis(self.now().saturating_sub(moment.load(Ordering::Relaxed)))
        };
        if self.head.load(Ordering::Relaxed) != NO_HEAD && !multiplexed {
            return head.saturating_sub(since(&self.head));
        }
        idle.saturating_sub(since(&self.idle)).min(head)
    }
}

/// A request whose response has not been sent to its end.
#[derive(Debug)]
pub(super) struct RequestGuard(Arc<Activity>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.idle.store(self.0.now(), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that notes when bytes came.
#[derive(Debug)]
pub(super) struct TrackedIo<IO> {
    pub(super) io: IO,
    pub(super) activity: Arc<Activity>,
}

impl<IO: AsyncRead + Unpin> AsyncRead for TrackedIo<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.io).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.on_read();
        }
        result
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for TrackedIo<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, data)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// A response's body that keeps its request counted until it has been sent.
#[derive(Debug)]
pub(super) struct GuardedBody<B> {
    pub(super) body: B,
    pub(super) _guard: RequestGuard,
}

impl<B: Body + Unpin> Body for GuardedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(75);

    #[test]
    fn the_remaining_time_follows_what_the_connection_does() {
        let activity = Activity::new();
        // The first head is waited for from the start.
        assert!(activity.remaining(HEAD, IDLE, false) <= HEAD);
        assert_eq!(
            activity.remaining(Duration::ZERO, IDLE, false),
            Duration::ZERO
        );
        let request = activity.begin_request();
        activity.on_read();
        assert!(activity.remaining(HEAD, Duration::ZERO, false) > Duration::ZERO);
        drop(request);
        assert_eq!(
            activity.remaining(HEAD, Duration::ZERO, false),
            Duration::ZERO
        );
        assert!(activity.remaining(HEAD, IDLE, false) > Duration::ZERO);
        activity.on_read();
        assert_eq!(
            activity.remaining(Duration::ZERO, IDLE, false),
            Duration::ZERO
        );
        assert!(activity.remaining(HEAD, IDLE, true) > Duration::ZERO);
    }
}
