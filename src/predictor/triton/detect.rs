//! Which of Triton's two protocols a predictor speaks: given, known by the port, or found out.

use std::io;

use clap::ValueEnum;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::error_chain::error_chain;
use crate::predictor::address::Address;
use crate::predictor::triton::dial::{Stream, Tls};

/// `--predictor_protocol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// By the port if it is one of Triton's, else by asking
    // KServe's controller may pass `v1`, its SDK's default: there is nothing to obey.
    #[value(alias = "v1")]
    #[default]
    Auto,
    /// Triton's gRPC
    #[value(name = "grpc-v2")]
    Grpc,
    /// Triton's REST with binary tensors
    #[value(name = "v2")]
    Rest,
}

impl Protocol {
    /// The protocol at this address; never `Auto`.
    pub(in crate::predictor) async fn detect(
        self,
        address: &Address,
        tls: Option<&Tls>,
    ) -> Result<Self, String> {
        match (self, address.port()) {
            (Self::Auto, Some(8000)) => Ok(Self::Rest),
            (Self::Auto, Some(8001 | 9000)) => Ok(Self::Grpc),
            (Self::Auto, _) => {
                let stream = Stream::connect(address, tls, b"http/1.1").await;
                let stream = stream.map_err(|error| error_chain(&error))?;
                Ok(if speaks_http(stream, &address.authority()).await {
                    Self::Rest
                } else {
                    Self::Grpc
                })
            }
            (given, _) => Ok(given),
        }
    }
}

/// Asks over HTTP/1.1 whether the predictor is ready. Whatever the response, one in HTTP/1 comes
/// from a REST server; a gRPC server speaks HTTP/2 and responds in that, or hangs up.
async fn speaks_http(mut stream: Stream, authority: &str) -> bool {
    let begin = b"HTTP/1.";
    let mut response = [0; 7];
    let ask = async {
        let request = format!(
            "GET /v2/health/ready HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        stream.read_exact(&mut response).await?;
        io::Result::Ok(())
    };
    ask.await.is_ok() && response == *begin
}
