//! A way to one predictor, in the protocol it speaks.

use std::pin::Pin;

use super::connect::Stream;
use super::contract::{self, Terms};
use super::retry::Failure;
use super::target::Address;
use super::{Call, Signature, grpc};
use crate::wire::tensor::Message;
use crate::wire::triton::ModelInferResponse;

/// Ends when a link takes no more calls, and says why.
pub(super) type Closed = Pin<Box<dyn Future<Output = String> + Send>>;

/// Clones share the connection.
#[derive(Clone, Debug)]
pub(super) enum Link {
    Grpc(grpc::Link),
}

impl Link {
    /// Connects.
    pub(super) async fn open(address: &Address) -> Result<(Self, Closed), String> {
        let stream = Stream::connect(address)
            .await
            .map_err(|error| grpc::causes(&error))?;
        let (link, closed) = grpc::Link::open(stream, &address.authority()).await?;
        Ok((Self::Grpc(link), Box::pin(closed)))
    }

    /// Calls that the predictor takes on this link at once.
    pub(super) fn max_calls(&self) -> usize {
        match self {
            Self::Grpc(link) => link.max_calls(),
        }
    }

    /// Asks for a sign of life.
    pub(super) async fn live(&self) -> Result<(), String> {
        match self {
            Self::Grpc(link) => link.live().await,
        }
    }

    /// Asks about the model.
    pub(super) async fn terms(
        &self,
        signature: &Signature,
        default_max_batch: usize,
    ) -> Result<Terms, String> {
        let (metadata, config) = match self {
            Self::Grpc(link) => link.describe(&signature.model).await?,
        };
        contract::terms(signature, &metadata, config.as_ref(), default_max_batch)
    }

    /// What comes before the tensor in a call's message.
    pub(super) fn header(
        &self,
        signature: &Signature,
        shape: Vec<i64>,
        id: &str,
        tensor: usize,
    ) -> Vec<u8> {
        match self {
            Self::Grpc(_) => grpc::header(signature, shape, id, tensor),
        }
    }

    /// Sends a message that `header` begins. Dropped, it takes the call back.
    pub(super) async fn infer(
        &self,
        message: Message,
        call: &Call,
        address: &str,
        limit: usize,
    ) -> Result<ModelInferResponse, Failure> {
        match self {
            Self::Grpc(link) => link.infer(message, call, address, limit).await,
        }
    }
}
