//! A request's body on its way to tonic: each message is measured by its header before its bytes
//! are read, waits for room, and is inflated away from the threads that serve connections.
//!
//! tonic's own limit answers OUT_OF_RANGE and names no flag, and its inflating runs on the
//! connection's thread; so it gets messages that are measured and plain.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::read::{GzDecoder, ZlibDecoder};
use futures_util::stream;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::admission::ByteReservation;
use crate::error::{Error, Kind};
use crate::front::grpc::status;
use crate::oip::InferenceService;
use crate::wire::grpc::{FRAME_BYTES, FrameHeader};

/// The room taken by messages that were read and not yet taken up by their handlers, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room(Arc<Mutex<VecDeque<Option<ByteReservation>>>>);

impl Room {
    fn put(&self, reserved: Option<ByteReservation>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back(reserved);
    }

    /// The room of the next message; to be held until it is answered.
    pub(crate) fn take(&self) -> Option<ByteReservation> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.pop_front().flatten()
    }
}

/// How compressed messages of a call are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Plain,
    Gzip,
    Deflate,
    /// Left to tonic, which refuses it.
    Unknown,
}

impl Coding {
    /// Takes `grpc-encoding` off the headers where it is dealt with here.
    pub(crate) fn take(headers: &mut HeaderMap) -> Self {
        let coding = match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
            None | Some(b"identity") => Self::Plain,
            Some(b"gzip") => Self::Gzip,
            Some(b"deflate") => Self::Deflate,
            Some(_) => return Self::Unknown,
        };
        headers.remove("grpc-encoding");
        coding
    }
}

/// A body whose messages are to be measured.
pub(crate) struct Measured<B> {
    pub(crate) body: B,
    pub(crate) coding: Coding,
    pub(crate) served: Arc<dyn InferenceService>,
    pub(crate) limit: usize,
    /// How long a message may take to arrive when its header has.
    pub(crate) time: Duration,
    pub(crate) room: Room,
}

impl<B> Measured<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// The body as tonic is to see it.
    pub(crate) fn into_body(self) -> tonic::body::Body {
        if self.body.is_end_stream() {
            return tonic::body::Body::empty();
        }
        let reader = Reader {
            measured: self,
            chunk: Bytes::new(),
            left: 0,
            until: None,
            ended: false,
        };
        let pieces = stream::unfold(reader, |mut reader| async move {
            let piece = reader.piece().await.transpose()?;
            // After a fault there is nothing more to read.
            reader.ended |= piece.is_err();
            Some((piece.map(Frame::data), reader))
        });
        tonic::body::Body::new(StreamBody::new(pieces))
    }
}

struct Reader<B> {
    measured: Measured<B>,
    /// Received and not yet passed on.
    chunk: Bytes,
    /// Bytes of the current message still to be passed on.
    left: usize,
    /// When the current message must be complete: it holds room that others wait for.
    until: Option<Instant>,
    ended: bool,
}

