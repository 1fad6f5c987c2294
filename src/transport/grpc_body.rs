//! A gRPC request's body on its way to tonic: each message is measured by its frame's header before
//! its bytes are read, waits for its bytes, and is inflated away from the threads that serve
//! connections.
//!
//! tonic's own limit answers OUT_OF_RANGE and names no flag, and its inflating runs on the
//! connection's thread; so it gets messages that are measured and plain.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::time::Instant;

use super::body_limits::Inflated;
use super::compression::Encoding;
use super::{BodyError, BodyLimits};
use crate::admission::ByteReservation;
use crate::observe::timing::{Stage, Timings};
use crate::wire::grpc::{FRAME_BYTES, FrameHeader};

/// The bytes reserved for messages that were read and not yet taken up by their handlers, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingReservations(Arc<Mutex<VecDeque<Option<ByteReservation>>>>);

impl PendingReservations {
    fn push(&self, reserved: Option<ByteReservation>) {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pending.push_back(reserved);
    }

    /// The bytes of the next message, if it is not small; to be kept until its response is written.
    pub(crate) fn take(&self) -> Option<ByteReservation> {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pending.pop_front().flatten()
    }
}

/// How the messages of a call that say they are compressed are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageEncoding {
    Identity,
    Known(Encoding),
    /// Left to tonic, which refuses it.
    Unknown,
}

impl MessageEncoding {
    /// Takes `grpc-encoding` off the headers where it is dealt with here.
    pub(crate) fn take(headers: &mut HeaderMap) -> Self {
        let encoding = match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
            None | Some(b"identity") => Self::Identity,
            Some(name) => match std::str::from_utf8(name).ok().and_then(Encoding::parse) {
                Some(encoding) => Self::Known(encoding),
                None => return Self::Unknown,
            },
        };
        headers.remove("grpc-encoding");
        encoding
    }
}

/// How many messages a call may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Messages {
    /// One, behind which nothing is read: were the end of the stream waited for, a caller that
    /// never ends it would keep the bytes of its message for ever.
    One,
    /// Any number.
    Stream,
}

/// A body whose messages are held to the limits.
pub(crate) struct LimitedBody<B> {
    pub(crate) body: B,
    pub(crate) messages: Messages,
    pub(crate) encoding: MessageEncoding,
    pub(crate) limits: BodyLimits,
    /// When the call's time is up.
    pub(crate) deadline: Option<Instant>,
    pub(crate) pending: PendingReservations,
    /// Of the call: a stream's messages are told apart only behind this.
    pub(crate) timings: Arc<Timings>,
}

impl<B> LimitedBody<B> {
    /// When the next message must have begun, or be complete if it is the only one. The messages of
    /// a stream may come whenever their sender likes, within the stream's deadline if it has one.
    fn next_message_by(&self) -> Option<Instant> {
        let time = match (self.messages, self.deadline) {
            (Messages::One, _) => self.limits.read_timeout,
            (Messages::Stream, None) => self.limits.stream_idle_timeout,
            (Messages::Stream, Some(_)) => return None,
        };
        Some(Instant::now() + time)
    }
}

impl<B> LimitedBody<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// The body as tonic is to see it.
    pub(crate) fn into_body(
        self,
    ) -> impl http_body::Body<Data = Bytes, Error = BodyError> + Send + 'static {
        let reader = Reader {
            read_by: self.next_message_by(),
            ended: self.body.is_end_stream(),
            limited: self,
            received: Bytes::new(),
            left: 0,
            in_message: false,
        };
        let chunks = stream::unfold(reader, |mut reader| async move {
            let timings = Arc::clone(&reader.limited.timings);
            let reading = timings.stage(Stage::Read);
            let chunk = reader.next_chunk().await.transpose()?;
            drop(reading);
            // After a failure there is nothing more to read.
            reader.ended |= chunk.is_err();
            Some((chunk.map(Frame::data), reader))
        });
        StreamBody::new(chunks)
    }
}

