//! Heads that HTTP itself does not take: the response says what is wrong, in JSON, and is counted.

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::World;

/// What comes back for these bytes until the connection is closed.
async fn exchange(world: &World, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(world.service.http).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response).await;
    String::from_utf8(response).unwrap()
}

async fn counted(world: &World, code: u16) -> String {
    let metrics = world.get("/metrics").await.text;
    let labels = format!("{{protocol=\"http\",route=\"other\",code=\"{code}\"}} ");
    let line = metrics.lines().find_map(|line| {
        let line = line.strip_prefix("facequality_requests_total")?;
        line.strip_prefix(&labels)
    });
    line.unwrap_or("0").to_owned()
}

#[tokio::test]
async fn a_head_that_is_not_taken_is_told_why_and_counted() {
    let world = World::with(&["--max_header_bytes=8192"], |_| ()).await;
    let large = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(20_000));
    let cases = [
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "not valid HTTP"),
        ("HELLO\r\n\r\n", 400, "not valid HTTP"),
        ("GET / HTTP/9.9\r\n\r\n", 400, "not valid HTTP"),
        (
            "POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
            400,
            "not valid HTTP",
        ),
        (large.as_str(), 431, "--max_header_bytes"),
    ];
    for (head, code, text) in cases {
        let before: u64 = counted(&world, code).await.parse().unwrap();
        let response = exchange(&world, head.as_bytes()).await;
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {code} ")), "{head}");
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{head}"
        );
        assert!(head.contains("application/json"), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert!(body["error"].as_str().unwrap().contains(text), "{body}");
        assert_eq!(counted(&world, code).await, (before + 1).to_string());
    }
}

#[tokio::test]
async fn a_path_that_is_too_long_is_told_so() {
    let world = World::with(&["--max_header_bytes=200000"], |_| ()).await;
    let head = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000));
    let response = exchange(&world, head.as_bytes()).await;
    assert!(response.starts_with("HTTP/1.1 414 "), "{response}");
    assert!(
        response.ends_with(r#"{"error":"the request's path is too long"}"#),
        "{response}"
    );
    assert_eq!(counted(&world, 414).await, "1");
}

#[tokio::test]
async fn what_was_asked_before_is_answered_first() {
    let world = World::new().await;
    let response = exchange(
        &world,
        b"GET /v2/health/live HTTP/1.1\r\n\r\nnonsense\r\n\r\n",
    )
    .await;
    let (first, second) = response.split_once("HTTP/1.1 400").unwrap();
    assert!(
        first.starts_with("HTTP/1.1 200") && first.ends_with('}'),
        "{first}"
    );
    assert!(second.ends_with('}'), "{second}");
}

#[tokio::test]
async fn a_large_head_on_http2_is_told_so_too() {
    let world = World::with(&["--max_header_bytes=8192"], |_| ()).await;
    for address in [world.service.http, world.service.grpc.unwrap()] {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let request = Request::get(format!("http://{address}/v2/health/live"))
            .version(Version::HTTP_2)
            .header("x", "x".repeat(10_000));
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 431);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains("--max_header_bytes"), "{body}");
    }
    assert_eq!(counted(&world, 431).await, "2");
}
