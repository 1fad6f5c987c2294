//! A connection to one predictor, in the protocol it speaks.

mod body;
pub(in crate::predictor) mod detect;
pub(in crate::predictor) mod dial;
mod grpc;
mod http_error;
mod rest;
pub(in crate::predictor) mod tls;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use crate::context::RequestContext;
use crate::error_chain::error_chain;
use crate::observe::spans::TRACEPARENT;
use crate::predictor::Signature;
use crate::predictor::address::Address;
use crate::predictor::headers::PredictorHeaders;
use crate::predictor::retry::Failure;
use crate::predictor::signature::{self, BatchLimits};
use crate::predictor::triton::detect::Protocol;
use crate::predictor::triton::dial::Dialer;
use crate::predictor::triton::grpc::GrpcConnection;
use crate::predictor::triton::rest::RestConnection;
use crate::predictor::triton::tls::Alpn;
use crate::wire;
use crate::wire::tensor::{EncodedMessage, Tensor};
use crate::wire::triton::infer_parameter::ParameterChoice;
use crate::wire::triton::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::wire::triton::{InferParameter, ModelInferRequest, ModelInferResponse};

/// What a response may be longer than its tensor: names, parameters, typed contents.
const RESPONSE_SLACK: usize = 64 * 1024;

/// What an output may have whose size is not known ahead.
const FREE_RESPONSE: usize = 64 * 1024 * 1024;

/// How to open a connection.
#[derive(Debug)]
pub(in crate::predictor) struct ConnectOptions {
    pub(in crate::predictor) protocol: Protocol,
    pub(in crate::predictor) dialer: Dialer,
    pub(in crate::predictor) headers: PredictorHeaders,
}

/// Ends when a connection takes no more calls, and says why.
pub(in crate::predictor) type Closed = Pin<Box<dyn Future<Output = String> + Send>>;

/// Clones share the connection.
#[derive(Clone, Debug)]
pub(in crate::predictor) enum Connection {
    Grpc(Arc<GrpcConnection>),
    Rest(Arc<RestConnection>),
}

/// A call ready to be sent.
#[derive(Debug)]
pub(in crate::predictor) struct EncodedCall {
    message: EncodedMessage,
    /// Bytes of the message in front of the first tensor's values.
    head_bytes: usize,
    /// Bytes of a response at most.
    response_limit: usize,
    /// The span of this call, in place of the caller's own.
    traceparent: Option<HeaderValue>,
}

impl EncodedCall {
    /// The span of this call, which the predictor is told in place of the caller's own.
    pub(in crate::predictor) fn set_traceparent(&mut self, traceparent: Option<HeaderValue>) {
        self.traceparent = traceparent;
    }

    /// Sets the headers that go on from the request.
    fn set_forwarded(&self, headers: &mut HeaderMap, context: &RequestContext) {
        headers.extend(context.headers.clone());
        if let Some(traceparent) = &self.traceparent {
            headers.insert(TRACEPARENT, traceparent.clone());
        }
    }
}

impl Connection {
    /// Connects.
    pub(in crate::predictor) async fn open(
        address: &Address,
        options: &ConnectOptions,
    ) -> Result<(Self, Closed), String> {
        let opened = Self::open_port(address, options).await;
        opened.map_err(|reason| match address.port() {
            Some(port) if !address.port_given => format!(
                "{reason} (--predictor_host gives no port, so it is {port}; Triton's gRPC port is \
                 8001, REST's 8000)"
            ),
            _ => reason,
        })
    }

    async fn open_port(
        address: &Address,
        options: &ConnectOptions,
    ) -> Result<(Self, Closed), String> {
        let dialer = &options.dialer;
        match options.protocol.detect(address, dialer).await? {
            Protocol::Rest => {
                let connection = Arc::new(RestConnection::open(address, options).await?);
                let closed = RestConnection::closed(Arc::clone(&connection));
                Ok((Self::Rest(connection), Box::pin(closed)))
            }
            Protocol::Grpc | Protocol::Auto => {
                let stream = dialer.connect(address, Alpn::Http2).await;
                let stream = stream.map_err(|error| error_chain(&error))?;
                let (connection, closed) = GrpcConnection::open(stream, address, options).await?;
                Ok((Self::Grpc(Arc::new(connection)), Box::pin(closed)))
            }
        }
    }

    /// Calls that the predictor takes on this connection at once.
    pub(in crate::predictor) fn max_calls(&self) -> usize {
        match self {
            Self::Grpc(connection) => connection.max_calls(),
            // Each call has an HTTP connection of its own.
            Self::Rest(_) => usize::MAX,
        }
    }

