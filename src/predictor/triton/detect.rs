//! Which of Triton's two protocols a predictor speaks: given, known by the port, or found out.

use std::io;

use clap::ValueEnum;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::error_chain::error_chain;
use crate::predictor::address::Address;
use crate::predictor::triton::dial::Dialer;
use crate::predictor::triton::tls::Alpn;

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

/// The beginning of an HTTP/1 response, up to its status.
const STATUS_LINE: usize = "HTTP/1.1 200".len();
/// The header of an HTTP/2 frame.
const FRAME_HEADER: usize = 9;
/// An HTTP/2 server's first frame.
const SETTINGS: u8 = 4;

impl Protocol {
    /// The protocol at this address; never `Auto`.
    pub(in crate::predictor) async fn detect(
        self,
        address: &Address,
        dialer: &Dialer,
    ) -> Result<Self, String> {
        match (self, address.port()) {
            (Self::Auto, Some(8000)) => Ok(Self::Rest),
            (Self::Auto, Some(8001 | 9000)) => Ok(Self::Grpc),
            (Self::Auto, _) => {
                let stream = dialer.connect(address, Alpn::Http1).await;
                let stream = stream.map_err(|error| error_chain(&error))?;
                ask(stream, &address.authority()).await
            }
            (given, _) => Ok(given),
        }
    }
}

/// Asks over HTTP/1.1 whether the predictor is ready. A REST server says 200, or as Triton 400 if it
/// is not; a gRPC server begins with the settings of its HTTP/2. Any other status may be a proxy's,
/// which stands in front of either.
async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
) -> Result<Protocol, String> {
    let mut response = [0; STATUS_LINE];
    let exchange = async {
        let request =
            format!("GET /v2/health/ready HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut read = 0;
        while read < response.len() {
            match stream.read(&mut response[read..]).await? {
                0 => break,
                more => read += more,
            }
        }
        io::Result::Ok(read)
    };
    let read = exchange.await.unwrap_or_default();
    match &response[..read] {
        [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'1',
            b'.',
            _,
            b' ',
            status @ ..,
        ] => match status {
            b"200" | b"400" => Ok(Protocol::Rest),
            status => Err(format!(
                "HTTP status {} does not tell which protocol it speaks; say so with \
                 --predictor_protocol",
                String::from_utf8_lossy(status)
            )),
        },
        [_, _, _, SETTINGS, ..] if read >= FRAME_HEADER => Ok(Protocol::Grpc),
        // Some servers hang up on what is not HTTP/2. If it is not gRPC either, the next question
        // finds out.
        [] => Ok(Protocol::Grpc),
        _ => Err(
            "it speaks neither HTTP/1.1 nor HTTP/2, or it expects TLS (--predictor_use_ssl)"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn detected(response: &[u8]) -> Result<Protocol, String> {
        let (near, mut far) = tokio::io::duplex(1024);
        far.write_all(response).await.unwrap();
        far.shutdown().await.unwrap();
        // The request fits into the pipe.
        let asked = ask(near, "host").await;
        drop(far);
        asked
    }

    #[tokio::test]
    async fn the_protocol_is_taken_from_what_tells_it() {
        let rest = [
            b"HTTP/1.1 200 OK\r\n\r\n".as_slice(),
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
        ];
        for response in rest {
            assert_eq!(detected(response).await, Ok(Protocol::Rest));
        }
        let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 9];
        assert_eq!(detected(&settings).await, Ok(Protocol::Grpc));
        assert_eq!(detected(b"").await, Ok(Protocol::Grpc));
    }

    #[tokio::test]
    async fn an_error_is_not_taken_for_a_protocol() {
        let proxy = detected(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").await;
        assert!(proxy.unwrap_err().contains("HTTP status 503"));
        let tls_alert = detected(&[21, 3, 1, 0, 2, 2, 70]).await;
        assert!(tls_alert.unwrap_err().contains("--predictor_use_ssl"));
    }
}
