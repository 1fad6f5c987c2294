//! The calls of GRPCInferenceService. Those it does not write are refused before they come here.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_util::{FutureExt, StreamExt, future};
use http::HeaderValue;
use tokio::task::JoinHandle;
use tonic::codegen::BoxStream;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status, Streaming};
use tracing::Instrument;

use super::{Arrival, Settings, status};
use crate::admission::ByteReservation;
use crate::front::response;
use crate::observe::timing::Timings;
use crate::oip::{Context, InferenceService};
use crate::wire::grpc::code_name;
use crate::wire::triton::infer_parameter::ParameterChoice;
use crate::wire::triton::{
    InferParameter, ModelConfigRequest, ModelConfigResponse, ModelInferRequest, ModelInferResponse,
    ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse,
    ModelStatisticsRequest, ModelStatisticsResponse, ModelStreamInferResponse,
    RepositoryIndexRequest, RepositoryIndexResponse, ServerLiveRequest, ServerLiveResponse,
    ServerMetadataRequest, ServerMetadataResponse, ServerReadyRequest, ServerReadyResponse,
    grpc_inference_service_server::GrpcInferenceService,
};

type Answer<T> = Result<Response<T>, Status>;

#[derive(Clone)]
pub(super) struct Inference {
    served: Arc<dyn InferenceService>,
    settings: Arc<Settings>,
}

impl Inference {
    pub(super) fn new(served: Arc<dyn InferenceService>, settings: Arc<Settings>) -> Self {
        Self { served, settings }
    }

    /// Runs one message and counts it.
    async fn infer(
        &self,
        message: ModelInferRequest,
        context: Context,
    ) -> Result<ModelInferResponse, Status> {
        let result = self.served.infer(message, context).await;
        if let Err(error) = &result {
            response::log(error);
        }
        let result = result.map_err(status);
        let code = result.as_ref().err().map_or(Code::Ok, Status::code);
        self.settings
            .metrics
            .requests
            .with_label_values(&["grpc", code_name(code)])
            .inc();
        result
    }

    /// One message of a stream, as a task of its own: its place in the order must not keep it from
    /// going on while the reader is slow, since it may hold a permit that others wait for.
    fn start(
        &self,
        message: ModelInferRequest,
        arrival: &Arrival,
        room: Option<ByteReservation>,
    ) -> Task {
        let this = self.clone();
        let id = message.id.clone();
        let context = Context {
            // The deadline is the stream's.
            timeout: arrival
                .timeout
                .map(|timeout| timeout.saturating_sub(arrival.timings.total())),
            headers: arrival.headers.clone(),
            timings: Arc::new(Timings::start()),
            strings: false,
        };
        let work = async move {
            let result = this.infer(message, context).await;
            drop(room);
            result
        };
        let task = tokio::spawn(work.instrument(arrival.span.clone()));
        Task { id, task }
    }
}

/// A request that runs; it is given up when this is dropped.
struct Task {
    id: String,
    task: JoinHandle<Result<ModelInferResponse, Status>>,
}

impl Future for Task {
    type Output = ModelStreamInferResponse;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.task.poll_unpin(cx).map(|joined| {
            let result = joined
                .unwrap_or_else(|_| Err(Status::internal("internal error: the request was lost")));
            in_stream(std::mem::take(&mut self.id), result)
        })
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer as the stream carries it: a fault is a message too, and each answer is its request's
/// last.
fn in_stream(id: String, result: Result<ModelInferResponse, Status>) -> ModelStreamInferResponse {
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

fn arrival<T>(request: &Request<T>) -> Result<Arrival, Status> {
    let arrival = request.extensions().get::<Arrival>().cloned();
    arrival.ok_or_else(|| Status::internal("internal error: a call that did not come in"))
}

#[async_trait::async_trait]
impl GrpcInferenceService for Inference {
    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Answer<ServerLiveResponse> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Answer<ServerReadyResponse> {
        let ready = self.served.not_ready().is_none();
        Ok(Response::new(ServerReadyResponse { ready }))
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Answer<ModelReadyResponse> {
        let ready = self.served.model_ready(request.get_ref());
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Answer<ServerMetadataResponse> {
        Ok(Response::new(self.served.server_metadata()))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Answer<ModelMetadataResponse> {
        let metadata = self.served.model_metadata(request.get_ref());
        metadata.map(Response::new).map_err(status)
    }

    async fn model_config(
        &self,
        request: Request<ModelConfigRequest>,
    ) -> Answer<ModelConfigResponse> {
        let config = self.served.model_config(request.get_ref());
        config.map(Response::new).map_err(status)
    }

    async fn model_statistics(
        &self,
        request: Request<ModelStatisticsRequest>,
    ) -> Answer<ModelStatisticsResponse> {
        let statistics = self.served.model_statistics(request.get_ref());
        statistics.map(Response::new).map_err(status)
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Answer<RepositoryIndexResponse> {
        let index = self.served.repository_index(request.get_ref());
        Ok(Response::new(index))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Answer<ModelInferResponse> {
        let arrival = arrival(&request)?;
        let _room = arrival.room.take();
        let mut message = request.into_inner();
        let own_id = std::mem::take(&mut message.id);
        message.id = id_or(&own_id, &arrival.request_id);
        let context = Context {
            timeout: arrival.timeout,
            headers: arrival.headers,
            timings: Arc::clone(&arrival.timings),
            strings: false,
        };
        let mut answer = self.infer(message, context).await?;
        answer.id = own_id;
        let mut response = Response::new(answer);
        if let Ok(timings) = MetadataValue::try_from(arrival.timings.header()) {
            response.metadata_mut().insert("server-timing", timings);
        }
        Ok(response)
    }

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Answer<BoxStream<ModelStreamInferResponse>> {
        let arrival = arrival(&request)?;
        let this = self.clone();
        let answers = request
            .into_inner()
            .map(move |message| match message {
                Ok(message) => {
                    let room = arrival.room.take();
                    this.start(message, &arrival, room).map(Ok).left_future()
                }
                // The stream itself is broken; it ends behind the answers that are due.
                Err(status) => future::ready(Err(status)).right_future(),
            })
            // As many requests run as may wait for their turn to be answered: a slow reader stops
            // the reading of requests, and memory stays flat.
            .buffered(self.settings.concurrency.max(1));
        Ok(Response::new(Box::pin(answers)))
    }
}

/// The request's own id, or the call's where it has none.
fn id_or(own: &str, request_id: &HeaderValue) -> String {
    match own {
        "" => request_id.to_str().unwrap_or_default().to_owned(),
        own => own.to_owned(),
    }
}
