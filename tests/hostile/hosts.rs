//! A host of images that misbehaves.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

/// An address of the loopback net that is reachable only because the test names it.
const ADDRESS: &str = "127.0.0.8:0";

pub(crate) struct Hosts {
    address: std::net::SocketAddr,
}

impl Hosts {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(ADDRESS).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let service = service_fn(respond);
                    let connection = auto::Builder::new(TokioExecutor::new());
                    let _ = connection
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address }
    }

    pub(crate) fn host(&self) -> String {
        self.address.ip().to_string()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn respond(request: Request<hyper::body::Incoming>) -> Result<Response<Body>, Infallible> {
    let redirect = |to: &str| {
        let response = Response::builder().status(302).header("location", to);
        response
            .body(Full::new(Bytes::new()).boxed_unsync())
            .unwrap()
    };
    Ok(match request.uri().path() {
        "/redirect-to-refused" => redirect("http://127.0.0.1:9/a"),
        "/circle" => redirect("/circle"),
        "/endless" => {
            let chunk = || Ok(Frame::data(Bytes::from_static(&[0; 10_000])));
            let chunks = stream::repeat_with(chunk);
            Response::new(StreamBody::new(chunks).boxed_unsync())
        }
        "/slow" => {
            tokio::time::sleep(Duration::from_secs(20)).await;
            redirect("/")
        }
        "/text" => Response::new(Full::new(Bytes::from_static(b"no image")).boxed_unsync()),
        _ => {
            let response = Response::builder().status(404);
            response
                .body(Full::new(Bytes::new()).boxed_unsync())
                .unwrap()
        }
    })
}