    /// Asks for a sign of life.
    pub(in crate::predictor) async fn check_live(&self) -> Result<(), String> {
        match self {
            Self::Grpc(connection) => connection.check_live().await,
            Self::Rest(connection) => connection.check_live().await,
        }
    }

    /// Asks about the model, and how it takes rows if it fits the signature.
    pub(in crate::predictor) async fn check_model(
        &self,
        signature: &Signature,
        default_max_batch: usize,
    ) -> Result<BatchLimits, String> {
        let (metadata, config) = match self {
            Self::Grpc(connection) => connection.describe(&signature.model).await?,
            Self::Rest(connection) => connection.describe(&signature.model).await?,
        };
        signature::batch_limits(signature, &metadata, config.as_ref(), default_max_batch)
    }

    /// Puts the head of a message in front of the tensors. Also gives these back; they share the
    /// message's memory.
    pub(in crate::predictor) fn encode(
        &self,
        signature: &Signature,
        limits: &BatchLimits,
        inputs: Vec<Tensor>,
        context: &RequestContext,
    ) -> (EncodedCall, Vec<Tensor>) {
        let described = signature.inputs.iter().zip(&inputs);
        let described = described.map(|(spec, tensor)| InferInputTensor {
            name: spec.name.clone(),
            datatype: tensor.datatype().name().to_owned(),
            shape: tensor.shape()[usize::from(!limits.batch_axis)..].to_vec(),
            ..InferInputTensor::default()
        });
        let outputs = signature.outputs.iter();
        let outputs = outputs.map(|output| InferRequestedOutputTensor {
            name: output.name.clone(),
            ..InferRequestedOutputTensor::default()
        });
        let request = ModelInferRequest {
            model_name: signature.model.clone(),
            id: context.id.clone(),
            parameters: parameters(context),
            inputs: described.collect(),
            outputs: outputs.collect(),
            ..ModelInferRequest::default()
        };
        let sizes: Vec<_> = inputs.iter().map(Tensor::byte_len).collect();
        let (head, between) = match self {
            Self::Grpc(_) => wire::grpc::encode_head(&request, &sizes),
            Self::Rest(_) => (wire::v2::request::to_json(&request, &sizes), Vec::new()),
        };
        let rows = inputs.first().map_or(0, Tensor::rows);
        let (message, inputs) = EncodedMessage::new(&head, inputs, between);
        let call = EncodedCall {
            head_bytes: head.len(),
            response_limit: response_limit(signature, rows),
            message,
            traceparent: None,
        };
        (call, inputs)
    }

    /// Sends a call and reads its response. Dropped, it takes the call back.
    pub(in crate::predictor) async fn infer(
        &self,
        signature: &Signature,
        call: EncodedCall,
        context: &RequestContext,
    ) -> Result<ModelInferResponse, Failure> {
        match self {
            Self::Grpc(connection) => connection.infer(call, context).await,
            Self::Rest(connection) => connection.infer(signature, call, context).await,
        }
    }
}

/// Bytes that the response for this many rows may have.
fn response_limit(signature: &Signature, rows: usize) -> usize {
    let outputs = signature.outputs.iter();
    let tensors = outputs.map(
        |output| match (output.row_elements(), output.preferred().size()) {
            // Typed contents may have more bytes for a value than binary data: ten at most.
            (Some(elements), Some(_)) => rows * elements * 10,
            _ => FREE_RESPONSE,
        },
    );
    tensors.fold(RESPONSE_SLACK, usize::saturating_add)
}

/// What Triton's dynamic batcher is told of a request: the microseconds after which nobody waits for
/// it, and its priority. Over REST there is no other way to take a request out of Triton's queue.
fn parameters(context: &RequestContext) -> HashMap<String, InferParameter> {
    let left = context.deadline.remaining().as_micros();
    let left = i64::try_from(left).unwrap_or(i64::MAX).max(1);
    let timeout = ("timeout", ParameterChoice::Int64Param(left));
    let priority = context
        .priority
        .map(|priority| ("priority", ParameterChoice::Int64Param(priority)));
    let parameter = |(name, choice): (&str, ParameterChoice)| {
        let parameter_choice = Some(choice);
        (name.to_owned(), InferParameter { parameter_choice })
    };
    [Some(timeout), priority]
        .into_iter()
        .flatten()
        .map(parameter)
        .collect()
}
