//! URLs against real servers on the loopback, which is opened for the tests that need it.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolving};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const LIMIT: usize = 1000;
const PATIENT: Duration = Duration::from_secs(30);

/// A server that does the same with each connection, after it has read the request's head.
async fn server<F, Done>(response: F) -> SocketAddr
where
    F: Fn(TcpStream, String) -> Done + Send + 'static,
    Done: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            tokio::spawn(response(
                stream,
                String::from_utf8_lossy(&head).into_owned(),
            ));
        }
    });
    address
}

/// A server that always sends this response.
async fn responding(response: impl Into<String>) -> SocketAddr {
    let response = Arc::new(response.into());
    server(move |mut stream, _| {
        let response = Arc::clone(&response);
        async move {
            stream.write_all(response.as_bytes()).await.unwrap();
        }
    })
    .await
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

fn redirect_to(location: &str) -> String {
    format!(
        "HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: \
         close\r\n\r\n"
    )
}

/// Names that resolve as a test says.
struct Scripted(HashMap<&'static str, Vec<IpAddr>>);

impl Resolve for Scripted {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.0.get(name.as_str()).cloned();
        Box::pin(async move {
            let found = found.ok_or("no such name")?;
            Ok(Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

fn urls(names: &[(&'static str, &[&str])], allow: &[&str], timeout: Duration) -> UrlFetcher {
    let names = names
        .iter()
        .map(|(name, addresses)| {
            (
                *name,
                addresses.iter().map(|a| a.parse().unwrap()).collect(),
            )
        })
        .collect();
    let allow: Vec<AllowRule> = allow.iter().map(|entry| entry.parse().unwrap()).collect();
    UrlFetcher::resolving(Arc::new(Scripted(names)), &allow, None, timeout).unwrap()
}

fn on_loopback() -> UrlFetcher {
    urls(&[], &["127.0.0.1"], PATIENT)
}

async fn fetch(urls: &UrlFetcher, url: &str) -> Result<Vec<u8>, Error> {
    urls.read(urls.get(url, LIMIT).await?, LIMIT).await
}

async fn failure(urls: &UrlFetcher, url: &str) -> (ErrorKind, String) {
    let error = fetch(urls, url).await.unwrap_err();
    (error.kind(), error.to_string())
}

#[tokio::test]
async fn an_image_comes_back() {
    let address = responding(ok("a face")).await;
    let urls = on_loopback();
    let response = urls
        .get(&format!("http://{address}/face.jpg"), LIMIT)
        .await
        .unwrap();
    assert_eq!(response.length(), Some(6));
    assert_eq!(urls.read(response, LIMIT).await.unwrap(), b"a face");
}

#[tokio::test]
async fn chunked_bodies_too() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let address = responding(format!("{head}3\r\na f\r\n3\r\nace\r\n0\r\n\r\n")).await;
    let bytes = fetch(&on_loopback(), &format!("http://{address}/"))
        .await
        .unwrap();
    assert_eq!(bytes, b"a face");
}

#[tokio::test]
async fn addresses_that_are_not_public_in_all_their_spellings() {
    // Were a connection tried, it would succeed.
    let port = responding(ok("secret")).await.port();
    let urls = urls(&[], &[], PATIENT);
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "10.0.0.1",
        "169.254.169.254",
        "2852039166",
        "100.100.100.200",
        "user:secret@127.0.0.1",
        "example.org@127.0.0.1",
        "127.0.0.1#@example.org",
        "127.0.0.1\\@example.org",
    ] {
        let (kind, text) = failure(&urls, &format!("http://{host}:{port}/secret?secret")).await;
        assert_eq!(kind, ErrorKind::Refused, "{host}: {text}");
        assert!(text.contains("--item_url_allow"), "{host}: {text}");
        assert!(!text.contains("secret"), "{host}: {text}");
    }
}

#[tokio::test]
async fn names_by_what_they_resolve_to() {
    let port = responding(ok("a face")).await.port();
    let names: &[(&str, &[&str])] = &[
        ("inside.test", &["127.0.0.1"]),
        ("mapped.test", &["::ffff:127.0.0.1", "169.254.169.254"]),
        ("both.test", &["10.0.0.1", "127.0.0.1"]),
        ("opened.test", &["127.0.0.1"]),
    ];
    let closed = urls(names, &["opened.test"], PATIENT);
    for host in ["inside.test", "INSIDE.test", "mapped.test", "both.test"] {
        let (kind, text) = failure(&closed, &format!("http://{host}:{port}/")).await;
        assert_eq!(kind, ErrorKind::Refused, "{host}: {text}");
        assert!(
            text.contains("does not have a public address"),
            "{host}: {text}"
        );
    }
    let opened = fetch(&closed, &format!("http://opened.test:{port}/")).await;
    assert_eq!(opened.unwrap(), b"a face");
    // Of several addresses only the permitted one is tried: the other would not answer.
    let by_address = urls(names, &["127.0.0.0/8"], PATIENT);
    let both = fetch(&by_address, &format!("http://both.test:{port}/")).await;
    assert_eq!(both.unwrap(), b"a face");
    let (kind, text) = failure(&by_address, "http://nowhere.test/").await;
    assert_eq!(kind, ErrorKind::Unreachable);
    assert!(text.contains("nowhere.test cannot be resolved"), "{text}");
}

#[tokio::test]
async fn localhost_as_the_system_resolves_it() {
    let port = responding(ok("a face")).await.port();
    let url = format!("http://localhost:{port}/");
    let (kind, text) = failure(&UrlFetcher::new(&[], None, PATIENT).unwrap(), &url).await;
    assert_eq!(kind, ErrorKind::Refused, "{text}");
    let opened = UrlFetcher::new(&["localhost".parse().unwrap()], None, PATIENT).unwrap();
    assert_eq!(fetch(&opened, &url).await.unwrap(), b"a face");
}

#[tokio::test]
async fn redirects_are_checked_like_the_first_url() {
    let urls = urls(
        &[
            ("inside.test", &["10.0.0.1"]),
            ("opened.test", &["127.0.0.1"]),
        ],
        &["127.0.0.1", "opened.test"],
        PATIENT,
    );
    for location in [
        "http://127.0.0.2/secret",
        "http://2130706434/secret",
        "http://[::1]/secret",
        "http://inside.test/secret",
        "//169.254.169.254/secret",
    ] {
        let address = responding(redirect_to(location)).await;
        let (kind, text) = failure(&urls, &format!("http://{address}/")).await;
        assert_eq!(kind, ErrorKind::Refused, "{location}: {text}");
        assert!(
            text.contains("does not have a public address"),
            "{location}: {text}"
        );
        assert!(!text.contains("secret"), "{location}: {text}");
    }
    let face = responding(ok("a face")).await;
    let address = responding(redirect_to(&format!("http://opened.test:{}/", face.port()))).await;
    assert_eq!(
        fetch(&urls, &format!("http://{address}/")).await.unwrap(),
        b"a face"
    );
}

#[tokio::test]
async fn redirects_to_other_schemes() {
    for location in [
        "file:///etc/passwd",
        "data:,secret",
        "gopher://127.0.0.1/",
        "http://",
    ] {
        let address = responding(redirect_to(location)).await;
        let (kind, text) = failure(&on_loopback(), &format!("http://{address}/")).await;
        assert_eq!(kind, ErrorKind::Unreachable, "{location}: {text}");
    }
}

/// `/N` redirects to `/N-1`, and `/0` is the image, or says so if a referer was sent.
async fn countdown() -> SocketAddr {
    server(|mut stream, head| async move {
        let left: u32 = head[5..].split(' ').next().unwrap().parse().unwrap();
        let response = match left.checked_sub(1) {
            Some(next) => redirect_to(&format!("/{next}")),
            None if head.to_lowercase().contains("referer") => ok("a referer"),
            None => ok("a face"),
        };
        stream.write_all(response.as_bytes()).await.unwrap();
    })
    .await
}

#[tokio::test]
async fn three_redirects_and_no_more() {
    let address = countdown().await;
    let urls = on_loopback();
    assert_eq!(
        fetch(&urls, &format!("http://{address}/3")).await.unwrap(),
        b"a face"
    );
    let (kind, text) = failure(&urls, &format!("http://{address}/4")).await;
    assert_eq!(kind, ErrorKind::Unreachable);
    assert!(text.contains("again after 3 redirects"), "{text}");
}

#[tokio::test]
async fn an_endless_body_is_read_up_to_the_limit_only() {
    for head in ["transfer-encoding: chunked", "connection: close"] {
        let (left, mut hung_up) = tokio::sync::mpsc::channel(1);
        let address = server(move |mut stream, _| {
            let left = left.clone();
            async move {
                let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
                let mut sent = stream.write_all(head.as_bytes()).await;
                while sent.is_ok() {
                    sent = stream.write_all(b"4\r\nface\r\n").await;
                }
                left.send(()).await.unwrap();
            }
        })
        .await;
        let (kind, text) = failure(&on_loopback(), &format!("http://{address}/")).await;
        assert_eq!(kind, ErrorKind::TooLarge, "{text}");
        assert!(text.contains("--max_item_bytes"), "{text}");
        hung_up.recv().await.unwrap();
    }
}

#[tokio::test]
async fn an_announced_length_above_the_limit_is_refused_before_the_body() {
    let address = responding("HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n").await;
    let error = on_loopback()
        .get(&format!("http://{address}/"), LIMIT)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn responses_that_hold_no_image() {
    for (response, words) in [
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "responded with 404",
        ),
        (
            "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
            "responded with 503",
        ),
        (
            "HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n",
            "responded with 302",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "an empty body",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nface",
            "within its response",
        ),
        (
            "SSH-2.0-OpenSSH_9.6\r\n",
            "closed the connection before its response",
        ),
        ("", "closed the connection before its response"),
    ] {
        let address = responding(response).await;
        let url = format!("http://me:secret@{address}/secret?secret#secret");
        let (kind, text) = failure(&on_loopback(), &url).await;
        assert_eq!(kind, ErrorKind::Unreachable, "{response}: {text}");
        assert!(text.contains(words), "{response}: {text}");
        assert!(text.contains(&address.to_string()), "{response}: {text}");
        assert!(!text.contains("secret"), "{response}: {text}");
    }
}

#[tokio::test]
async fn a_port_that_nothing_listens_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let redirecting = responding(redirect_to(&format!("http://{closed}/"))).await;
    for address in [closed, redirecting] {
        let (kind, text) = failure(&on_loopback(), &format!("http://{address}/")).await;
        assert_eq!(kind, ErrorKind::Unreachable);
        assert!(text.contains("connection refused"), "{text}");
    }
}

#[tokio::test]
async fn tls_to_a_plain_text_port() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let (kind, text) = failure(&on_loopback(), &format!("https://{address}/")).await;
    assert_eq!(kind, ErrorKind::Unreachable);
    assert!(text.contains("failed the TLS handshake"), "{text}");
}

#[tokio::test]
async fn slow_hosts_before_and_within_the_body() {
    for begin in ["", "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\na"] {
        let address = server(move |mut stream, _| async move {
            stream.write_all(begin.as_bytes()).await.unwrap();
            // Until the client hangs up.
            let _ = stream.read_u8().await;
        })
        .await;
        let hasty = urls(&[], &["127.0.0.1"], Duration::from_millis(50));
        let (kind, text) = failure(&hasty, &format!("http://{address}/")).await;
        assert_eq!(kind, ErrorKind::Unreachable);
        assert!(
            text.contains("respond within 50 ms (--item_url_timeout_ms)"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn malformed_urls() {
    let long = format!("http://127.0.0.1/{}", "secret".repeat(20_000));
    for url in [
        "http://",
        "http:// /secret",
        "http://[secret/",
        "http://a:secret/",
        &long,
    ] {
        let (kind, text) = failure(&on_loopback(), url).await;
        assert_eq!(kind, ErrorKind::Refused, "{text}");
        assert!(text.contains("malformed"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

mod proxied;
