//! What is served on the ports: each protocol converts its requests to the engine's or to the Open
//! Inference Protocol's, and the results back to its responses. Nothing is decided here.

mod cloud_events;
mod cors;
mod grpc;
mod probes;
mod response;
mod rest;
#[cfg(test)]
mod scripted;
mod ui;
mod v1;
mod v2;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::CONTENT_LENGTH;
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body as _, Incoming};
use percent_encoding::percent_decode_str;
use tracing::Instrument;

pub(crate) use self::cors::Cors;
pub(crate) use self::grpc::{GrpcRoutes, routes as grpc_routes};
use self::rest::RestRequest;
pub(crate) use self::ui::Ui;
use self::v1::V1Router;
pub(crate) use self::v1::multi_response;
use self::v2::V2Router;
use crate::context::RequestContext;
use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::observe::metrics::Metrics;
use crate::observe::timing::Deadline;
use crate::oip::OpenInference;
use crate::transport::headers::{self, REQUEST_ID};
use crate::transport::{Body, BodyLimits, Handler, HeaderPattern};
use crate::wire::error_body;

/// What all protocols need to know.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What bodies are held to.
    pub body: BodyLimits,
    /// `--predictor_request_timeout_seconds`: the deadline of requests that name none.
    pub timeout: Duration,
    /// Requests of one stream that are worked on side by side (`--concurrency`).
    pub stream_concurrency: usize,
    /// `--forward_headers`.
    pub forward_headers: Vec<HeaderPattern>,
    /// `--cors_allow_origin`.
    pub cors: Cors,
    /// The page at `/ui`, unless `--enable_ui false`.
    pub ui: Option<Ui>,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
}

impl Settings {
    /// The body of the response to a head that HTTP itself does not take, and its count.
    fn refuse_head(&self, status: StatusCode) -> Bytes {
        let text = response::head_text(status);
        tracing::debug!(status = status.as_u16(), error = text, "request refused");
        let labels = ["http", status.as_str()];
        self.metrics.requests.with_label_values(&labels).inc();
        error_body::to_json(text).into()
    }

    /// The context of a request whose head has just been read.
    fn context(&self, headers: &HeaderMap) -> RequestContext {
        let id = headers::request_id(headers);
        let mut forwarded = headers::forwarded(&self.forward_headers, headers);
        // An id that was made goes on as the caller's would.
        let name = HeaderName::from_static(REQUEST_ID);
        if self
            .forward_headers
            .iter()
            .any(|pattern| pattern.matches(&name))
            && let Ok(id) = HeaderValue::from_str(&id)
        {
            forwarded.insert(name, id);
        }
        let mut context = RequestContext::new(id, Deadline::after(self.timeout));
        context.headers = forwarded;
        context
    }
}

/// The way from a request to its response, on a port that serves REST and gRPC together.
pub(crate) struct Router {
    engine: Option<Arc<Engine>>,
    oip: OpenInference,
    grpc: GrpcRoutes,
    settings: Arc<Settings>,
}

impl Router {
    /// Serves V2 and gRPC for `oip`, and V1 where there is an engine.
    pub(crate) fn new(
        engine: Option<Arc<Engine>>,
        oip: OpenInference,
        grpc: GrpcRoutes,
        settings: Arc<Settings>,
    ) -> Self {
        Self {
            engine,
            oip,
            grpc,
            settings,
        }
    }

    async fn route(&self, request: &mut RestRequest) -> Result<Response<Body>, Error> {
        let method = request.head.method.clone();
        let path = request.head.uri.path().to_owned();
        let decoded: Vec<Cow<'_, str>> = path
            .trim_matches('/')
            .split('/')
            .map(|segment| percent_decode_str(segment).decode_utf8_lossy())
            .collect();
        let segments: Vec<&str> = decoded.iter().map(AsRef::as_ref).collect();
        if let (["ui", rest @ ..], Some(ui)) = (segments.as_slice(), self.settings.ui) {
            return ui.route(rest, &request.head);
        }
        let metrics = &self.settings.metrics;
        match (segments.as_slice(), &self.engine) {
            ([""], Some(_)) => response::get(&method, || response::json(&v1::alive())),
            (["metrics"], _) => response::get(&method, || probes::metrics(metrics)),
            (["v1", rest @ ..], Some(engine)) => {
                let v1 = V1Router {
                    engine,
                    settings: &self.settings,
                };
                v1.route(rest, request).await
            }
            (["v2", rest @ ..], _) => {
                let v2 = V2Router {
                    oip: &self.oip,
                    settings: &self.settings,
                };
                v2.route(rest, request).await
            }
            (_, Some(_)) => Err(v1::unknown_route()),
            (_, None) => Err(v2::unknown_route()),
        }
    }

    /// Counts the response, and adds what every response carries.
    fn complete(
        &self,
        result: Result<Response<Body>, Error>,
        request_id: &str,
        request: &RestRequest,
    ) -> Response<Body> {
        let mut response = result.unwrap_or_else(|error| {
            response::log(&error);
            response::error(&error)
        });
        let code = response.status();
        let labels = ["http", code.as_str()];
        self.settings
            .metrics
            .requests
            .with_label_values(&labels)
            .inc();
        let timings = &request.context.timings;
        tracing::debug!(
            code = code.as_u16(),
            total_ms = timings.total().as_millis() as u64,
            "response sent"
        );
        if request.head.method == Method::HEAD {
            let length = response.body().size_hint().exact().unwrap_or_default();
            *response.body_mut() = Either::Left(Full::default());
            response
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let headers = response.headers_mut();
        self.settings.cors.mark(&request.head.headers, headers);
        for (name, value) in [
            (REQUEST_ID, request_id),
            ("server-timing", timings.header().as_str()),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

impl Handler for Router {
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        if grpc::is_grpc(request.headers()) {
            return Arc::new(self.grpc.clone()).handle(request).await;
        }
        let (head, body) = request.into_parts();
        if let Some(mut response) = self.settings.cors.preflight(&head) {
            self.settings
                .cors
                .mark(&head.headers, response.headers_mut());
            return response;
        }
        let mut context = self.settings.context(&head.headers);
        if let Some(timeout) = headers::timeout(&head.headers) {
            context.tighten(timeout);
        }
        let id = context.id.clone();
        let span =
            tracing::info_span!("request", id, method = %head.method, path = head.uri.path());
        context.span = span.clone();
        let mut request = RestRequest {
            head,
            body,
            context,
        };
        async {
            let result = self.route(&mut request).await;
            if let Err(error) = &result
                && error.kind != Kind::SlowBody
            {
                request.discard_body().await;
            }
            self.complete(result, &id, &request)
        }
        .instrument(span)
        .await
    }

    fn refuse(&self, status: StatusCode) -> Bytes {
        self.settings.refuse_head(status)
    }
}
