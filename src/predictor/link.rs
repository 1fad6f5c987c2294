//! A way to one predictor, in the protocol it speaks.

use std::pin::Pin;
use std::sync::Arc;

use super::connect::{Stream, Tls, causes};
use super::contract::{self, Terms};
use super::protocol::Protocol;
use super::retry::Failure;
use super::target::Address;
use super::{Call, Signature, grpc, rest};
use crate::wire::tensor::Message;
use crate::wire::triton::ModelInferResponse;

/// How to open a link.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) protocol: Protocol,
    pub(super) tls: Option<Tls>,
}

/// Ends when a link takes no more calls, and says why.
pub(super) type Closed = Pin<Box<dyn Future<Output = String> + Send>>;

/// Clones share the connection.
#[derive(Clone, Debug)]
pub(super) enum Link {
    Grpc(Arc<grpc::Link>),
    Rest(Arc<rest::Link>),
}

impl Link {
    /// Connects.
    pub(super) async fn open(address: &Address, access: &Access) -> Result<(Self, Closed), String> {
        let tls = access.tls.as_ref();
        match access.protocol.at(address, tls).await? {
            Protocol::Rest => {
                let link = rest::Link::open(address, tls).await?;
                let link = Arc::new(link);
                let closed = rest::Link::closed(Arc::clone(&link));
                Ok((Self::Rest(link), Box::pin(closed)))
            }
            Protocol::Grpc | Protocol::Auto => {
                let stream = Stream::connect(address, tls, b"h2").await;
                let stream = stream.map_err(|error| causes(&error))?;
                let (link, closed) = grpc::Link::open(stream, address).await?;
                Ok((Self::Grpc(Arc::new(link)), Box::pin(closed)))
            }
        }
    }

    /// Calls that the predictor takes on this link at once.
    pub(super) fn max_calls(&self) -> usize {
        match self {
            Self::Grpc(link) => link.max_calls(),
            // Each call has a connection of its own.
            Self::Rest(_) => usize::MAX,
        }
    }

    /// Asks for a sign of life.
    pub(super) async fn live(&self) -> Result<(), String> {
        match self {
            Self::Grpc(link) => link.live().await,
            Self::Rest(link) => link.live().await,
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
            Self::Rest(link) => link.describe(&signature.model).await?,
        };
        contract::terms(signature, &metadata, config.as_ref(), default_max_batch)
    }

    /// What comes before the tensor in a call's message.
    pub(super) fn header(
        &self,
        signature: &Signature,
        shape: &[i64],
        id: &str,
        tensor: usize,
    ) -> Vec<u8> {
        match self {
            Self::Grpc(_) => grpc::header(signature, shape, id, tensor),
            Self::Rest(_) => rest::header(signature, shape, id, tensor),
        }
    }

    /// Sends a message that `header` begins, with `header_bytes`. Reads an answer of at most
    /// `limit` bytes. Dropped, it takes the call back.
    pub(super) async fn infer(
        &self,
        signature: &Signature,
        message: Message,
        header_bytes: usize,
        call: &Call,
        limit: usize,
    ) -> Result<ModelInferResponse, Failure> {
        match self {
            Self::Grpc(link) => link.infer(message, call, limit).await,
            Self::Rest(link) => {
                link.infer(signature, message, header_bytes, call, limit)
                    .await
            }
        }
    }
}
