//! grpc.health.v1 over the readiness of the models: for the server as a whole (the empty name) and
//! for the inference service. Nothing has to be kept up to date: each response looks anew.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::oip::{InferenceService, OpenInference};
use crate::quote::quote;

/// How soon a watcher learns of a change.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The services whose health is known.
const NAMES: [&str; 2] = ["", "inference.GRPCInferenceService"];

pub(super) struct Health {
    oip: OpenInference,
}

impl Health {
    pub(super) fn server(oip: OpenInference) -> HealthServer<Self> {
        HealthServer::new(Self { oip })
    }
}

fn serving_status(service: &dyn InferenceService) -> ServingStatus {
    match service.not_ready() {
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
                "unknown service {}; expected {:?} or the empty name",
                quote(service),
                NAMES[1]
            )));
        }
        Ok(Response::new(response(serving_status(self.oip.service()))))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let known = NAMES.contains(&request.get_ref().service.as_str());
        let oip = self.oip.clone();
        let changes = stream::unfold(None, move |last| {
            let oip = oip.clone();
            async move {
                loop {
                    let status = if known {
                        serving_status(oip.service())
                    } else {
                        ServingStatus::ServiceUnknown
                    };
                    if last != Some(status) {
                        return Some((Ok(response(status)), Some(status)));
                    }
                    // A watcher that stayed would hold up the end of the drain.
                    if oip.service().draining() {
                        return None;
                    }
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
            }
        });
        Ok(Response::new(Box::pin(changes)))
    }
}
