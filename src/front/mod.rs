//! What is served on the ports: each protocol converts its requests to the engine's or to the Open
//! Inference Protocol's, and the results back to its responses. Nothing is decided here.

mod cloud_events;
mod cors;
mod docs;
mod embedded_file;
mod endpoint;
mod failure;
mod grpc;
mod openapi;
mod probes;
mod response;
mod rest;
#[cfg(test)]
mod scripted;
mod span;
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
use hyper::body::Body as _;
use percent_encoding::percent_decode_str;
use tonic::Code;
use tracing::Instrument;

pub(crate) use self::cors::Cors;
use self::docs::Docs;
pub(crate) use self::grpc::{GrpcRoutes, routes as grpc_routes};
use self::rest::RestRequest;
use self::span::RequestSpan;
pub(crate) use self::ui::Ui;
use self::v1::V1Router;
pub(crate) use self::v1::multi_response;
use self::v2::V2Router;
use crate::context::RequestContext;
use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::observe::endpoint::{Endpoint, Protocol, Route};
use crate::observe::observer::{Observation, Observer};
use crate::observe::spans::Tracing;
use crate::observe::timing::Deadline;
use crate::observe::trace::Trace;
use crate::oip::OpenInference;
use crate::transport::headers::{self, REQUEST_ID};
use crate::transport::{Body, BodyLimits, Handler, HeaderPattern, RequestBody};
use crate::wire::{error_body, grpc as wire_grpc};

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
    /// Where requests are counted and told.
    pub observer: Arc<Observer>,
    /// Whether they are traced.
    pub tracing: Tracing,
}

impl Settings {
    /// Makes the counters of predictions' codes, so that they stand at 0 from the start.
    pub(crate) fn count_from_zero(&self) {
        let metrics = &self.observer.metrics;
        for endpoint in Endpoint::PREDICTIONS {
            if endpoint.protocol == Protocol::Grpc {
                metrics.responses(endpoint, wire_grpc::code_name(Code::Ok));
                for kind in Kind::ALL {
                    metrics.responses(endpoint, wire_grpc::code_name(kind.grpc_code()));
                }
            } else {
                metrics.responses(endpoint, StatusCode::OK.as_str());
                for kind in Kind::ALL {
                    metrics.responses(endpoint, kind.http_status().as_str());
                }
            }
        }
    }

    /// The body of the response to a head that HTTP itself does not take, and its count.
    fn refuse_head(&self, status: StatusCode) -> Bytes {
        let text = response::head_text(status);
        tracing::debug!(status = status.as_u16(), error = text, "request refused");
        self.count_other(status);
        error_body::to_json(text).into()
    }

    /// Counts a response to what is no request of any protocol.
    fn count_other(&self, status: StatusCode) {
        let endpoint = Endpoint::new(Protocol::Http, Route::Other);
        let metrics = &self.observer.metrics;
        metrics.responses(endpoint, status.as_str()).inc();
    }

    /// A request that is observed from now on.
    fn observe(&self, endpoint: Endpoint, context: &RequestContext) -> Observation {
        Observation {
            observer: Arc::clone(&self.observer),
            endpoint,
            id: context.id.clone(),
            timings: Arc::clone(&context.timings),
            facts: Arc::clone(&context.facts),
            trace: context.trace,
            code: None,
        }
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
        let caller = self.tracing.caller(headers);
        if caller.as_ref().is_some_and(|caller| !caller.has_trace()) {
            // It would be said of a trace that has begun here.
            forwarded.remove("tracestate");
        }
        let mut context = RequestContext::new(id, Deadline::after(self.timeout));
        context.headers = forwarded;
        context.trace = Trace::of(headers);
        context.caller = caller;
        context
    }
}

/// The way from a request to its response, on a port that serves REST and gRPC together.
pub(crate) struct Router {
    engine: Option<Arc<Engine>>,
    oip: OpenInference,
    grpc: GrpcRoutes,
    docs: Option<Docs>,
    settings: Arc<Settings>,
}

impl Router {
    /// Serves V2 and gRPC for `oip`; V1 and the OpenAPI document where there is an engine.
    ///
    /// # Errors
    ///
    /// When the document cannot be written: a defect.
    pub(crate) fn new(
        engine: Option<Arc<Engine>>,
        oip: OpenInference,
        grpc: GrpcRoutes,
        settings: Arc<Settings>,
    ) -> Result<Self, Error> {
        let docs = engine.as_ref();
        let docs = docs.map(|engine| Docs::new(engine, &oip, settings.ui.is_some()));
        Ok(Self {
            docs: docs.transpose()?,
            engine,
            oip,
            grpc,
            settings,
        })
    }

    async fn route(
        &self,
        segments: &[&str],
        request: &mut RestRequest,
    ) -> Result<Response<Body>, Error> {
        let RestRequest { head, .. } = &request;
        if let (["ui", rest @ ..], Some(ui)) = (segments, self.settings.ui) {
            return ui.route(rest, head);
        }
        if let Some(docs) = &self.docs
            && let Some(response) = docs.route(segments, head)
        {
            return response;
        }
        match (segments, &self.engine) {
            ([""], Some(_)) => response::get(&head.method, || response::json(&v1::alive())),
            (["metrics"], _) => response::get(&head.method, || {
                probes::metrics(&self.settings.observer.metrics, &head.headers)
            }),
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

    /// The response to the result, with what every response carries.
    fn complete(
        &self,
        result: Result<Response<Body>, Error>,
        request_id: &str,
        request: &RestRequest,
    ) -> Response<Body> {
        let mut response = result.unwrap_or_else(|error| response::error(&error));
        let code = response.status();
        let length = response.body().size_hint().exact().unwrap_or_default();
        request.context.facts.set_response_bytes(length as usize);
        let timings = &request.context.timings;
        tracing::debug!(
            code = code.as_u16(),
            total_ms = timings.total().as_millis() as u64,
            "response sent"
        );
        if request.head.method == Method::HEAD {
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
    async fn handle(self: Arc<Self>, request: Request<RequestBody>) -> Response<Body> {
        if grpc::is_grpc(request.headers()) {
            return Arc::new(self.grpc.clone()).handle(request).await;
        }
        let (head, body) = request.into_parts();
        if let Some(mut response) = self.settings.cors.preflight(&head) {
            self.settings
                .cors
                .mark(&head.headers, response.headers_mut());
            self.settings.count_other(response.status());
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
        let request_span = RequestSpan::rest(&head, &mut context);
        let mut request = RestRequest {
            head,
            body,
            context,
        };
        let path = request.head.uri.path().to_owned();
        let decoded: Vec<Cow<'_, str>> = path
            .trim_matches('/')
            .split('/')
            .map(|segment| percent_decode_str(segment).decode_utf8_lossy())
            .collect();
        let segments: Vec<&str> = decoded.iter().map(AsRef::as_ref).collect();
        let endpoint = endpoint::rest(&segments);
        let observation = self.settings.observe(endpoint, &request.context);
        async {
            let result = self.route(&segments, &mut request).await;
            if let Err(error) = &result {
                failure::note(error, &request.context.facts, &self.settings.observer);
                if error.kind != Kind::SlowBody {
                    request.discard_body().await;
                }
            }
            let error = result.as_ref().err().map(|error| error.text.clone());
            let response = self.complete(result, &id, &request);
            observation.end(response.status().as_str());
            request_span.end_rest(response.status(), error.as_deref());
            response
        }
        .instrument(span)
        .await
    }

    fn refuse(&self, status: StatusCode) -> Bytes {
        self.settings.refuse_head(status)
    }
}
