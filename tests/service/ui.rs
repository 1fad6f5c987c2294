//! The page at `/ui`: its files, their headers, and the flag. What it does in a browser is tested in
//! tests/clients.

use reqwest::Method;
use reqwest::header::{HeaderMap, IF_NONE_MATCH};

use crate::world::{Answer, World, read};

const FILES: [(&str, &str); 9] = [
    ("/ui", "text/html; charset=utf-8"),
    ("/ui/style.css", "text/css; charset=utf-8"),
    ("/ui/app.js", "text/javascript; charset=utf-8"),
    ("/ui/card.js", "text/javascript; charset=utf-8"),
    ("/ui/code.js", "text/javascript; charset=utf-8"),
    ("/ui/infer.js", "text/javascript; charset=utf-8"),
    ("/ui/live.js", "text/javascript; charset=utf-8"),
    ("/ui/make.js", "text/javascript; charset=utf-8"),
    ("/ui/sample.jpg", "image/jpeg"),
];

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

async fn get_if_none_match(world: &World, path: &str, tag: &str) -> Answer {
    let request = world.client.get(world.url(path)).header(IF_NONE_MATCH, tag);
    read(request.send().await.unwrap()).await
}

#[tokio::test]
async fn every_file_has_its_type_and_the_policy() {
    let world = World::new().await;
    for (path, content_type) in FILES {
        let url = world.url(path);
        let response = world.client.get(url).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let headers = response.headers().clone();
        assert_eq!(text(&headers, "content-type"), content_type);
        assert_eq!(text(&headers, "x-content-type-options"), "nosniff");
        assert_eq!(text(&headers, "referrer-policy"), "no-referrer");
        assert_eq!(text(&headers, "cache-control"), "no-cache");
        let policy = text(&headers, "content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        let body = response.bytes().await.unwrap();
        let head = world.send(Method::HEAD, path, "").await;
        assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
        assert_eq!(
            text(&head.headers, "content-length"),
            body.len().to_string()
        );
        assert_eq!(world.send(Method::POST, path, "").await.status, 405);
    }
}

#[tokio::test]
async fn a_file_that_the_browser_has_is_not_sent_again() {
    let world = World::new().await;
    let mut tags = Vec::new();
    for (path, _) in FILES {
        let tag = text(&world.send(Method::HEAD, path, "").await.headers, "etag").to_owned();
        for known in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
            let again = get_if_none_match(&world, path, &known).await;
            assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""));
            assert_eq!(text(&again.headers, "etag"), tag);
        }
        let other = get_if_none_match(&world, path, "\"other\"").await;
        assert_eq!(other.status, 200);
        assert!(!tags.contains(&tag), "two files with one tag");
        tags.push(tag);
    }
}

#[tokio::test]
async fn a_slash_too_many_leads_to_the_page_and_other_files_are_unknown() {
    let world = World::new().await;
    let answer = world.get("/ui/").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.text.starts_with("<!doctype html>"),
        "{}",
        answer.text
    );
    for path in ["/ui/nothing", "/ui/app.js/x", "/uix"] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.error().contains("unknown route"), "{}", answer.text);
    }
}

#[tokio::test]
async fn the_page_is_told_how_the_service_turns_images() {
    for (flags, expected) in [
        (&[][..], r#"{"upright":false}"#),
        (&["--exif_orientation=apply"], r#"{"upright":true}"#),
    ] {
        let world = World::unready(flags, |_| ()).await;
        assert_eq!(world.get("/ui/settings.json").await.text, expected);
    }
}

#[tokio::test]
async fn the_page_can_be_switched_off() {
    let world = World::with(&["--enable_ui=false"], |_| ()).await;
    for (path, _) in FILES {
        let answer = world.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.error().contains("unknown route"), "{}", answer.text);
    }
}
