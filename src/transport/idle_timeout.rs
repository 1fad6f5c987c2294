//! The head and idle timeouts of a connection: how long a request's head has been on its way, and
//! for how long there has been no request.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// No head is on its way.
const NO_HEAD: u64 = u64::MAX;

/// How HTTP/2 begins. No method of HTTP/1 does.
const PREFACE: &[u8] = b"PRI";

/// How long a request may go on whose caller has closed its side. A caller that left looks the same
/// as one that still waits for its response.
const HALF_CLOSED: Duration = Duration::from_secs(1);

/// What a connection has been doing. Moments are milliseconds since `begin`.
#[derive(Debug)]
pub(super) struct Activity {
    begin: Instant,
    /// Whether HTTP/2 is spoken.
    multiplexed: AtomicBool,
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
            multiplexed: AtomicBool::new(false),
            requests: AtomicUsize::new(0),
            head: AtomicU64::new(0),
            idle: AtomicU64::new(0),
        })
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_millis() as u64
    }

    fn on_read(&self) {
        if !self.has_requests() {
            let now = self.now();
            let _ = self
                .head
                .compare_exchange(NO_HEAD, now, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Whether some request has not been responded to.
    pub(super) fn has_requests(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    /// Whether HTTP/2 is spoken.
    pub(super) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Ordering::Relaxed)
    }

    /// A request's head is complete.
    pub(super) fn begin_request(self: &Arc<Self>) -> RequestGuard {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head.store(NO_HEAD, Ordering::Relaxed);
        RequestGuard(Arc::clone(self))
    }

    /// How long the connection may go on as it is; zero when it has been silent for too long.
    /// On HTTP/2 bytes without a request (preface, pings, windows) are not a head.
    pub(super) fn remaining(&self, head: Duration, idle: Duration) -> Duration {
        if self.has_requests() {
            // Whatever comes next takes at least that long.
            return head.min(idle).max(Duration::from_millis(100));
        }
        let since = |moment: &AtomicU64| {
            Duration::from_millis(self.now().saturating_sub(moment.load(Ordering::Relaxed)))
        };
        if self.head.load(Ordering::Relaxed) != NO_HEAD && !self.is_multiplexed() {
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

/// A stream that notes when bytes came, and whether they are HTTP/2.
#[derive(Debug)]
pub(super) struct TrackedIo<IO> {
    io: IO,
    activity: Arc<Activity>,
    /// Bytes of the preface that have come, while nothing else has.
    preface: Option<usize>,
    /// Runs since the peer closed its side during a request.
    half_closed: Option<Pin<Box<Sleep>>>,
}

impl<IO> TrackedIo<IO> {
    pub(super) fn new(io: IO, activity: Arc<Activity>) -> Self {
        Self {
            io,
            activity,
            preface: Some(0),
            half_closed: None,
        }
    }

    fn look_for_preface(&mut self, bytes: &[u8]) {
        let Some(came) = self.preface else {
            return;
        };
        let missing = &PREFACE[came..];
        let compared = missing.len().min(bytes.len());
        if missing[..compared] != bytes[..compared] {
            self.preface = None;
        } else if compared == missing.len() {
            self.preface = None;
            self.activity.multiplexed.store(true, Ordering::Relaxed);
        } else {
            self.preface = Some(came + compared);
        }
    }

    /// The end of what the peer sends is hidden while a request runs, for a moment: seen at once, it
    /// would end the request of a caller that has only closed its side.
    fn poll_half_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let activity = &self.activity;
        if !activity.has_requests() || activity.is_multiplexed() {
            return Poll::Ready(());
        }
        self.half_closed
            .get_or_insert_with(|| Box::pin(sleep(HALF_CLOSED)))
            .as_mut()
            .poll(cx)
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for TrackedIo<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.half_closed.is_none() {
            match Pin::new(&mut self.io).poll_read(cx, buffer) {
                Poll::Ready(Ok(())) if buffer.filled().len() == before => {}
                Poll::Ready(Ok(())) => {
                    self.look_for_preface(&buffer.filled()[before..]);
                    self.activity.on_read();
                    return Poll::Ready(Ok(()));
                }
                other => return other,
            }
        }
        self.poll_half_closed(cx).map(Ok)
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(75);

    #[tokio::test(start_paused = true)]
    async fn the_remaining_time_follows_what_the_connection_does() {
        let activity = Activity::new();
        // The first head is waited for from the start.
        assert_eq!(activity.remaining(HEAD, IDLE), HEAD);
        tokio::time::advance(HEAD).await;
        assert_eq!(activity.remaining(HEAD, IDLE), Duration::ZERO);
        let request = activity.begin_request();
        activity.on_read();
        tokio::time::advance(IDLE).await;
        assert!(activity.remaining(HEAD, IDLE) > Duration::ZERO);
        drop(request);
        assert!(activity.remaining(HEAD, IDLE) > Duration::ZERO);
        tokio::time::advance(IDLE).await;
        assert_eq!(activity.remaining(HEAD, IDLE), Duration::ZERO);
        activity.on_read();
        assert_eq!(activity.remaining(HEAD, IDLE), HEAD);
        tokio::time::advance(HEAD).await;
        assert_eq!(activity.remaining(HEAD, IDLE), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn http2_without_a_request_has_the_idle_time() {
        for (first, second, multiplexed) in [("P", "RI * HTTP/2.0", true), ("PO", "ST", false)] {
            let (mut peer, ours) = duplex(64);
            let activity = Activity::new();
            let mut io = TrackedIo::new(ours, Arc::clone(&activity));
            for part in [first, second] {
                peer.write_all(part.as_bytes()).await.unwrap();
                io.read_exact(&mut vec![0; part.len()]).await.unwrap();
            }
            tokio::time::advance(HEAD).await;
            assert_eq!(!activity.remaining(HEAD, IDLE).is_zero(), multiplexed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_closed_its_side_is_gone_a_moment_later() {
        let (mut peer, ours) = duplex(64);
        let activity = Activity::new();
        let mut io = TrackedIo::new(ours, Arc::clone(&activity));
        let request = activity.begin_request();
        peer.shutdown().await.unwrap();
        let begun = Instant::now();
        assert_eq!(io.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(begun.elapsed(), HALF_CLOSED);
        drop(request);
        assert_eq!(io.read(&mut [0]).await.unwrap(), 0);
    }
}
