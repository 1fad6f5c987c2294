//! What one caller can make the service hold: a child process whose highest memory is watched.
#![cfg(feature = "embedded")]

mod images;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MIB: usize = 1 << 20;

struct Service {
    child: Child,
    address: String,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    fn start(flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_facequality-transformer"))
            .args(["--host=127.0.0.1", "--http_port=0", "--grpc_port=0"])
            .args(["--pixel_threads=1", "--log_format=json"])
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line: Value = serde_json::from_str(&log.next().unwrap().unwrap()).unwrap();
            if line["message"] == "listening" {
                break line["http"].as_str().unwrap().to_owned();
            }
        };
        Self { child, address }
    }

    fn memory(&self, name: &str) -> usize {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib * 1024
    }

    /// How far the memory rises above what it is now while this is done.
    async fn rise(&self, work: impl Future<Output = ()>) -> usize {
        // Makes the highest memory so far the present one.
        let reset = format!("/proc/{}/clear_refs", self.child.id());
        std::fs::write(reset, "5").unwrap();
        let before = self.memory("VmRSS");
        work.await;
        self.memory("VmHWM").saturating_sub(before)
    }

    async fn http2(&self) -> http2::SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let connection = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = connection.await.unwrap();
        tokio::spawn(connection);
        sender
    }

    fn post(&self, path: &str, body: Bytes) -> http::request::Builder {
        let uri = format!("http://{}{path}", self.address);
        http::Request::post(uri).header("content-length", body.len())
    }

    async fn infer(&self, content_type: &str, path: &str, body: Bytes) -> http::HeaderMap {
        let request = self.post(path, body.clone());
        let request = request.header("content-type", content_type);
        let request = request.body(Full::new(body)).unwrap();
        let response = self.http2().await.send_request(request).await.unwrap();
        let headers = response.headers().clone();
        response.into_body().collect().await.unwrap();
        headers
    }
}

/// A gRPC frame around a message that is this, many times.
fn repeated(field: &[u8], bytes: usize) -> Bytes {
    let message = field.repeat(bytes / field.len());
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(&message);
    frame.into()
}

