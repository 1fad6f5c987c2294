//! A client of HTTP/2 frames written by hand, for what no library sends.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub(crate) struct RawHttp2 {
    stream: TcpStream,
    /// Pings that are read are acknowledged.
    pub(crate) is_alive: bool,
}

impl RawHttp2 {
    /// Connects with default settings.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &[]).await
    }

    /// Connects with these settings.
    pub(crate) async fn connect_with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        let mut peer = Self {
            stream,
            is_alive: true,
        };
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        peer.send(SETTINGS, 0, 0, &payload).await;
        peer
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).await.unwrap();
    }

    /// The head of a gRPC call, or of a GET that ends with it.
    pub(crate) async fn headers(&mut self, stream: u32, path: &str, end: bool) {
        // Of the static table: `:method` GET or POST, `:scheme` http.
        let mut block = vec![if end { 0x82 } else { 0x83 }, 0x86];
        // `:path` of the static table with a literal value.
        block.extend_from_slice(&[0x04, path.len() as u8]);
        block.extend_from_slice(path.as_bytes());
        for (name, value) in [(":authority", "x"), ("content-type", "application/grpc")] {
            block.extend_from_slice(&[0, name.len() as u8]);
            block.extend_from_slice(name.as_bytes());
            block.push(value.len() as u8);
            block.extend_from_slice(value.as_bytes());
        }
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.send(HEADERS, flags, stream, &block).await;
    }

    pub(crate) async fn data(&mut self, stream: u32, payload: &[u8], end: bool) {
        self.send(DATA, u8::from(end), stream, payload).await;
    }

    /// The kind of the next frame; nothing when the connection is closed.
    pub(crate) async fn frame(&mut self) -> Option<u8> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        if kind == PING && flags == 0 && self.is_alive {
            self.send(PING, 1, 0, &payload).await;
        }
        Some(kind)
    }

    /// Reads until a frame of this kind; whether one came before the connection was closed.
    pub(crate) async fn read_until(&mut self, kind: u8) -> bool {
        while let Some(frame) = self.frame().await {
            if frame == kind {
                return true;
            }
        }
        false
    }
}
