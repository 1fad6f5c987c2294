//! Which of Triton's two protocols a predictor speaks: told, known by the port, or asked.

use std::io;

use clap::ValueEnum;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::predictor::address::Address;
use crate::predictor::triton::dial::{Stream, Tls, causes};

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
    pub(in crate::predictor) async fn at(
        self,
        address: &Address,
        tls: Option<&Tls>,
    ) -> Result<Self, String> {
        match (self, address.port()) {
            (Self::Auto, Some(8000)) => Ok(Self::Rest),
            (Self::Auto, Some(8001 | 9000)) => Ok(Self::Grpc),
            (Self::Auto, _) => {
                let stream = Stream::connect(address, tls, b"http/1.1").await;
                let stream = stream.map_err(|error| causes(&error))?;
                match speaks_http(stream, &address.authority()).await {
                    true => Ok(Self::Rest),
                    false => Ok(Self::Grpc),
                }
            }
            (told, _) => Ok(told),
        }
    }
}

/// Asks over HTTP/1.1 whether the predictor is ready. Whatever the answer, one in HTTP/1 comes
/// from a REST server; a gRPC server speaks HTTP/2 and answers in that, or hangs up.
async fn speaks_http(mut stream: Stream, authority: &str) -> bool {
    let begin = b"HTTP/1.";
    let mut answer = [0; 7];
    let ask = async {
        let question = format!(
            "GET /v2/health/ready HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(question.as_bytes()).await?;
        stream.read_exact(&mut answer).await?;
        io::Result::Ok(())
    };
    ask.await.is_ok() && answer == *begin
}