struct Reader<B> {
    limited: LimitedBody<B>,
    /// Received and not yet passed on.
    received: Bytes,
    /// Bytes of the current message still to be passed on.
    left: usize,
    /// When the current message must be complete, as it holds bytes that others wait for; between the
    /// messages of a stream, when the next one must begin.
    read_by: Option<Instant>,
    /// Whether a message has begun and is not complete.
    in_message: bool,
    ended: bool,
}

impl<B> Reader<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// The next chunk for tonic; nothing when the body has ended.
    async fn next_chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        if self.ended {
            return Ok(None);
        }
        if self.left == 0 {
            return self.begin_message().await;
        }
        if self.received.is_empty() && !self.receive().await? {
            // tonic says that the message is incomplete.
            return Ok(None);
        }
        let chunk = self.received.split_to(self.left.min(self.received.len()));
        self.left -= chunk.len();
        if self.left == 0 {
            self.end_message();
        }
        Ok(Some(chunk))
    }

    /// Reads the header of the next message, and the whole message if it is compressed.
    async fn begin_message(&mut self) -> Result<Option<Bytes>, BodyError> {
        let header = self.collect(FRAME_BYTES).await?;
        let Some(&bytes) = header.first_chunk() else {
            return Ok((!header.is_empty()).then_some(header));
        };
        let FrameHeader { flag, length } = FrameHeader::decode(bytes);
        let limits = &self.limited.limits;
        limits.check_length(length)?;
        let LimitedBody {
            deadline, timings, ..
        } = &self.limited;
        let reserved = limits.reserve(length, *deadline, timings).await?;
        self.read_by = Some(Instant::now() + limits.read_timeout);
        self.in_message = true;
        let (1, MessageEncoding::Known(encoding)) = (flag, self.limited.encoding) else {
            self.limited.pending.push(reserved);
            self.left = length;
            if length == 0 {
                self.end_message();
            }
            return Ok(Some(header));
        };
        let compressed = self.collect(length).await?;
        if compressed.len() < length {
            return Err(BodyError::CutShort("it ends inside a message".to_owned()));
        }
        self.end_message();
        let head = vec![0; FRAME_BYTES];
        let inflated = self.limited.limits.inflate(compressed, encoding, head);
        let Inflated {
            mut bytes,
            reserved: inflated,
        } = inflated.await?;
        drop(reserved);
        self.limited.pending.push(inflated);
        let header = FrameHeader::plain(bytes.len() - FRAME_BYTES);
        bytes[..FRAME_BYTES].copy_from_slice(&header.encode());
        Ok(Some(Bytes::from(bytes)))
    }

    fn end_message(&mut self) {
        self.read_by = self.limited.next_message_by();
        self.in_message = false;
        self.ended = self.limited.messages == Messages::One;
    }

    /// `length` bytes, or fewer if the body ends before.
    async fn collect(&mut self, length: usize) -> Result<Bytes, BodyError> {
        if self.received.len() >= length {
            return Ok(self.received.split_to(length));
        }
        let mut collected = BytesMut::with_capacity(length);
        loop {
            let missing = length - collected.len();
            let part = self.received.split_to(missing.min(self.received.len()));
            collected.extend_from_slice(&part);
            if collected.len() == length || !self.receive().await? {
                return Ok(collected.freeze());
            }
        }
    }

    /// Receives the next bytes; false at the end of the body.
    async fn receive(&mut self) -> Result<bool, BodyError> {
        while self.received.is_empty() {
            let LimitedBody {
                body,
                messages,
                limits,
                deadline,
                ..
            } = &mut self.limited;
            let received = limits.in_time(*deadline, self.read_by, body.frame()).await;
            let idle = !self.in_message && *messages == Messages::Stream;
            let Some(frame) = received.map_err(|error| match error {
                BodyError::TooSlow { .. } if idle => BodyError::IdleStream {
                    seconds: limits.stream_idle_timeout.as_secs(),
                },
                error => error,
            })?
            else {
                self.ended = true;
                return Ok(false);
            };
            let frame = frame.map_err(|error| BodyError::CutShort(error.into().to_string()))?;
            // Requests have no trailers that mean anything.
            self.received = frame.into_data().unwrap_or_default();
        }
        Ok(true)
    }
}
