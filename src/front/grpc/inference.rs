//! The calls of GRPCInferenceService. Those that are not built in are refused before they come here.

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt, future, stream};
use prost::Message;
use tonic::codegen::BoxStream;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status, Streaming};

use super::stream::{MessageTask, Messages, until_draining, until_failure};
use super::{Call, Settings, refused_by_tonic, status};
use crate::context::RequestContext;
use crate::front::failure;
use crate::front::span::RequestSpan;
use crate::observe::endpoint::{Endpoint, Protocol, Route};
use crate::observe::metrics::GaugeGuard;
use crate::observe::timing::Deadline;
use crate::oip::OpenInference;
use crate::wire::grpc;
use crate::wire::triton::{
    LogSettingsRequest, LogSettingsResponse, ModelConfigRequest, ModelConfigResponse,
    ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse,
    ModelReadyRequest, ModelReadyResponse, ModelStatisticsRequest, ModelStatisticsResponse,
    ModelStreamInferResponse, RepositoryIndexRequest, RepositoryIndexResponse, ServerLiveRequest,
    ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse, ServerReadyRequest,
    ServerReadyResponse, grpc_inference_service_server::GrpcInferenceService,
};

/// A message of a stream.
const STREAM: Endpoint = Endpoint::new(Protocol::Grpc, Route::ModelStreamInfer);

/// The path of ModelStreamInfer.
const MODEL_STREAM_INFER: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

type GrpcResult<T> = Result<Response<T>, Status>;

#[derive(Clone)]
pub(super) struct Inference {
    oip: OpenInference,
    settings: Arc<Settings>,
}

impl Inference {
    pub(super) fn new(oip: OpenInference, settings: Arc<Settings>) -> Self {
        Self { oip, settings }
    }

    /// Runs one message.
    async fn infer(
        &self,
        message: ModelInferRequest,
        context: &mut RequestContext,
    ) -> Result<ModelInferResponse, Status> {
        let observer = &self.settings.observer;
        if observer.log_predictions {
            context.facts.set_request_bytes(message.encoded_len());
        }
        let result = self.oip.infer(message, false, context).await;
        match &result {
            Ok(response) if observer.log_predictions => {
                context.facts.set_response_bytes(response.encoded_len());
            }
            Ok(_) => (),
            Err(error) => failure::note(error, &context.facts, observer),
        }
        result.map_err(status)
    }

    /// Starts one message of a stream.
    fn start(&self, message: ModelInferRequest, call: &Call) -> MessageTask {
        let this = self.clone();
        let reserved = call.pending.take();
        let id = message.id.clone();
        let own = Deadline::after(self.settings.timeout);
        let deadline = match call.caller_deadline {
            Some(deadline) if deadline.instant() < own.instant() => deadline,
            _ => own,
        };
        let mut context = call.context.for_message(deadline);
        let request_span = RequestSpan::grpc(MODEL_STREAM_INFER, &mut context);
        let span = context.span.clone();
        let observation = self.settings.observe(STREAM, &context);
        let work = async move {
            let result = this.infer(message, &mut context).await;
            drop(reserved);
            let code = result.as_ref().err().map_or(Code::Ok, Status::code);
            observation.end(grpc::code_name(code));
            request_span.end_grpc(result.as_ref().err());
            result
        };
        MessageTask::spawn(id, span, work)
    }
}

/// What was put beside the messages where the call arrived.
fn call<T>(request: &Request<T>) -> Result<Call, Status> {
    let call = request.extensions().get::<Call>().cloned();
    call.ok_or_else(|| Status::internal("internal error: a call without its context"))
}

#[async_trait::async_trait]
impl GrpcInferenceService for Inference {
    async fn server_live(&self, _: Request<ServerLiveRequest>) -> GrpcResult<ServerLiveResponse> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<ServerReadyRequest>,
    ) -> GrpcResult<ServerReadyResponse> {
        let ready = self.oip.service().not_ready().is_none();
        Ok(Response::new(ServerReadyResponse { ready }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> GrpcResult<ModelReadyResponse> {
        let ModelReadyRequest { name, version } = request.get_ref();
        let ready = self.oip.model_ready(name, version);
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> GrpcResult<ServerMetadataResponse> {
        Ok(Response::new(self.oip.server_metadata()))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> GrpcResult<ModelMetadataResponse> {
        let metadata = self.oip.model_metadata(request.get_ref());
        metadata.map(Response::new).map_err(status)
    }

    async fn model_config(
        &self,
        request: Request<ModelConfigRequest>,
    ) -> GrpcResult<ModelConfigResponse> {
        let config = self.oip.model_config(request.get_ref());
        config.map(Response::new).map_err(status)
    }

    async fn model_statistics(
        &self,
        request: Request<ModelStatisticsRequest>,
    ) -> GrpcResult<ModelStatisticsResponse> {
        let statistics = self.oip.model_statistics(request.get_ref());
        statistics.map(Response::new).map_err(status)
    }

    async fn log_settings(
        &self,
        request: Request<LogSettingsRequest>,
    ) -> GrpcResult<LogSettingsResponse> {
        let settings = self.oip.log_settings(request.get_ref());
        settings.map(Response::new).map_err(status)
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> GrpcResult<RepositoryIndexResponse> {
        let index = self.oip.repository_index(request.get_ref());
        Ok(Response::new(index))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> GrpcResult<ModelInferResponse> {
        let mut call = call(&request)?;
        let reserved = call.pending.take();
        let result = self.infer(request.into_inner(), &mut call.context).await;
        drop(reserved);
        let mut response = Response::new(result?);
        if let Ok(timings) = MetadataValue::try_from(call.context.timings.header()) {
            response.metadata_mut().insert("server-timing", timings);
        }
        Ok(response)
    }

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> GrpcResult<BoxStream<ModelStreamInferResponse>> {
        let call = call(&request)?;
        let (this, settings) = (self.clone(), Arc::clone(&self.settings));
        let open = GaugeGuard::add(&settings.observer.metrics.streams_open, 1);
        let stream = call.context.clone();
        let messages = until_draining(request.into_inner(), self.oip.clone());
        let Messages { messages, failure } = until_failure(messages);
        let responses = messages
            .map(move |message| this.start(message, &call).map(Ok))
            // Each request is responded to when it is done; its id tells which it is. As many run as
            // may wait to be read: a slow reader stops the reading of requests, and memory stays
            // flat.
            .buffer_unordered(self.settings.stream_concurrency.max(1));
        // A stream that is broken ends behind the responses that are due.
        let ending = failure.map(move |failure| {
            failure.map(|status| {
                // The message that was not one.
                let broken = settings.observe(STREAM, &stream);
                refused_by_tonic(status.code(), &stream.facts);
                broken.end(grpc::code_name(status.code()));
                Err(status)
            })
        });
        let ending = stream::once(ending).filter_map(future::ready);
        let responses = responses.chain(ending).map(move |response| {
            let _open = &open;
            response
        });
        Ok(Response::new(Box::pin(responses)))
    }
}
