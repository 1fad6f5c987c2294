//! Each known beginning, where it is found, and what is said of it.

use super::*;

#[track_caller]
fn check(place: Place, examples: &[(&[u8], &str)]) {
    for (bytes, words) in examples {
        let text = recognise(bytes, place).map(|is| is.to_string());
        let text = text.unwrap_or_default();
        assert!(
            text.contains(words),
            "{:?}: {text:?}",
            bytes.escape_ascii().to_string()
        );
    }
}

#[test]
fn what_is_no_image() {
    for place in [Place::Body, Place::Image] {
        check(
            place,
            &[
                (b"\0\0\0\x18ftypisom", "a video"),
                (b"8BPS\0\x01", "Photoshop"),
                (b"#?RADIANCE\n", "HDR"),
                (b" <svg xmlns=", "SVG"),
                (b"<!DOCTYPE html><html>", "an HTML page"),
                (b"<?xml version=\"1.0\"?><Error>", "XML"),
                (b"%PDF-1.7", "a PDF"),
                (b"\x1f\x8b\x08", "gzip"),
                (b"PK\x03\x04", "ZIP"),
                (b"\x28\xb5\x2f\xfd", "zstd"),
                (b"\x89PNG\x1aIHDR", "--data-binary"),
                (b"\xff\xd8\xff\xe0\x10JFIF\x01\x01", "--data-binary"),
                (b"\xef\xbf\xbdPNG\r\n", "binary mode"),
                (b"data:image/png;base64,iVBORw0KGgo", "a data URI"),
                (b"iVBORw0KGgoAAAANSUhEUgAA", "base64"),
            ],
        );
    }
}

#[test]
fn image_formats_are_left_to_the_decoder() {
    for image in [
        &b"GIF89a\x01"[..],
        b"II*\0\x08",
        b"\0\0\0\x18ftypheic\0",
        b"\0\0\0\x1cftypavif\0",
        b"P6\n3 3\n255\n",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0WEBP",
    ] {
        assert_eq!(recognise(image, Place::Image), None);
    }
}

#[test]
fn bodies() {
    check(
        Place::Body,
        &[
            (
                b"--xyz\r\nContent-Disposition: form-data; name=\"file\"\r\n",
                "multipart",
            ),
            (b"\xff\xfe{\0\"\0", "UTF-16"),
            (b"{\0\"\0d\0", "UTF-16"),
            (b"\xef\xbb\xbf{\"data\"", "byte order mark"),
            (b" [{\"data\"", "a JSON list: expected an object"),
            (b"\"data:", "a JSON string"),
            (b"{ \"inputs\": [", "row form"),
            (b"{'data': {'item'", "a Python dict"),
            (b"DATA:image/png;base64,AAAA", r#"{"data":{"item":"…"}}"#),
            (b"https://host/face.jpg", "a URL"),
            (b"/9j/4AAQSkZJRgABAQ", "data:;base64,"),
            (b"@face.jpg", "--data-binary @FILE"),
            (b"image=%89PNG&x=1", "a form"),
        ],
    );
    for good in [
        &b"{\"data\":{\"item\":\"\"}}"[..],
        b"\xff\xd8\xff\xe0\0\x10JFIF\0",
        b"BM",
        b"",
    ] {
        assert_eq!(recognise(good, Place::Body), None);
    }
}

#[test]
fn items_and_tensors() {
    check(
        Place::Item,
        &[
            (b"file:///tmp/a.jpg", "\"path:\""),
            (b"/data/a.jpg", "\"path:\""),
            (b"C:\\faces\\a.jpg", "data: item"),
            (b"s3://bucket/a.jpg", "signed https://"),
            (b"b'/9j/4AAQ'", "Python"),
            (b" data:;base64,AAAA", "white space"),
            (b"/9j/4AAQSkZJRgABAQ", "\"data:;base64,\" before it"),
            (b"iVBORw0KGgoAAAANSUhEUg", "\"data:;base64,\" before it"),
        ],
    );
    for word in [&b"hello"[..], b"", b"ftp://host/a"] {
        assert_eq!(recognise(word, Place::Item), None);
    }
    check(
        Place::BytesTensor,
        &[
            (b"\x89PNG\r\n", "its length"),
            (b"\xff\xd8\xff\xe0", "its length"),
        ],
    );
    assert_eq!(recognise(b"\x05\0\0\0\x89PNG", Place::BytesTensor), None);
}