impl<B> Reader<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// The next piece for tonic; nothing when the body has ended.
    async fn piece(&mut self) -> Result<Option<Bytes>, Status> {
        if self.ended {
            return Ok(None);
        }
        if self.left == 0 {
            return self.message().await;
        }
        if self.chunk.is_empty() && !self.receive().await? {
            // tonic says that the message is incomplete.
            return Ok(None);
        }
        let piece = self.chunk.split_to(self.left.min(self.chunk.len()));
        self.left -= piece.len();
        if self.left == 0 {
            self.until = None;
        }
        Ok(Some(piece))
    }

    /// Reads the header of the next message, and the whole message if it is compressed.
    async fn message(&mut self) -> Result<Option<Bytes>, Status> {
        let header = self.collect(FRAME_BYTES).await?;
        let Some(&bytes) = header.first_chunk() else {
            return Ok((!header.is_empty()).then_some(header));
        };
        let FrameHeader { flag, length } = FrameHeader::decode(bytes);
        let limit = self.measured.limit;
        if length > limit {
            return Err(too_large(&format!("{length} bytes"), limit));
        }
        let served = Arc::clone(&self.measured.served);
        let reserved = served.reserve(length).await.map_err(status)?;
        self.until = Some(Instant::now() + self.measured.time);
        let inflate = match (flag, self.measured.coding) {
            (1, Coding::Gzip) => inflate_gzip,
            (1, Coding::Deflate) => inflate_deflate,
            _ => {
                self.measured.room.put(reserved);
                self.left = length;
                if length == 0 {
                    self.until = None;
                }
                return Ok(Some(header));
            }
        };
        let compressed = self.collect(length).await?;
        self.until = None;
        if compressed.len() < length {
            return Err(Status::internal("the body ends inside a message"));
        }
        let inflated = served
            .aside(length, move || inflate(&compressed, limit))
            .await
            .map_err(status)??;
        // Given back first: those who hold room and ask for more would wait for each other.
        drop(reserved);
        let reserved = served.reserve(inflated.len()).await.map_err(status)?;
        self.measured.room.put(reserved);
        Ok(Some(inflated))
    }

    /// `length` bytes, or fewer if the body ends before.
    async fn collect(&mut self, length: usize) -> Result<Bytes, Status> {
        if self.chunk.len() >= length {
            return Ok(self.chunk.split_to(length));
        }
        let mut collected = BytesMut::with_capacity(length);
        loop {
            let missing = length - collected.len();
            collected.extend_from_slice(&self.chunk.split_to(missing.min(self.chunk.len())));
            if collected.len() == length || !self.receive().await? {
                return Ok(collected.freeze());
            }
        }
    }

    /// Receives the next chunk; false at the end of the body.
    async fn receive(&mut self) -> Result<bool, Status> {
        while self.chunk.is_empty() {
            let frame = self.measured.body.frame();
            let frame = match self.until {
                Some(until) => timeout_at(until, frame)
                    .await
                    .map_err(|_| self.too_slow())?,
                None => frame.await,
            };
            let Some(frame) = frame else {
                self.ended = true;
                return Ok(false);
            };
            let frame = frame.map_err(|error| Status::from_error(error.into()))?;
            // Requests have no trailers that mean anything.
            self.chunk = frame.into_data().unwrap_or_default();
        }
        Ok(true)
    }
}

impl<B> Reader<B> {
    fn too_slow(&self) -> Status {
        let seconds = self.measured.time.as_secs();
        let text =
            format!("the message did not arrive within {seconds} s (--body_read_timeout_seconds)");
        status(Error::new(Kind::Invalid, text))
    }
}

fn too_large(size: &str, limit: usize) -> Status {
    Status::resource_exhausted(format!(
        "the message has {size}; at most {limit} are allowed (--max_body_bytes)"
    ))
}

fn inflate_gzip(compressed: &[u8], limit: usize) -> Result<Bytes, Status> {
    inflate(GzDecoder::new(compressed), limit)
}

fn inflate_deflate(compressed: &[u8], limit: usize) -> Result<Bytes, Status> {
    inflate(ZlibDecoder::new(compressed), limit)
}

/// A message inflated to at most `limit` bytes, with the header of a plain one in front.
fn inflate(decoder: impl Read, limit: usize) -> Result<Bytes, Status> {
    let mut message = vec![0; FRAME_BYTES];
    let read = decoder
        .take(limit as u64 + 1)
        .read_to_end(&mut message)
        .map_err(|_| Status::internal("the message cannot be inflated: its bytes are damaged"))?;
    if read > limit {
        return Err(too_large("more bytes than allowed when inflated", limit));
    }
    if u32::try_from(read).is_err() {
        return Err(too_large("more than 4 GiB", limit));
    }
    message[..FRAME_BYTES].copy_from_slice(&FrameHeader::plain(read).encode());
    Ok(Bytes::from(message))
}
