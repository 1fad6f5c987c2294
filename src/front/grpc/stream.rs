//! ModelStreamInfer: each message of a stream is a task of its own, and its response a message that
//! carries the failure too.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt, future, stream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tonic::{Status, Streaming};
use tracing::Span;
use tracing::instrument::Instrument;

use crate::oip::OpenInference;
use crate::wire::triton::infer_parameter::ParameterChoice;
use crate::wire::triton::{InferParameter, ModelInferResponse, ModelStreamInferResponse};

/// How soon a stream notices the drain.
const DRAIN_POLL: Duration = Duration::from_millis(200);

/// The messages of a stream until the service drains: kept open, it would hold up the end of the
/// drain, and then be cut off.
pub(super) fn until_draining<M: Send + 'static>(
    messages: Streaming<M>,
    oip: OpenInference,
) -> impl Stream<Item = Result<M, Status>> + Send {
    let drain = Box::pin(async move {
        while !oip.service().draining() {
            sleep(DRAIN_POLL).await;
        }
    });
    stream::unfold(Some((messages, drain)), |state| async move {
        let (mut messages, mut drain) = state?;
        tokio::select! {
            biased;
            () = &mut drain => {
                let text = "the service shuts down; open the stream again";
                Some((Err(Status::unavailable(text)), None))
            }
            message = messages.next() => message.map(|message| (message, Some((messages, drain)))),
        }
    })
}

/// The messages of a stream, and how it failed behind them if it did.
pub(super) struct Messages<S, F> {
    pub(super) messages: S,
    pub(super) failure: F,
}

/// Takes the failure of a stream apart from its messages.
pub(super) fn until_failure<M: Send>(
    messages: impl Stream<Item = Result<M, Status>> + Send,
) -> Messages<impl Stream<Item = M> + Send, impl Future<Output = Option<Status>> + Send> {
    let (sender, failure) = oneshot::channel();
    let mut sender = Some(sender);
    let messages = messages.map(move |message| match message {
        Ok(message) => Some(message),
        Err(status) => {
            if let Some(sender) = sender.take() {
                let _ = sender.send(status);
            }
            None
        }
    });
    Messages {
        messages: messages
            .take_while(|message| future::ready(message.is_some()))
            .filter_map(future::ready),
        failure: failure.map(Result::ok),
    }
}

/// One message of a stream, as a task of its own: its place in the order must not keep it from
/// going on while the reader is slow, since it may hold a permit that others wait for. It is given
/// up when this is dropped.
pub(super) struct MessageTask {
    id: String,
    task: JoinHandle<Result<ModelInferResponse, Status>>,
}

impl MessageTask {
    /// Starts the work of the message with this id.
    pub(super) fn spawn(
        id: String,
        span: Span,
        work: impl Future<Output = Result<ModelInferResponse, Status>> + Send + 'static,
    ) -> Self {
        let task = tokio::spawn(work.instrument(span));
        Self { id, task }
    }
}

impl Future for MessageTask {
    type Output = ModelStreamInferResponse;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.task.poll_unpin(cx).map(|joined| {
            let result = joined
                .unwrap_or_else(|_| Err(Status::internal("internal error: the request was lost")));
            stream_message(std::mem::take(&mut self.id), result)
        })
    }
}

impl Drop for MessageTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A response as the stream carries it: a failure is a message too, and each response is its
/// request's last.
fn stream_message(
    id: String,
    result: Result<ModelInferResponse, Status>,
) -> ModelStreamInferResponse {
    let (mut response, error_message) = match result {
        Ok(response) => (response, String::new()),
        Err(status) => {
            let response = ModelInferResponse {
                id,
                ..Default::default()
            };
            (response, status.message().to_owned())
        }
    };
    let last = InferParameter {
        parameter_choice: Some(ParameterChoice::BoolParam(true)),
    };
    response
        .parameters
        .insert("triton_final_response".to_owned(), last);
    ModelStreamInferResponse {
        error_message,
        infer_response: Some(response),
    }
}
