//! A request body that is encoded already.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::wire::tensor::EncodedMessage;

/// The message of a call as a body.
#[derive(Debug)]
pub(in crate::predictor) struct EncodedBody {
    message: EncodedMessage,
    /// Pieces of the message's tail that are sent.
    sent: usize,
    known_length: bool,
}

impl EncodedBody {
    /// One that is sent without a content-length, as gRPC messages are.
    pub(in crate::predictor) fn new(message: EncodedMessage) -> Self {
        Self {
            message,
            sent: 0,
            known_length: false,
        }
    }

    /// One that is sent with a content-length.
    pub(in crate::predictor) fn with_length(message: EncodedMessage) -> Self {
        Self {
            message,
            sent: 0,
            known_length: true,
        }
    }
}

impl Body for EncodedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Self { message, sent, .. } = &mut *self;
        let mut piece = std::mem::take(&mut message.head);
        while piece.is_empty() {
            let Some(next) = message.tail.get_mut(*sent) else {
                return Poll::Ready(None);
            };
            piece = std::mem::take(next);
            *sent += 1;
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    // So that the last piece carries the end of the stream, and no empty frame has to.
    fn is_end_stream(&self) -> bool {
        self.message.byte_len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        if self.known_length {
            SizeHint::with_exact(self.message.byte_len() as u64)
        } else {
            SizeHint::default()
        }
    }
}
