//! grpc.health.v1 over the readiness of the models: for the server as a whole (the empty name) and
//! for the inference service. Nothing has to be kept up to date: each answer looks.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::oip::InferenceService;

/// How soon a watcher learns of a change.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The services that can be asked for.
const NAMES: [&str; 2] = ["", "inference.GRPCInferenceService"];

pub(super) struct Health {
    served: Arc<dyn InferenceService>,
}

impl Health {
    pub(super) fn server(served: Arc<dyn InferenceService>) -> HealthServer<Self> {
        HealthServer::new(Self { served })
    }
}

fn now(served: &dyn InferenceService) -> ServingStatus {
    match served.not_ready() {
        None => ServingStatus::Serving,
        Some(_) => ServingStatus::NotServing,
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[async_trait::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = &request.get_ref().service;
        if !NAMES.contains(&service.as_str()) {
            return Err(Status::not_found(format!(
                "service {service:?} is not here; ask for {:?} or for the empty name",
                NAMES[1]
            )));
        }
        Ok(Response::new(response(now(&*self.served))))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let known = NAMES.contains(&request.get_ref().service.as_str());
        let served = Arc::clone(&self.served);
        let changes = stream::unfold(None, move |last| {
            let served = Arc::clone(&served);
            async move {
                loop {
                    let status = match known {
                        true => now(&*served),
                        false => ServingStatus::ServiceUnknown,
                    };
                    if last != Some(status) {
                        return Some((Ok(response(status)), Some(status)));
                    }
                    // A watcher who stayed would hold up the end of the drain.
                    if served.draining() {
                        return None;
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        });
        Ok(Response::new(Box::pin(changes)))
    }
}
