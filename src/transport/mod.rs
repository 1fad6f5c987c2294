//! Connections and bytes, without the meaning of any protocol: what arrives is bounded in size and
//! time and inflated here, and handed on as bytes.

mod body_limits;
pub(crate) mod compression;
mod connection;
pub(crate) mod grpc_body;
mod handler;
pub(crate) mod headers;
pub(crate) mod http_body;
mod idle_timeout;
mod listener;
mod not_after;
mod refused_head;
mod request_body;
mod send_timeout;
pub mod tls;

pub(crate) use body_limits::{BodyError, BodyLimits};
pub(crate) use connection::ConnectionSettings;
pub(crate) use handler::{Body, Handler};
pub(crate) use headers::HeaderPattern;
pub(crate) use listener::serve;
pub(crate) use request_body::RequestBody;
