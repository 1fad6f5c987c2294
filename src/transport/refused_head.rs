//! The responses that hyper writes by itself, to heads that are not HTTP/1.1 or too large: they have no
//! body, and no handler sees them. Here they are exchanged for the handler's on their way out, so that
//! every error is JSON and counted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::handler::Handler;
use super::idle_timeout::Activity;

/// Longer than any response of hyper's own.
const MAX_BARE_BYTES: usize = 256;

/// A stream on which the handler responds in hyper's place.
pub(super) struct RefusingIo<IO, H> {
    io: IO,
    handler: Arc<H>,
    activity: Arc<Activity>,
    /// What is sent in place of hyper's response, as far as it has not been.
    unsent: Bytes,
}

impl<IO, H> RefusingIo<IO, H> {
    pub(super) fn new(io: IO, handler: Arc<H>, activity: Arc<Activity>) -> Self {
        Self {
            io,
            handler,
            activity,
            unsent: Bytes::new(),
        }
    }
}

/// Where a response of hyper's own begins, which ends what is written, and its status. It has these
/// headers and no others; the handler's all have more.
fn bare_response(written: &[u8]) -> Option<(usize, StatusCode)> {
    if !written.ends_with(b"\r\n\r\n") {
        return None;
    }
    let tail = written.len().saturating_sub(MAX_BARE_BYTES);
    let begin = tail + memchr::memmem::rfind(&written[tail..], b"HTTP/1.")?;
    let text = std::str::from_utf8(&written[begin..]).ok()?;
    let mut lines = text.trim_end().split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?;
    let status = StatusCode::from_bytes(status.as_bytes()).ok()?;
    let known = |line: &str| {
        let name = line.split(':').next().unwrap_or_default();
        let value = line.get(name.len() + 1..).unwrap_or_default().trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => value == "0",
            "connection" | "date" => true,
            _ => false,
        }
    };
    (status.is_client_error() && lines.all(known)).then_some((begin, status))
}

/// A response as HTTP/1.1 writes it, the last one of its connection.
fn write_response(status: StatusCode, content_type: &str, body: &[u8]) -> Vec<u8> {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut response = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        status.as_u16(),
        body.len()
    )
    .into_bytes();
    response.extend_from_slice(body);
    response
}

impl<IO: AsyncWrite + Unpin, H: Handler> RefusingIo<IO, H> {
    /// Takes a write that ends with a response of hyper's own.
    fn exchange(&mut self, written: &[u8]) -> bool {
        if self.activity.is_multiplexed() {
            return false;
        }
        let Some((begin, status)) = bare_response(written) else {
            return false;
        };
        let body = self.handler.refuse(status);
        let mut all = written[..begin].to_vec();
        all.extend(write_response(status, "application/json", &body));
        self.unsent = all.into();
        true
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.unsent.has_remaining() {
            let sent = ready!(Pin::new(&mut self.io).poll_write(cx, &self.unsent))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.advance(sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + Unpin, H> AsyncRead for RefusingIo<IO, H> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<IO: AsyncWrite + Unpin, H: Handler> AsyncWrite for RefusingIo<IO, H> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_unsent(cx))?;
        if self.exchange(data) {
            return Poll::Ready(Ok(data.len()));
        }
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_unsent(cx))?;
        // Alone in its write: nothing is read behind a response that is still on its way.
        if let [one] = data
            && self.exchange(one)
        {
            return Poll::Ready(Ok(one.len()));
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_of_hypers_own_is_known_by_having_nothing_else() {
        let bare = "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\
                    connection: close\r\ndate: Mon, 30 Nov 2026 08:00:00 GMT\r\n\r\n";
        let found = bare_response(bare.as_bytes()).unwrap();
        assert_eq!(found, (0, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        let behind = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{{}}{bare}");
        let found = bare_response(behind.as_bytes()).unwrap();
        assert_eq!(found.0, behind.len() - bare.len());
        for others in [
            bare.replace("date:", "x-request-id:"),
            bare.replace("431", "200"),
            bare.replace("content-length: 0", "content-length: 7"),
            format!("{bare}{{}}"),
            "0\r\n\r\n".to_owned(),
            String::new(),
        ] {
            assert_eq!(bare_response(others.as_bytes()), None, "{others}");
        }
    }
}
