//! A way to one predictor, in the protocol it speaks.

mod body;
pub(in crate::predictor) mod detect;
pub(in crate::predictor) mod dial;
mod grpc;
mod rest;

use std::pin::Pin;
use std::sync::Arc;

use crate::context::RequestContext;
use crate::predictor::Signature;
use crate::predictor::address::Address;
use crate::predictor::retry::Failure;
use crate::predictor::signature::{self, Terms};
use crate::predictor::triton::detect::Protocol;
use crate::predictor::triton::dial::{Stream, Tls, causes};
use crate::wire::grpc::encode_head;
use crate::wire::tensor::EncodedTensor;
use crate::wire::triton::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::wire::triton::{ModelInferRequest, ModelInferResponse};
use crate::wire::v2;

/// How to open a link.
#[derive(Debug)]
pub(in crate::predictor) struct Access {
    pub(in crate::predictor) protocol: Protocol,
    pub(in crate::predictor) tls: Option<Tls>,
}

/// Ends when a link takes no more calls, and says why.
pub(in crate::predictor) type Closed = Pin<Box<dyn Future<Output = String> + Send>>;

/// Clones share the connection.
#[derive(Clone, Debug)]
pub(in crate::predictor) enum Link {
    Grpc(Arc<grpc::Link>),
    Rest(Arc<rest::Link>),
}

impl Link {
    /// Connects.
    pub(in crate::predictor) async fn open(
        address: &Address,
        access: &Access,
    ) -> Result<(Self, Closed), String> {
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
    pub(in crate::predictor) fn max_calls(&self) -> usize {
        match self {
            Self::Grpc(link) => link.max_calls(),
            // Each call has a connection of its own.
            Self::Rest(_) => usize::MAX,
        }
    }

    /// Asks for a sign of life.
    pub(in crate::predictor) async fn live(&self) -> Result<(), String> {
        match self {
            Self::Grpc(link) => link.live().await,
            Self::Rest(link) => link.live().await,
        }
    }

    /// Asks about the model.
    pub(in crate::predictor) async fn terms(
        &self,
        signature: &Signature,
        default_max_batch: usize,
    ) -> Result<Terms, String> {
        let (metadata, config) = match self {
            Self::Grpc(link) => link.describe(&signature.model).await?,
            Self::Rest(link) => link.describe(&signature.model).await?,
        };
        signature::terms(signature, &metadata, config.as_ref(), default_max_batch)
    }

    /// What comes before the tensor in a call's message.
    pub(in crate::predictor) fn header(
        &self,
        signature: &Signature,
        shape: &[i64],
        id: &str,
        tensor: usize,
    ) -> Vec<u8> {
        let request = ModelInferRequest {
            model_name: signature.model.clone(),
            id: id.to_owned(),
            inputs: vec![InferInputTensor {
                name: signature.input.clone(),
                datatype: "FP32".to_owned(),
                shape: shape.to_vec(),
                ..InferInputTensor::default()
            }],
            outputs: vec![InferRequestedOutputTensor {
                name: signature.output.clone(),
                ..InferRequestedOutputTensor::default()
            }],
            ..ModelInferRequest::default()
        };
        match self {
            Self::Grpc(_) => encode_head(&request, tensor),
            Self::Rest(_) => v2::request::to_json(&request, &[tensor]),
        }
    }

    /// Sends a message that `header` begins, with `header_bytes`. Reads an answer of at most
    /// `limit` bytes. Dropped, it takes the call back.
    pub(in crate::predictor) async fn infer(
        &self,
        signature: &Signature,
        message: EncodedTensor,
        header_bytes: usize,
        context: &RequestContext,
        limit: usize,
    ) -> Result<ModelInferResponse, Failure> {
        match self {
            Self::Grpc(link) => link.infer(message, context, limit).await,
            Self::Rest(link) => {
                link.infer(signature, message, header_bytes, context, limit)
                    .await
            }
        }
    }
}
