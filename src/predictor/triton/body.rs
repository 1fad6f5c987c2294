//! A request body whose bytes are there already, in at most two pieces.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::wire::tensor::EncodedTensor;

/// A message as a body.
#[derive(Debug)]
pub(in crate::predictor) struct ReadyMade {
    message: EncodedTensor,
    tells_size: bool,
}

impl ReadyMade {
    /// One that ends when it ends, as gRPC messages do.
    pub(in crate::predictor) fn new(message: EncodedTensor) -> Self {
        let tells_size = false;
        Self {
            message,
            tells_size,
        }
    }

    /// One that has a content-length.
    pub(in crate::predictor) fn with_length(message: EncodedTensor) -> Self {
        let tells_size = true;
        Self {
            message,
            tells_size,
        }
    }
}

impl Body for ReadyMade {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut piece = std::mem::take(&mut self.message.head);
        if piece.is_empty() {
            piece = std::mem::take(&mut self.message.tail);
        }
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    // So that the last piece carries the end of the stream, and no empty frame has to.
    fn is_end_stream(&self) -> bool {
        self.message.byte_len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        match self.tells_size {
            true => SizeHint::with_exact(self.message.byte_len() as u64),
            false => SizeHint::default(),
        }
    }
}
