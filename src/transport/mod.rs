//! Connections and bytes, without the meaning of any protocol.

pub mod compression;
pub mod grpc_body;
pub mod headers;
pub mod http_body;
mod idle_timeout;
pub mod listener;
pub mod tls;
