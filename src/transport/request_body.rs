//! A request's body as it arrives. What nobody reads of it is read over for a while: over HTTP/1 before
//! a refusal, over HTTP/2 behind any response.
//!
//! A response may be ready before its request's stream is ended: a gRPC call runs behind its first
//! message, and what is refused is not read at all. If the stream were reset then, as happens with a
//! body that is dropped, the end that is on its way would meet a stream that is forgotten, and after
//! some hundred of those h2 takes the peer for an attacker and closes the connection under all of its
//! other requests (ENHANCE_YOUR_CALM).

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{HeaderMap, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long the rest of a body is read over.
const DISCARD: Duration = Duration::from_secs(1);

/// The body of a request.
#[derive(Debug)]
pub(crate) struct RequestBody {
    /// There until it is dropped.
    incoming: Option<Incoming>,
    is_http2: bool,
}

impl RequestBody {
    /// The body of a request of this version.
    pub(super) fn new(incoming: Incoming, version: Version) -> Self {
        Self {
            incoming: Some(incoming),
            is_http2: version == Version::HTTP_2,
        }
    }

    /// Reads over what is left of a refused request's body before its response: an HTTP/1 connection
    /// that is closed while its sender still writes is reset, and the response is lost with it. A
    /// sender that waits to be told to go on has not begun to write.
    pub(crate) async fn discard(&mut self, headers: &HeaderMap) {
        if !self.is_http2
            && !headers.contains_key(EXPECT)
            && let Some(incoming) = &mut self.incoming
        {
            read_over(incoming).await;
        }
    }
}

async fn read_over(incoming: &mut Incoming) {
    let rest = async { while let Some(Ok(_)) = incoming.frame().await {} };
    let _ = timeout(DISCARD, rest).await;
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.incoming {
            Some(incoming) => Pin::new(incoming).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(mut incoming) = self.incoming.take().filter(|_| self.is_http2) else {
            return;
        };
        // What is here already, usually the end, needs no task.
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match Pin::new(&mut incoming).poll_frame(&mut cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) => return,
                Poll::Pending => break,
            }
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { read_over(&mut incoming).await });
        }
    }
}
