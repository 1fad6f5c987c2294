//! HTTP/1.1: one request after the other on a connection.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};

use crate::loadtest::error::Error;
use crate::loadtest::failure::{Failure, FailureKind};
use crate::loadtest::protocol::Protocol;
use crate::loadtest::target::dial::{broken, dial};
use crate::loadtest::target::response::Response;
use crate::loadtest::workload::Request;
use crate::wire::error_body;
use crate::wire::v2::JSON_LENGTH;

/// Where requests go, and their headers, made once.
#[derive(Debug)]
pub(super) struct Route {
    authority: String,
    uri: Uri,
    headers: HeaderMap,
}

impl Route {
    pub(super) fn new(authority: &str, path: &str, protocol: Protocol) -> Result<Self, Error> {
        let invalid = || Error::Usage(format!("invalid URL {authority}{path} (--url, --model)"));
        let mut headers = HeaderMap::new();
        let host = HeaderValue::from_str(authority).map_err(|_| invalid())?;
        headers.insert(HOST, host);
        let media = match protocol {
            Protocol::V1 => "application/json",
            _ => "application/octet-stream",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
        Ok(Self {
            authority: authority.to_owned(),
            uri: path.parse().map_err(|_| invalid())?,
            headers,
        })
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }
}

type Sender = SendRequest<Full<Bytes>>;

#[derive(Debug)]
pub(super) struct HttpConnection {
    route: Arc<Route>,
    /// None before the first request, and after one whose response was not read to its end.
    sender: Option<Sender>,
}

impl HttpConnection {
    pub(super) fn new(route: Arc<Route>) -> Self {
        Self {
            route,
            sender: None,
        }
    }

    pub(super) async fn open(&mut self) -> Result<(), Failure> {
        self.sender = Some(connect(&self.route.authority).await?);
        Ok(())
    }

    pub(super) async fn send(&mut self, request: &Request) -> Result<Response, Failure> {
        let mut kept = self.sender.take();
        if let Some(sender) = &mut kept
            && sender.ready().await.is_err()
        {
            // Closed by the target since its last response.
            kept = None;
        }
        let mut sender = match kept {
            Some(sender) => sender,
            None => connect(&self.route.authority).await?,
        };
        let mut message = http::Request::new(Full::new(request.body.bytes.clone()));
        *message.method_mut() = Method::POST;
        *message.uri_mut() = self.route.uri.clone();
        *message.headers_mut() = self.route.headers.clone();
        if let Some(length) = request.body.json_length {
            message
                .headers_mut()
                .insert(JSON_LENGTH, HeaderValue::from(length));
        }
        let (status, response) = exchange(&mut sender, message).await?;
        self.sender = Some(sender);
        if status == StatusCode::OK {
            Ok(response)
        } else {
            Err(Failure::new(
                FailureKind::Http(status.as_u16()),
                error_body::parse(&response.body),
            ))
        }
    }
}

/// One GET on a connection of its own.
pub(super) async fn get(authority: &str, path: &str) -> Result<Bytes, Failure> {
    let mut sender = connect(authority).await?;
    let failed = |error: http::Error| Failure::new(FailureKind::Connect, error.to_string());
    let message = http::Request::get(path)
        .header(HOST, authority)
        .body(Full::default())
        .map_err(failed)?;
    let (status, response) = exchange(&mut sender, message).await?;
    if status == StatusCode::OK {
        Ok(response.body)
    } else {
        Err(Failure::new(FailureKind::Http(status.as_u16()), ""))
    }
}

async fn connect(authority: &str) -> Result<Sender, Failure> {
    let stream = dial(authority).await?;
    let (sender, connection) = http1::handshake(stream).await.map_err(|e| broken(&e))?;
    // Its failure is the failure of the request in flight.
    tokio::spawn(connection);
    Ok(sender)
}

async fn exchange(
    sender: &mut Sender,
    message: http::Request<Full<Bytes>>,
) -> Result<(StatusCode, Response), Failure> {
    let response = sender
        .send_request(message)
        .await
        .map_err(|error| broken(&error))?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| broken(&error))?;
    let response = Response {
        body: body.to_bytes(),
        headers: parts.headers,
    };
    Ok((parts.status, response))
}
