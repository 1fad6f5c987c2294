//! Bodies of every form, and refusals that name the place.

use super::*;

fn items(body: &str) -> Vec<String> {
    let body = parse(body.as_bytes(), 3).unwrap();
    let text = |image| match image {
        Image::Item(text) => text.into_owned(),
        Image::Base64(text) => format!("b64 {text}"),
    };
    body.images.into_iter().map(text).collect()
}

fn refusal(body: &str) -> String {
    parse(body.as_bytes(), 3).unwrap_err().to_string()
}

#[test]
fn one_request() {
    assert_eq!(items(r#"{"data":{"item":"data:x"}}"#), ["data:x"]);
    assert_eq!(
        items(r#" {"data":{"item":"a","x":[1]},"extra_info":{"type":null,"others":{"y":2}}} "#),
        ["a"]
    );
    assert_eq!(
        items(r#"{"multi_data":null,"instances":null,"data":{"item":"a"},"extra_info":null}"#),
        ["a"]
    );
}

#[test]
fn many_in_order() {
    let body = r#"{"multi_data":[{"data":{"item":"a"}},{"data":{"item":"b"},"extra_info":null}],
        "data":7,"extra_info":{"type":"t"}}"#;
    assert_eq!(items(body), ["a", "b"]);
}

#[test]
fn text_is_borrowed_unless_escaped() {
    let body =
        br#"{"multi_data":[{"data":{"item":"data:,AA/B"}},{"data":{"item":"data:,AA\/B"}}]}"#;
    let body = parse(body, 3).unwrap();
    assert!(matches!(
        body.images[0],
        Image::Item(Cow::Borrowed("data:,AA/B"))
    ));
    assert!(matches!(&body.images[1], Image::Item(Cow::Owned(text)) if text == "data:,AA/B"));
}

#[test]
fn last_of_duplicate_keys_wins() {
    assert_eq!(items(r#"{"data":7,"data":{"item":"a","item":"b"}}"#), ["b"]);
    assert_eq!(
        items(r#"{"multi_data":[],"data":{"item":"a"},"multi_data":null}"#),
        ["a"]
    );
}

#[test]
fn refusals_name_the_place() {
    for (body, text) in [
        ("{}", "data: expected an object with item, found nothing"),
        (
            r#"{"data":{}}"#,
            "data.item: expected a string, found nothing",
        ),
        (
            r#"{"data":{"item":null}}"#,
            "data.item: expected a string, found null",
        ),
        (
            r#"{"data":{"item":["a"]}}"#,
            "data.item: expected a string, found a list",
        ),
        (
            r#"{"data":"a"}"#,
            "data: expected an object with item, found a string",
        ),
        (
            r#"{"multi_data":[{"data":{"item":"a"}},{"data":{"item":true}}]}"#,
            "multi_data[1].data.item: expected a string, found a boolean",
        ),
        (
            r#"{"multi_data":[null]}"#,
            "multi_data[0]: expected an object with data.item, found null",
        ),
        (
            r#"{"multi_data":{}}"#,
            "multi_data: expected a list, found an object",
        ),
        (
            r#"{"multi_data":[]}"#,
            "multi_data: the list is empty; at least one image is needed",
        ),
        (
            r#"{"multi_data":[1,2,3,4,5]}"#,
            "multi_data: 5 images in one request; at most 3 are allowed (--max_images)",
        ),
        (
            r#"{"data":{"item":"a"},"extra_info":5}"#,
            "extra_info: expected an object or null, found a number",
        ),
        (
            r#"{"multi_data":[{"data":{"item":"a"},"extra_info":{"type":5}}]}"#,
            "multi_data[0].extra_info.type: expected a string, found a number",
        ),
        (
            "[1]",
            "the body: expected an object with data, multi_data or instances, found a list",
        ),
    ] {
        assert_eq!(refusal(body), text, "{body}");
    }
    assert!(refusal("  ").starts_with("the body is empty"));
    for broken in [r#"{"data":"#, "{]", r#"{"data":NaN}"#, "{} {}"] {
        assert!(
            refusal(broken).starts_with("the body is not valid JSON: "),
            "{broken}"
        );
    }
}

#[test]
fn deep_nesting_ends_in_a_refusal() {
    let deep = r#"{"data":{"item":"#.to_owned() + &"[".repeat(1_000_000);
    assert!(refusal(&deep).starts_with("the body is not valid JSON"));
}

#[test]
fn not_utf8_is_refused() {
    let text = parse(b"{\"data\":{\"item\":\"\xff\"}}", 3)
        .unwrap_err()
        .to_string();
    assert!(text.starts_with("the body is not valid JSON"), "{text}");
}

#[test]
fn instances_in_their_four_forms() {
    let body = r#"{"instances":[{"b64":"AA"},{"image":{"b64":"BB"}},
        {"image_bytes":{"b64":"CC"},"key":"k"}],"data":7}"#;
    assert_eq!(items(body), ["b64 AA", "b64 BB", "b64 CC"]);
    assert_eq!(items(r#"{"instances":["data:x"]}"#), ["data:x"]);
    for (body, text) in [
        (
            r#"{"instances":[]}"#,
            "instances: the list is empty; at least one image is needed",
        ),
        (
            r#"{"instances":["a",7]}"#,
            "instances[1]: expected a string or an object with b64, image.b64 or \
             image_bytes.b64, found a number",
        ),
        (
            r#"{"instances":["a",{"image":{"b64":7}}]}"#,
            "instances[1].image.b64: expected a string, found a number",
        ),
        (
            r#"{"instances":[{}]}"#,
            "instances[0].b64: expected an object with b64, found nothing",
        ),
    ] {
        assert_eq!(refusal(body), text, "{body}");
    }
}

#[test]
fn image_errors_is_one_of_two_words_in_the_outer_extra_info() {
    let asked = |value: &str| {
        let body = format!(r#"{{"data":{{"item":"a"}},"extra_info":{{"image_errors":{value}}}}}"#);
        parse(body.as_bytes(), 1)
            .map(|body| body.report_image_errors)
            .map_err(|e| e.to_string())
    };
    assert_eq!(asked(r#""report""#), Ok(Some(true)));
    assert_eq!(asked(r#""fail""#), Ok(Some(false)));
    assert_eq!(asked("null"), Ok(None));
    assert_eq!(
        asked(r#""skip""#).unwrap_err(),
        "extra_info.image_errors: expected \"fail\" or \"report\", found another string"
    );
    assert_eq!(
        asked("true").unwrap_err(),
        "extra_info.image_errors: expected a string, found a boolean"
    );
}

#[test]
fn a_written_request_is_read_as_it_was() {
    let written = |items: &[&str]| {
        let owned: Vec<_> = items.iter().map(|&item| item.to_owned()).collect();
        String::from_utf8(to_json(&owned)).unwrap()
    };
    assert_eq!(written(&["a\"b"]), r#"{"data":{"item":"a\"b"}}"#);
    assert_eq!(items(&written(&["a", "b"])), ["a", "b"]);
}
