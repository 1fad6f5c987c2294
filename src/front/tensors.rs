//! The doors of something that takes tensors and nothing else: the Open Inference Protocol over
//! REST and gRPC, together on one port.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use super::grpc::{self, GrpcRoutes};
use super::{Settings, Visit, finish, probes, response, v2};
use crate::error::{Error, Kind};
use crate::observe::metrics::Metrics;
use crate::oip::InferenceService;
use crate::transport::listener::{Body, Routes};

/// A server of tensors as its doors see it.
pub struct Tensors {
    /// Who answers.
    pub served: Arc<dyn InferenceService>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is asked of requests.
    pub settings: Settings,
    /// gRPC, which shares the port.
    pub grpc: GrpcRoutes,
}

impl Routes for Tensors {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        if grpc::is_grpc(request.headers()) {
            return Arc::new(self.grpc.clone()).answer(request).await;
        }
        let (head, mut body) = request.into_parts();
        let visit = Visit::new(head.headers);
        let segments: Vec<&str> = head.uri.path().trim_matches('/').split('/').collect();
        let answer = match segments.as_slice() {
            ["metrics"] => response::get(&head.method, || probes::metrics(&self.metrics)),
            ["v2", rest @ ..] => {
                let door = v2::Door {
                    served: &*self.served,
                    settings: &self.settings,
                };
                door.answer(&head.method, rest, &visit, &mut body).await
            }
            _ => Err(Error::new(
                Kind::NotFound,
                "there is no such route; inferences are POST /v2/models/{model}/infer",
            )),
        };
        if answer.is_err() {
            crate::transport::http_body::discard(&visit.headers, &mut body).await;
        }
        finish(&self.metrics, answer, &visit)
    }
}
