//! Everything that a hostile or broken caller might send: each gets its status and a message that
//! helps, nothing is kept, and the next good request works. A binary of its own, because it
//! looks at the memory of its process.

// Helpers of tests fail by panicking, as tests do.
#![allow(clippy::panic, clippy::unwrap_used)]

#[path = "../world/mod.rs"]
#[allow(dead_code)] // each test binary uses its part
mod world;

mod hosts;
mod images;

use serde_json::json;

use crate::hosts::Hosts;
use crate::world::{World, grey, item, multi, score_of_grey, single};

/// One request, the status it must get, and a part of the message.
struct Case {
    name: String,
    body: Vec<u8>,
    status: u16,
    word: &'static str,
}

#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    fn add(
        &mut self,
        name: impl Into<String>,
        body: impl Into<Vec<u8>>,
        status: u16,
        word: &'static str,
    ) {
        self.0.push(Case {
            name: name.into(),
            body: body.into(),
            status,
            word,
        });
    }

    fn bodies(&mut self) {
        for (name, body, word) in [
            ("nothing", "", "the body is empty"),
            ("white space", " \n\t", "the body is empty"),
            ("half an object", "{", "not valid JSON"),
            ("a list", "[1]", "a JSON list"),
            ("a string", "\"data\"", "a JSON string"),
            ("a number", "7", "expected JPEG"),
            ("text", "hello", "expected JPEG"),
            (
                "trailing text",
                r#"{"data":{"item":"a"}} x"#,
                "not valid JSON",
            ),
            ("NaN", r#"{"data":NaN}"#, "not valid JSON"),
            ("an unquoted word", r#"{data:1}"#, "not valid JSON"),
            ("single quotes", "{'data':{'item':'a'}}", "a Python dict"),
            (
                "no data",
                "{}",
                "data: expected an object with item, found nothing",
            ),
            (
                "null data",
                r#"{"data":null}"#,
                "data: expected an object with item, found null",
            ),
            (
                "list as data",
                r#"{"data":[]}"#,
                "data: expected an object with item, found a list",
            ),
            (
                "text as data",
                r#"{"data":"a"}"#,
                "data: expected an object with item, found a string",
            ),
            (
                "no item",
                r#"{"data":{}}"#,
                "data.item: expected a string, found nothing",
            ),
            (
                "null item",
                r#"{"data":{"item":null}}"#,
                "data.item: expected a string, found null",
            ),
            (
                "number as item",
                r#"{"data":{"item":7}}"#,
                "data.item: expected a string, found a number",
            ),
            (
                "boolean as item",
                r#"{"data":{"item":true}}"#,
                "found a boolean",
            ),
            ("list as item", r#"{"data":{"item":["a"]}}"#, "found a list"),
            (
                "object as item",
                r#"{"data":{"item":{}}}"#,
                "found an object",
            ),
            (
                "the last of two keys is null",
                r#"{"data":{"item":"a","item":null}}"#,
                "found null",
            ),
            (
                "no images",
                r#"{"multi_data":[]}"#,
                "multi_data: the list is empty",
            ),
            (
                "object as list",
                r#"{"multi_data":{}}"#,
                "multi_data: expected a list, found an object",
            ),
            (
                "null request",
                r#"{"multi_data":[null]}"#,
                "multi_data[0]: expected an object",
            ),
            (
                "null item in a list",
                r#"{"multi_data":[{"data":{"item":null}}]}"#,
                "multi_data[0].data.item",
            ),
            (
                "no instances",
                r#"{"instances":[]}"#,
                "instances: the list is empty",
            ),
            ("number as instance", r#"{"instances":[7]}"#, "instances[0]"),
            (
                "empty instance",
                r#"{"instances":[{}]}"#,
                "instances[0].b64",
            ),
            (
                "number as b64",
                r#"{"instances":[{"b64":7}]}"#,
                "instances[0].b64: expected a string",
            ),
            (
                "bad b64",
                r#"{"instances":[{"b64":"*"}]}"#,
                "instances[0]: ",
            ),
            (
                "unknown image_errors",
                r#"{"data":{"item":"a"},"extra_info":{"image_errors":"skip"}}"#,
                "image_errors",
            ),
            (
                "number as extra_info",
                r#"{"data":{"item":"a"},"extra_info":7}"#,
                "extra_info: expected an object",
            ),
            (
                "number as type",
                r#"{"data":{"item":"a"},"extra_info":{"type":7}}"#,
                "extra_info.type: expected a string",
            ),
        ] {
            self.add(name, body, 400, word);
        }
        self.add(
            "not UTF-8",
            &b"{\"data\":{\"item\":\"\xff\"}}"[..],
            400,
            "not valid JSON",
        );
        self.add(
            "half a surrogate",
            r#"{"data":{"item":"\ud800"}}"#,
            400,
            "not valid JSON",
        );
        let deep = r#"{"data":{"item":"#.to_owned() + &"[".repeat(100_000);
        self.add("deep JSON", deep, 400, "not valid JSON");
        self.add(
            "too many images",
            multi(&vec![grey(1); 9]),
            400,
            "at most 8 are allowed (--max_images)",
        );
        self.add(
            "a million nulls",
            format!(r#"{{"multi_data":[{}null]}}"#, "null,".repeat(500_000)),
            400,
            "--max_images",
        );
    }

    fn items(&mut self, folder: &std::path::Path) {
        for (text, word) in [
            ("", "data:, path: or http(s)://"),
            ("hello", "data:, path: or http(s)://"),
            (
                "iVBORw0KGgoAAAANSUhEUg",
                "write \"data:;base64,\" before it",
            ),
            ("/data/face.png", "write \"path:\""),
            (
                "data:;base64,R0lGODlhAQABAAAAACw=",
                "a GIF image: the format is not among --formats",
            ),
            ("date:image/png;base64,AAAA", "data:, path: or http(s)://"),
            ("ftp://host/a", "data:, path: or http(s)://"),
            ("file:///etc/passwd", "data:, path: or http(s)://"),
            ("data:", "no comma"),
            ("data:image/png;base64", "no comma"),
            ("data:image/png,AAAA", ";base64"),
            ("data:image/png;base64,", "payload is empty"),
            ("data:image/png;base64,b''", "payload is empty"),
            ("data:image/png;base64,AA*A", "at byte 24"),
            ("data:image/png;base64,AAA=AAAA", "at byte"),
            ("data:image/png;base64,ü", "at byte"),
            ("data:image/png;base64,AAAAA", "truncated"),
            ("path:", "not a regular file"),
            ("path:../../etc/passwd", ".."),
            ("path:/etc/passwd", "--data_dir"),
            ("path:none.png", "path: item"),
            ("path:outward", "--data_dir"),
            ("path:socket", "not a regular file"),
            ("path:.", "not a regular file"),
            ("path:a\u{0}b", "path: item"),
            ("path:text", "expected JPEG"),
        ] {
            self.add(text, single(text), 400, word);
        }
        std::fs::write(folder.join("text"), "no image").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.join("outward")).unwrap();
        // A special file that needs no tool to be made; it stays when the listener goes.
        std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
        self.add(
            "many bytes",
            single(&item(&vec![0; 300_000])),
            413,
            "--max_item_bytes",
        );
    }

    fn urls(&mut self, hosts: &Hosts) {
        for url in [
            "http://169.254.169.254/latest/meta-data",
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0177.0.0.1/",
            "http://0x7f.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://10.0.0.1/",
            "http://192.168.0.1/",
            "http://100.64.0.1/",
            "http://[fd00:ec2::254]/",
            "http://0.0.0.0/",
            "http://localhost/",
        ] {
            self.add(url, single(url), 400, "--item_url_allow");
        }
        self.add(
            "a malformed URL",
            single("http://[::bad/"),
            400,
            "malformed",
        );
        let allowed = hosts.url("/redirect-to-refused");
        self.add(
            "redirect to a refused address",
            single(&allowed),
            400,
            "--item_url_allow",
        );
        self.add(
            "a body without end",
            single(&hosts.url("/endless")),
            413,
            "--max_item_bytes",
        );
        self.add("a status", single(&hosts.url("/missing")), 502, "404");
        self.add(
            "redirects without end",
            single(&hosts.url("/circle")),
            502,
            "redirect",
        );
        self.add(
            "a slow host",
            single(&hosts.url("/slow")),
            502,
            "--item_url_timeout_ms",
        );
        self.add(
            "nothing listening",
            single("http://127.0.0.9:1/a"),
            502,
            "127.0.0.9",
        );
        self.add(
            "text by URL",
            single(&hosts.url("/text")),
            400,
            "expected JPEG",
        );
    }

    fn images(&mut self) {
        for (name, image, word) in images::bad() {
            self.add(name, single(&item(&image)), 400, word);
            self.add(format!("{name}, as the body"), image, 400, word);
        }
    }
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = pages.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test]
async fn every_bad_input_gets_its_message_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = Hosts::start().await;
    let world = World::with(
        &[
            "--max_images=8",
            "--max_pixels=10000",
            "--max_item_bytes=200000",
            "--item_url_timeout_ms=300",
            &format!("--item_url_allow={},127.0.0.9", hosts.host()),
            &format!("--data_dir={}", folder.path().display()),
        ],
        |_| (),
    )
    .await;
    let mut cases = Cases::default();
    cases.bodies();
    cases.items(folder.path());
    cases.urls(&hosts);
    cases.images();
    println!("{} bad inputs", cases.0.len());
    assert!(cases.0.len() >= 80);

    let mut wrong = Vec::new();
    let mut after_first = 0;
    for round in 0..3 {
        for case in &cases.0 {
            let response = world.predict(case.body.clone()).await;
            let shown = format!("{:.80}", case.name);
            let as_expected =
                response.status.as_u16() == case.status && response.error().contains(case.word);
            if !as_expected {
                wrong.push(format!("{shown}: {} {}", response.status, response.text));
            }
            let good = world.scores(&[grey(3)]).await;
            assert_eq!(good, [score_of_grey(3)], "after {shown}");
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        if round == 0 {
            after_first = resident();
        }
    }
    let grown = resident().saturating_sub(after_first);
    println!("grown by {} KiB in two more rounds", grown / 1024);
    assert!(grown < 32 << 20, "grown by {} KiB", grown / 1024);
    let metrics = world.get("/metrics").await.text;
    for gauge in [
        "facequality_images_in_flight 0",
        "facequality_bytes_in_flight 0",
    ] {
        assert!(metrics.lines().any(|line| line == gauge), "{metrics}");
    }
}

#[tokio::test]
async fn a_score_that_is_not_a_number_is_the_predictors_failure() {
    let world = World::with(&[], |script| {
        script.always = Some(crate::world::triton::Fault::Twist(|answer| {
            answer.raw_output_contents[0] = f32::NAN.to_le_bytes().to_vec().into();
        }));
    })
    .await;
    let report =
        json!({"data": {"item": item(&grey(1))}, "extra_info": {"image_errors": "report"}});
    for body in [single(&item(&grey(1))), report.to_string()] {
        let response = world.predict(body).await;
        assert_eq!(response.status, 502, "{}", response.text);
        assert!(response.error().contains("NaN"), "{}", response.text);
    }
}
