//! URLs that are fetched through a proxy.

use super::*;

/// A fetcher that goes through a proxy, which is named so that it must be resolved.
fn through_proxy(proxy: SocketAddr, allow: &[&str]) -> UrlFetcher {
    let names = HashMap::from([("proxy.test", vec![proxy.ip()])]);
    let allow: Vec<AllowRule> = allow.iter().map(|entry| entry.parse().unwrap()).collect();
    let proxy = UrlProxy::parse(&format!("http://me:secret@proxy.test:{}", proxy.port())).unwrap();
    UrlFetcher::resolving(Arc::new(Scripted(names)), &allow, Some(&proxy), PATIENT).unwrap()
}

#[tokio::test]
async fn a_proxy_resolves_the_hosts() {
    let proxy = server(|mut stream, head| async move {
        let is_proxied = head.starts_with("GET http://images.test/face.jpg HTTP/1.1\r\n")
            && head.to_lowercase().contains("proxy-authorization: basic ");
        let response = ok(if is_proxied { "a face" } else { "not proxied" });
        stream.write_all(response.as_bytes()).await.unwrap();
    })
    .await;
    let urls = through_proxy(proxy, &[]);
    let bytes = fetch(&urls, "http://images.test/face.jpg").await.unwrap();
    assert_eq!(bytes, b"a face");
    // Addresses in the URL itself are still checked here.
    let (kind, text) = failure(&urls, "http://169.254.169.254/").await;
    assert_eq!(kind, ErrorKind::Refused, "{text}");
}

#[tokio::test]
async fn a_proxy_that_refuses() {
    let proxy = responding("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
    let urls = through_proxy(proxy, &[]);
    let (kind, text) = failure(&urls, "http://images.test/").await;
    assert_eq!(kind, ErrorKind::Unreachable);
    assert!(text.contains("responded with 403"), "{text}");
    let (kind, text) = failure(&urls, "https://images.test/").await;
    assert_eq!(kind, ErrorKind::Unreachable);
    assert!(text.contains("through --item_url_proxy"), "{text}");
    assert!(!text.contains("secret"), "{text}");
}
