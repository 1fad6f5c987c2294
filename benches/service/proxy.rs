//! The least that passes a ModelInfer on: tonic's unary server with a generated client behind it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use kserve_transformer::wire::triton::grpc_inference_service_client::GrpcInferenceServiceClient;
use kserve_transformer::wire::triton::{ModelInferRequest, ModelInferResponse};
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

type Later<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Messages of the largest batch fit.
const MAX_MESSAGE: usize = 64 << 20;

#[derive(Clone)]
struct Proxy(GrpcInferenceServiceClient<Channel>);

impl NamedService for Proxy {
    const NAME: &'static str = "inference.GRPCInferenceService";
}

impl UnaryService<ModelInferRequest> for Proxy {
    type Response = ModelInferResponse;
    type Future = Later<Response<ModelInferResponse>, Status>;

    fn call(&mut self, request: Request<ModelInferRequest>) -> Self::Future {
        let mut client = self.0.clone();
        let request = Request::new(request.into_inner());
        Box::pin(async move { client.model_infer(request).await })
    }
}

impl Service<http::Request<Body>> for Proxy {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Later<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let proxy = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::default())
                .apply_max_message_size_config(Some(MAX_MESSAGE), None);
            Ok(grpc.unary(proxy, request).await)
        })
    }
}

/// Serves until it is killed. Frames and windows are those of the service: with tonic's own, every
/// tensor would come in ten times as many reads, and the comparison would be too easy.
pub(crate) async fn serve(port: &str, predictor: &str) {
    let channel = Channel::from_shared(format!("http://{predictor}"))
        .expect("an address")
        .connect()
        .await
        .expect("the predictor");
    let address = format!("127.0.0.1:{port}").parse().expect("a port");
    Server::builder()
        .max_frame_size(1 << 20)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .add_service(Proxy(GrpcInferenceServiceClient::new(channel)))
        .serve(address)
        .await
        .expect("a server");
}
