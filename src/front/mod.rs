//! The doors: each protocol is converted to the engine's request and the rows back to its answer.

pub mod grpc;
pub mod probes;
pub mod response;
#[cfg(test)]
pub(crate) mod scripted;
pub mod tensors;
pub mod v1;
pub mod v2;

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use tracing::Instrument;

use self::grpc::GrpcRoutes;
use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::observe::metrics::Metrics;
use crate::observe::timing::Timings;
use crate::transport::headers::{Forwarded, REQUEST_ID};
use crate::transport::listener::{Body, Routes};

/// What the doors need to know.
#[derive(Debug)]
pub struct Settings {
    /// `--max_body_bytes`.
    pub max_body_bytes: usize,
    /// `--body_read_timeout_seconds`.
    pub body_read_timeout: Duration,
    /// `--forward_headers`.
    pub forward_headers: Vec<Forwarded>,
}

/// The service as its doors see it.
pub struct App {
    /// Who answers.
    pub engine: Arc<Engine>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is asked of requests.
    pub settings: Settings,
    /// gRPC, which shares the port.
    pub grpc: GrpcRoutes,
}

/// A request on its way through a door.
pub struct Visit {
    /// Its id.
    pub id: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Where its time goes.
    pub timings: Arc<Timings>,
}

impl Visit {
    fn new(headers: HeaderMap) -> Self {
        Self {
            id: crate::transport::headers::request_id(&headers),
            headers,
            timings: Arc::new(Timings::start()),
        }
    }
}

impl Routes for App {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        if grpc::is_grpc(request.headers()) {
            return Arc::new(self.grpc.clone()).answer(request).await;
        }
        let (head, mut body) = request.into_parts();
        let visit = Visit::new(head.headers);
        let span = tracing::info_span!("request", id = visit.id, method = %head.method, path = head.uri.path());
        async {
            let answer = self
                .route(&head.method, head.uri.path(), &visit, &mut body)
                .await;
            if answer.is_err() {
                crate::transport::http_body::discard(&visit.headers, &mut body).await;
            }
            finish(&self.metrics, answer, &visit)
        }
        .instrument(span)
        .await
    }
}

impl App {
    async fn route(
        &self,
        method: &Method,
        path: &str,
        visit: &Visit,
        body: &mut Incoming,
    ) -> Result<Response<Body>, Error> {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        match segments.as_slice() {
            [""] => response::get(method, || response::json(&v1::alive())),
            ["metrics"] => response::get(method, || probes::metrics(&self.metrics)),
            ["v2", rest @ ..] => {
                let door = v2::Door {
                    served: &*self.engine,
                    settings: &self.settings,
                };
                door.answer(method, rest, visit, body).await
            }
            ["v1", "models"] => response::get(method, || v1::models(&self.engine)),
            ["v1", "models", model] => v1::model(self, method, model, visit, body).await,
            _ => Err(Error::new(
                Kind::NotFound,
                "there is no such route; predictions are POST /v1/models/{model}:predict",
            )),
        }
    }
}

/// Counts the answer, and adds what every answer carries.
fn finish(
    metrics: &Metrics,
    answer: Result<Response<Body>, Error>,
    visit: &Visit,
) -> Response<Body> {
    let mut answer = answer.unwrap_or_else(|error| {
        response::log(&error);
        response::error(&error)
    });
    let code = answer.status();
    metrics
        .requests
        .with_label_values(&["http", code.as_str()])
        .inc();
    tracing::debug!(
        code = code.as_u16(),
        total_ms = visit.timings.total().as_millis() as u64,
        "answered"
    );
    let headers = answer.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&visit.id) {
        headers.insert(REQUEST_ID, id);
    }
    if let Ok(timing) = HeaderValue::from_str(&visit.timings.header()) {
        headers.insert("server-timing", timing);
    }
    answer
}
