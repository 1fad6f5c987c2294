//! gRPC on HTTP/2 without a generated client, with messages framed beforehand: one call after the
//! other on a shared connection, or a stream on one.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioExecutor;
use tokio::sync::{Mutex, mpsc};

use crate::loadtest::error::Error;
use crate::loadtest::failure::{Failure, FailureKind};
use crate::loadtest::settings::Settings;
use crate::loadtest::target::address::Address;
use crate::loadtest::target::dial::{Dialer, broken};
use crate::loadtest::target::response::Response;
use crate::loadtest::workload::Request;
use crate::wire::grpc::{error_status, set_request_headers, split_message};

type Sender = SendRequest<Messages>;

/// The connections that all calls share.
#[derive(Debug)]
pub(super) struct SharedConnections {
    route: Arc<Route>,
    slots: Vec<Arc<Mutex<Option<Sender>>>>,
}

#[derive(Debug)]
struct Route {
    dialer: Dialer,
    uri: Uri,
    /// The caller's own.
    headers: HeaderMap,
}

impl SharedConnections {
    pub(super) fn new(
        address: &Address,
        path: &str,
        settings: &Settings,
        count: usize,
    ) -> Result<Self, Error> {
        let mut headers = settings.headers.clone();
        // HTTP/2 names the host in the URL.
        let authority = match headers.remove(HOST) {
            None => address.authority.clone(),
            Some(host) => Authority::try_from(host.as_bytes())
                .map_err(|error| Error::Usage(format!("--header host: {error}")))?,
        };
        let dialer = Dialer::new(address.clone(), settings.ca_file.as_deref(), b"h2")?;
        let uri = address.uri(&authority, path)?;
        Ok(Self {
            route: Arc::new(Route {
                dialer,
                uri,
                headers,
            }),
            slots: (0..count.max(1)).map(|_| Arc::default()).collect(),
        })
    }

    pub(super) fn get(&self, number: usize) -> SharedConnection {
        SharedConnection {
            route: Arc::clone(&self.route),
            slot: Arc::clone(&self.slots[number % self.slots.len()]),
        }
    }
}

/// One of the connections.
#[derive(Debug)]
pub(super) struct SharedConnection {
    route: Arc<Route>,
    slot: Arc<Mutex<Option<Sender>>>,
}

impl SharedConnection {
    /// The connection, opened if there is none that works.
    async fn sender(&self) -> Result<Sender, Failure> {
        let mut slot = self.slot.lock().await;
        if let Some(sender) = slot.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let stream = self.route.dialer.dial().await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            // Until the target's SETTINGS are here, a second call might be one too many for it.
            .initial_max_send_streams(1)
            .handshake(stream)
            .await
            .map_err(|error| broken(&error))?;
        // Its failure is the failure of the calls in flight.
        tokio::spawn(connection);
        *slot = Some(sender.clone());
        Ok(sender)
    }

    /// Starts a call and waits for the response's headers.
    async fn call(&self, messages: Messages) -> Result<(HeaderMap, Incoming), Failure> {
        let mut sender = self.sender().await?;
        sender.ready().await.map_err(|error| broken(&error))?;
        let mut request = http::Request::new(messages);
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.route.uri.clone();
        *request.headers_mut() = self.route.headers.clone();
        set_request_headers(request.headers_mut());
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| broken(&error))?;
        let (parts, body) = response.into_parts();
        if parts.status != StatusCode::OK {
            return Err(Failure::new(FailureKind::Http(parts.status.as_u16()), ""));
        }
        // A response of headers only.
        check_status(&parts.headers)?;
        Ok((parts.headers, body))
    }
}

/// Unary calls.
#[derive(Debug)]
pub(super) struct GrpcCalls {
    connection: SharedConnection,
}

impl GrpcCalls {
    pub(super) fn new(connection: SharedConnection) -> Self {
        Self { connection }
    }

    pub(super) async fn open(&mut self) -> Result<(), Failure> {
        self.connection.sender().await.map(|_| ())
    }

    pub(super) async fn send(&mut self, request: &Request) -> Result<Response, Failure> {
        let messages = Messages::One(Some(request.body.bytes.clone()));
        let (headers, body) = self.connection.call(messages).await?;
        let collected = body.collect().await.map_err(|error| broken(&error))?;
        if let Some(trailers) = collected.trailers() {
            check_status(trailers)?;
        }
        let mut body = collected.to_bytes();
        let message = split_message(&mut body)
            .map_err(malformed)?
            .ok_or_else(|| malformed("the response has no message"))?;
        Ok(Response {
            body: message,
            headers,
        })
    }
}

/// A stream, with one request at a time on it.
#[derive(Debug)]
pub(super) struct GrpcStream {
    connection: SharedConnection,
    /// None before the first request, and after one that failed.
    stream: Option<Stream>,
}

#[derive(Debug)]
struct Stream {
    requests: mpsc::Sender<Bytes>,
    responses: Incoming,
    received: BytesMut,
    headers: HeaderMap,
}

impl GrpcStream {
    pub(super) fn new(connection: SharedConnection) -> Self {
        Self {
            connection,
            stream: None,
        }
    }

    pub(super) async fn open(&mut self) -> Result<(), Failure> {
        self.connection.sender().await.map(|_| ())
    }

    pub(super) async fn send(&mut self, request: &Request) -> Result<Response, Failure> {
        let ended = || Failure::new(FailureKind::Broken, "the stream ended");
        let mut stream = match self.stream.take() {
            Some(stream) => {
                let sent = stream.requests.send(request.body.bytes.clone()).await;
                sent.map_err(|_| ended())?;
                stream
            }
            None => {
                // The first message goes first: a server may send its headers only then.
                let (requests, receiver) = mpsc::channel(1);
                let sent = requests.send(request.body.bytes.clone()).await;
                sent.map_err(|_| ended())?;
                let (headers, responses) = self.connection.call(Messages::Many(receiver)).await?;
                Stream {
                    requests,
                    responses,
                    received: BytesMut::new(),
                    headers,
                }
            }
        };
        let message = loop {
            if let Some(message) = split_message(&mut stream.received).map_err(malformed)? {
                break message;
            }
            let frame = stream.responses.frame().await.ok_or_else(ended)?;
            match frame.map_err(|error| broken(&error))?.into_data() {
                Ok(data) => stream.received.extend_from_slice(&data),
                Err(other) => {
                    check_status(other.trailers_ref().unwrap_or(&HeaderMap::new()))?;
                    return Err(ended());
                }
            }
        };
        let headers = stream.headers.clone();
        self.stream = Some(stream);
        Ok(Response {
            body: message,
            headers,
        })
    }
}

fn malformed(reason: impl ToString) -> Failure {
    Failure::new(FailureKind::Malformed, reason.to_string())
}

fn check_status(headers: &HeaderMap) -> Result<(), Failure> {
    match error_status(headers) {
        None => Ok(()),
        Some(status) => {
            let code = i32::from(status.code()) as u16;
            Err(Failure::new(FailureKind::Grpc(code), status.message()))
        }
    }
}

/// A request's body: ready-made frames.
#[derive(Debug)]
enum Messages {
    One(Option<Bytes>),
    Many(mpsc::Receiver<Bytes>),
}

impl Body for Messages {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::One(message) => Poll::Ready(message.take()),
            Self::Many(receiver) => receiver.poll_recv(context),
        }
        .map(|message| message.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::One(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::One(message) => {
                SizeHint::with_exact(message.as_ref().map_or(0, Bytes::len) as u64)
            }
            Self::Many(_) => SizeHint::default(),
        }
    }
}
