//! Connection mistakes, said in plain words.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server that sends the same to each connection, whatever it asks.
async fn server(response: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(response).await;
                // Closing at once could reset what was just sent.
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn grpc_to_a_rest_port() {
    let rest = server(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    let settings = settings_over(Protocol::Grpc, &rest.to_string());
    let predictor = connecting(&settings);
    wait_not_ready(&predictor, "Triton's gRPC port is 8001").await;
}

#[tokio::test]
async fn rest_to_a_grpc_port() {
    // Its SETTINGS, which a gRPC server sends first.
    let grpc = server(b"\0\0\0\x04\0\0\0\0\0").await;
    let settings = settings_over(Protocol::Rest, &grpc.to_string());
    let predictor = connecting(&settings);
    wait_not_ready(&predictor, "Triton's REST port is 8000").await;
}

#[tokio::test]
async fn no_port() {
    // Nothing listens on a privileged port here, or something that is not a Triton.
    let predictor = connecting(&settings("127.0.0.1"));
    wait_not_ready(&predictor, "--predictor_host gives no port, so it is 80").await;
    let predictor = connecting(&settings("127.0.0.1:80"));
    let reason = wait_not_ready(&predictor, "cannot reach it").await;
    assert!(!reason.contains("gives no port"), "{reason}");
}
