//! From an address to a stream of bytes: TCP or a Unix socket, with TLS over it where wanted.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::target::{Address, Place};

/// A connected stream of any kind.
pub(super) struct Stream {
    io: Pin<Box<dyn ReadWrite>>,
    tls: bool,
}

trait ReadWrite: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> ReadWrite for T {}

impl Stream {
    /// Connects.
    pub(super) async fn connect(address: &Address) -> io::Result<Self> {
        let tcp = match &address.place {
            Place::Unix(path) => {
                return Ok(Self {
                    io: Box::pin(UnixStream::connect(path).await?),
                    tls: false,
                });
            }
            Place::Name(host, port) => TcpStream::connect((host.as_str(), *port)).await?,
            Place::Socket(address) => TcpStream::connect(address).await?,
        };
        // A call's last bytes must not wait for the acknowledgement of its first.
        tcp.set_nodelay(true)?;
        Ok(Self {
            io: Box::pin(tcp),
            tls: false,
        })
    }

    /// Whether TLS lies over it.
    pub(super) fn is_tls(&self) -> bool {
        self.tls
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("tls", &self.tls)
            .finish_non_exhaustive()
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