#[tokio::test]
async fn small_requests_do_not_become_large_in_memory() {
    let service = Service::start(&[]);
    let grpc = "/inference.GRPCInferenceService/ModelInfer";
    for (what, field) in [
        ("inputs", [0x2A, 0]),
        ("outputs", [0x32, 0]),
        ("raw", [0x3A, 0]),
    ] {
        let rise = service
            .rise(async {
                let body = repeated(&field, 2_000_000);
                let headers = service.infer("application/grpc", grpc, body).await;
                assert_eq!(headers["grpc-status"], "3", "{what}");
            })
            .await;
        println!("2 MB of empty {what}: {} KiB", rise / 1024);
        assert!(rise < 40 * MIB, "{what}: {rise}");
    }
    let zeros = "0,".repeat(2 * MIB);
    let v2 = "/v2/models/facequality/infer";
    for (what, body) in [
        (
            "parameters",
            format!(r#"{{"inputs":[],"parameters":{{"a":[{zeros}0]}}}}"#),
        ),
        (
            "a shape",
            format!(
                r#"{{"inputs":[{{"name":"image","datatype":"BYTES","shape":[{zeros}0],"data":["a"]}}]}}"#
            ),
        ),
    ] {
        let rise = service
            .rise(async {
                let headers = service.infer("application/json", v2, body.into()).await;
                let length: usize = headers["content-length"].to_str().unwrap().parse().unwrap();
                assert!(length < 2000, "{what}: an error of {length} bytes");
            })
            .await;
        println!("4 MB of {what}: {} KiB", rise / 1024);
        assert!(rise < 40 * MIB, "{what}: {rise}");
    }
}

#[tokio::test]
async fn gzip_bombs_are_inflated_one_by_one_and_probes_go_on() {
    let room = format!("--max_bytes_in_flight={}", 16 * MIB);
    let service = Service::start(&[&room]);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..60 {
        encoder.write_all(&vec![b' '; MIB]).unwrap();
    }
    let bomb = Bytes::from(encoder.finish().unwrap());
    assert!(bomb.len() < 64 * 1024);
    let (done, probes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let rise = service
        .rise(async {
            let bombs = async {
                let path = "/v1/models/facequality:predict";
                join_all((0..8).map(|_| async {
                    let request = service.post(path, bomb.clone());
                    let request = request.header("content-encoding", "gzip");
                    let request = request.body(Full::new(bomb.clone())).unwrap();
                    let response = service.http2().await.send_request(request).await;
                    let status = response.unwrap().status().as_u16();
                    assert!([400, 429].contains(&status), "{status}");
                }))
                .await;
                done.store(true, Ordering::SeqCst);
            };
            let probing = async {
                let mut sender = service.http2().await;
                while !done.load(Ordering::SeqCst) {
                    let request =
                        http::Request::get(format!("http://{}/v2/health/live", service.address));
                    let request = request.body(Full::default()).unwrap();
                    let response = sender.send_request(request).await.unwrap();
                    assert_eq!(response.status(), 200);
                    probes.fetch_add(1, Ordering::SeqCst);
                }
            };
            tokio::join!(bombs, probing);
        })
        .await;
    println!(
        "8 bombs of 60 MiB: {} KiB, {} probes meanwhile",
        rise / 1024,
        probes.load(Ordering::SeqCst)
    );
    // One thread inflates, into a buffer that doubles as it grows; one result may be admitted.
    assert!(rise < 300 * MIB, "{rise}");
    assert!(probes.load(Ordering::SeqCst) > 8);
}

#[tokio::test]
async fn bodies_that_wait_are_held_back_at_their_senders() {
    let room = format!("--max_bytes_in_flight={MIB}");
    let service = Arc::new(Service::start(&[&room]));
    // Takes the room and does not end.
    let mut slow = TcpStream::connect(&service.address).await.unwrap();
    let head = format!(
        "POST /v1/models/facequality:predict HTTP/1.1\r\nhost: x\r\ncontent-length: {MIB}\r\n\r\n"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let body = Bytes::from(vec![b' '; 4 * MIB]);
    let rise = service
        .rise(async {
            let uploads = (0..40).map(|number| {
                let (service, body) = (Arc::clone(&service), body.clone());
                async move {
                    // Ten connections of four streams each.
                    let sender = service.http2().await;
                    let streams = (0..if number < 10 { 4 } else { 0 }).map(|_| {
                        let request = service.post("/v1/models/facequality:predict", body.clone());
                        let request = request.body(Full::new(body.clone())).unwrap();
                        let mut sender = sender.clone();
                        async move { sender.send_request(request).await.map(drop) }
                    });
                    join_all(streams).await;
                }
            });
            let _ = tokio::time::timeout(Duration::from_secs(2), join_all(uploads)).await;
        })
        .await;
    println!(
        "40 bodies of 4 MiB that wait on ten connections: {} KiB",
        rise / 1024
    );
    assert!(rise < 48 * MIB, "{rise}");
}

#[tokio::test]
async fn unfinished_heads_hold_no_more_than_their_limit() {
    let service = Service::start(&[]);
    let rise = service
        .rise(async {
            let mut peers = Vec::new();
            for _ in 0..60 {
                let mut peer = TcpStream::connect(&service.address).await.unwrap();
                let head = format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(400_000));
                // Refused in the middle, where the limit is.
                let _ = peer.write_all(head.as_bytes()).await;
                peers.push(peer);
            }
            let mut status = [0; 12];
            peers[0].read_exact(&mut status).await.unwrap();
            assert_eq!(status, *b"HTTP/1.1 431");
        })
        .await;
    println!("60 heads of 400 KB: {} KiB", rise / 1024);
    assert!(rise < 16 * MIB, "{rise}");
}
