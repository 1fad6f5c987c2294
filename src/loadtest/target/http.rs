//! HTTP/1.1: one request after the other on a connection.

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};

use crate::loadtest::error::Error;
use crate::loadtest::failure::{Failure, FailureKind};
use crate::loadtest::protocol::Protocol;
use crate::loadtest::settings::{Endpoint, Settings};
use crate::loadtest::target::address::Address;
use crate::loadtest::target::dial::{Dialer, broken};
use crate::loadtest::target::response::Response;
use crate::loadtest::workload::Request;
use crate::wire::error_body;
use crate::wire::v2::JSON_LENGTH;

/// Where requests go, and their headers, made once.
#[derive(Debug)]
pub(super) struct Route {
    dialer: Dialer,
    uri: Uri,
    headers: HeaderMap,
}

impl Route {
    pub(super) fn new(
        address: &Address,
        path: &str,
        endpoint: &Endpoint,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let invalid =
            |error: &dyn Display| Error::Usage(format!("invalid path {path} (--model): {error}"));
        let mut headers = HeaderMap::new();
        let host = HeaderValue::from_str(address.authority.as_str());
        headers.insert(HOST, host.map_err(|error| invalid(&error))?);
        let media = match endpoint.protocol {
            Protocol::V1 => "application/json",
            _ => "application/octet-stream",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
        headers.extend(settings.headers.clone());
        Ok(Self {
            dialer: Dialer::new(address.clone(), settings.ca_file.as_deref(), b"http/1.1")?,
            uri: path.parse().map_err(|error| invalid(&error))?,
            headers,
        })
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
        self.sender = Some(connect(&self.route.dialer).await?);
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
            None => connect(&self.route.dialer).await?,
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
pub(super) async fn get(route: &Route, path: &'static str) -> Result<Bytes, Failure> {
    let mut sender = connect(&route.dialer).await?;
    let mut message = http::Request::new(Full::default());
    *message.uri_mut() = Uri::from_static(path);
    *message.headers_mut() = route.headers.clone();
    message.headers_mut().remove(CONTENT_TYPE);
    let (status, response) = exchange(&mut sender, message).await?;
    if status == StatusCode::OK {
        Ok(response.body)
    } else {
        Err(Failure::new(FailureKind::Http(status.as_u16()), ""))
    }
}

async fn connect(dialer: &Dialer) -> Result<Sender, Failure> {
    let stream = dialer.dial().await?;
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
