//! From an address to a stream of bytes: TCP or a Unix socket, with TLS over it where wanted.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper_util::client::legacy::connect::{Connected, Connection};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::sleep;

use crate::predictor::address::{Address, Endpoint};
use crate::predictor::discovery::Resolver;
use crate::predictor::triton::tls::{Alpn, Tls};

/// Between the beginnings of two attempts at different addresses of a name (RFC 8305).
const STAGGER: Duration = Duration::from_millis(250);
/// Without a byte for this long, the other side's kernel is asked whether it is there.
const KEEPALIVE_TIME: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// Bytes or questions that are not acknowledged for this long end a connection. A flow that a
/// middlebox has forgotten is found by nothing else while it is idle.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// How streams are opened. Clones share it.
#[derive(Clone, Debug)]
pub(in crate::predictor) struct Dialer {
    pub(in crate::predictor) resolver: Resolver,
    pub(in crate::predictor) tls: Option<Arc<Tls>>,
}

impl Dialer {
    /// `https` with TLS, `http` without.
    pub(in crate::predictor) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Connects.
    pub(in crate::predictor) async fn connect(
        &self,
        address: &Address,
        alpn: Alpn,
    ) -> io::Result<Stream> {
        let io: Pin<Box<dyn ReadWrite>> = match &address.endpoint {
            Endpoint::Unix(path) => Box::pin(UnixStream::connect(path).await?),
            Endpoint::Socket(address) => Box::pin(tcp(*address).await?),
            Endpoint::Name(host, port) => {
                let found = self.resolver.lookup(host, *port).await?;
                Box::pin(first_to_connect(alternating(found), tcp).await?)
            }
        };
        let io: Pin<Box<dyn ReadWrite>> = match &self.tls {
            Some(tls) => Box::pin(tls.handshake(io, &address.host, alpn).await?),
            None => io,
        };
        Ok(Stream { io })
    }
}

async fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // A call's last bytes must not wait for the acknowledgement of its first.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(stream)
}

/// The addresses of a name by turns of the two families, beginning with that of the first one: if
/// one family leads nowhere, the other one is tried second.
fn alternating(found: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let first_is_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut rest = second.into_iter();
    let mut order = VecDeque::new();
    for address in first {
        order.push_back(address);
        order.extend(rest.next());
    }
    order.extend(rest);
    order
}

/// Tries the addresses in their order, the next one when one has failed or has taken a while. The
/// first connection that stands is taken.
async fn first_to_connect<T, F>(
    mut addresses: VecDeque<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut attempts = FuturesUnordered::new();
    let mut error = io::Error::other("the name has no address");
    loop {
        attempts.extend(addresses.pop_front().map(&connect));
        tokio::select! {
            ended = attempts.next() => match ended {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(failed)) => error = failed,
                None => return Err(error),
            },
            () = sleep(STAGGER), if !addresses.is_empty() => (),
        }
    }
}

/// A connected stream of any kind.
pub(in crate::predictor) struct Stream {
    io: Pin<Box<dyn ReadWrite>>,
}

trait ReadWrite: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> ReadWrite for T {}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::Instant;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_take_turns() {
        let found = ["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1"].map(address);
        let order = alternating(found.to_vec());
        let expected = ["[::1]:1", "1.0.0.1:1", "[::2]:1", "[::3]:1"].map(address);
        assert_eq!(order, expected);
    }

    /// Port 1 swallows packets, port 2 refuses, port 3 is well.
    async fn outcome(ports: &[u16]) -> (io::Result<u16>, Vec<(u16, Duration)>) {
        let begin = Instant::now();
        let tried = RefCell::new(Vec::new());
        let addresses = ports
            .iter()
            .map(|&port| SocketAddr::from(([127, 0, 0, 1], port)));
        let connect = async |address: SocketAddr| {
            tried.borrow_mut().push((address.port(), begin.elapsed()));
            match address.port() {
                1 => std::future::pending().await,
                2 => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
                port => Ok(port),
            }
        };
        let result = first_to_connect(addresses.collect(), connect).await;
        (result, tried.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_swallows_packets_does_not_hide_the_next() {
        let (result, tried) = outcome(&[1, 3, 4]).await;
        assert_eq!(result.unwrap(), 3);
        assert_eq!(tried, [(1, Duration::ZERO), (3, STAGGER)]);
        let (result, tried) = outcome(&[2, 3]).await;
        assert_eq!(result.unwrap(), 3);
        assert_eq!(tried, [(2, Duration::ZERO), (3, Duration::ZERO)], "at once");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_failure_is_the_reason() {
        let refused = outcome(&[2, 2]).await.0.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let none = outcome(&[]).await.0.unwrap_err();
        assert_eq!(none.to_string(), "the name has no address");
    }

    #[tokio::test]
    async fn a_connection_asks_whether_the_other_side_is_there() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = tcp(listener.local_addr().unwrap()).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert!(socket.tcp_nodelay().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }
}
