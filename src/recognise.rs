//! What bytes are that are not what was expected, by how they begin, and what to do about it.
//!
//! The one table of known beginnings, for bodies, items and images. Only a failure looks here: what
//! can be read is never refused by it.

use std::fmt;

/// Where the bytes were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A request's body, where JSON or an image was expected.
    Body,
    /// The text of an item, where a `data:`, `path:` or `http(s):` form was expected.
    Item,
    /// Bytes that should be an encoded image.
    Image,
    /// The raw contents of a BYTES tensor, where each element begins with its length.
    BytesTensor,
}

/// What bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recognised {
    /// The kind, with its article.
    what: &'static str,
    /// What to do about it.
    advice: &'static str,
}

impl fmt::Display for Recognised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this is {}: {}", self.what, self.advice)
    }
}

/// What bytes are, if they begin like something known.
pub(crate) fn recognise(bytes: &[u8], place: Place) -> Option<Recognised> {
    let (own, common): (&[Known], &[Known]) = match place {
        Place::Body => (&BODIES, &FORMATS),
        Place::Item => (&ITEMS, &[]),
        Place::Image => (&MANGLED, &FORMATS),
        Place::BytesTensor => (&TENSORS, &[]),
    };
    own.iter()
        .chain(common)
        .find(|known| (known.test)(bytes))
        .map(|known| known.is)
}

struct Known {
    test: fn(&[u8]) -> bool,
    is: Recognised,
}

const fn known(test: fn(&[u8]) -> bool, what: &'static str, advice: &'static str) -> Known {
    Known {
        test,
        is: Recognised { what, advice },
    }
}

const SUPPORTED: &str = "expected an image, such as JPEG or PNG";
const AS_ITEM: &str =
    r#"send {"data":{"item":"…"}} with it as the item, or the image's bytes as the body"#;
const BINARY: &str = "send the image's bytes as the body (curl --data-binary @FILE)";
const MANGLING: &str =
    "`curl -d @FILE` removes line breaks and zero bytes; use --data-binary @FILE";
const UTF8: &str = "send JSON as UTF-8";

/// What is no image in any format, wherever it is found. Image formats are recognised where they are
/// decoded.
const FORMATS: [Known; 12] = [
    known(
        |b| is_media(b, &[b"isom", b"iso2", b"mp41", b"mp42", b"M4V ", b"qt  "]),
        "a video",
        SUPPORTED,
    ),
    known(|b| b.starts_with(b"8BPS"), "a Photoshop file", SUPPORTED),
    known(
        |b| b.starts_with(b"#?RADIANCE") || b.starts_with(b"#?RGBE"),
        "a Radiance HDR image",
        SUPPORTED,
    ),
    known(
        |b| contains_early(trim_start(b), b"<svg"),
        "an SVG image",
        SUPPORTED,
    ),
    known(
        |b| begins_like(trim_start(b), b"<!doctype html") || begins_like(trim_start(b), b"<html"),
        "an HTML page",
        "expected the image itself, not a page that shows it",
    ),
    known(
        |b| trim_start(b).starts_with(b"<?xml"),
        "XML",
        "expected the image itself; it may be the error of an object store",
    ),
    known(|b| b.starts_with(b"%PDF-"), "a PDF", SUPPORTED),
    known(
        |b| b.starts_with(b"\x1f\x8b"),
        "gzip data",
        "decompress it, or send the whole body with content-encoding: gzip",
    ),
    known(|b| b.starts_with(b"PK\x03\x04"), "a ZIP archive", SUPPORTED),
    known(
        |b| b.starts_with(b"\x28\xb5\x2f\xfd"),
        "zstd data",
        "decompress it; gzip and deflate are the encodings that a body may have",
    ),
    known(is_data_uri, "a data URI", "decode its base64 first"),
    known(is_base64, "base64", "decode it first"),
];

/// Images that lost bytes on their way.
const MANGLED: [Known; 3] = [
    known(
        |b| b.starts_with(b"\x89PNG\x1a"),
        "a PNG image that lost bytes",
        MANGLING,
    ),
    known(
        |b| b.starts_with(b"\xff\xd8\xff\xe0\x10JFIF\x01"),
        "a JPEG image that lost bytes",
        MANGLING,
    ),
    known(
        |b| b.starts_with(b"\xef\xbf\xbd") || contains_early(b, b"\xef\xbf\xbdPNG"),
        "an image that was read as text",
        "read the file in binary mode",
    ),
];

const BODIES: [Known; 16] = [
    known(
        |b| b.starts_with(b"\x89PNG\x1a"),
        "a PNG image that lost bytes",
        MANGLING,
    ),
    known(
        |b| b.starts_with(b"\xff\xd8\xff\xe0\x10JFIF\x01"),
        "a JPEG image that lost bytes",
        MANGLING,
    ),
    known(
        |b| b.starts_with(b"--") && contains_early(b, b"ontent-"),
        "multipart/form-data",
        BINARY,
    ),
    known(
        |b| b.starts_with(b"\xff\xfe") || b.starts_with(b"\xfe\xff"),
        "UTF-16 text",
        UTF8,
    ),
    known(
        |b| b.starts_with(b"{\0") || b.starts_with(b"\0{"),
        "UTF-16 text",
        UTF8,
    ),
    known(
        |b| b.starts_with(b"\xef\xbb\xbf"),
        "text behind a byte order mark",
        "send JSON without it",
    ),
    known(
        |b| b.starts_with(b"\xef\xbf\xbd"),
        "an image that was read as text",
        "read the file in binary mode",
    ),
    known(
        |b| trim_start(b).starts_with(b"["),
        "a JSON list",
        r#"expected an object, such as {"instances":[…]}"#,
    ),
    known(
        |b| trim_start(b).starts_with(b"\""),
        "a JSON string",
        r#"expected an object, such as {"data":{"item":"…"}}"#,
    ),
    known(
        |b| has_first_key(b, b"\"inputs\"") || has_first_key(b, b"\"signature_name\""),
        "TF Serving's column form",
        r#"use its row form, {"instances":[{"b64":"…"}]}"#,
    ),
    known(
        |b| trim_start(b).starts_with(b"{'"),
        "a Python dict",
        "send JSON, with double quotes (json.dumps)",
    ),
    known(is_data_uri, "a data URI", AS_ITEM),
    known(
        |b| begins_like(b, b"http://") || begins_like(b, b"https://"),
        "a URL",
        AS_ITEM,
    ),
    known(
        is_base64,
        "base64",
        r#"send {"data":{"item":"data:;base64,…"}}, or the image's bytes as the body"#,
    ),
    known(
        |b| b.starts_with(b"@"),
        "a file's name",
        "curl reads a file with --data-binary @FILE, not with --data-raw",
    ),
    known(is_form, "a form", BINARY),
];

const ITEMS: [Known; 6] = [
    known(
        |b| begins_like(b, b"file:") || b.starts_with(b"/") && !b.starts_with(b"/9j/"),
        "a file's path",
        r#"write "path:" and its path below --data_dir"#,
    ),
    known(
        |b| {
            b.get(1..3)
                .is_some_and(|rest| rest == b":\\" || rest == b":/")
        },
        "a file's path",
        "the service cannot read the caller's files; send the image as a data: item",
    ),
    known(
        |b| begins_like(b, b"s3://") || begins_like(b, b"gs://"),
        "an object store's URL",
        "give a signed https:// URL",
    ),
    known(
        |b| b.starts_with(b"b'") || b.starts_with(b"b\""),
        "what Python prints of bytes",
        r#"write "data:;base64," and the base64 text (.decode())"#,
    ),
    known(
        |b| b.first().is_some_and(u8::is_ascii_whitespace),
        "text behind white space",
        "remove the white space",
    ),
    known(is_base64, "base64", r#"write "data:;base64," before it"#),
];

const TENSORS: [Known; 1] = [known(
    |b| {
        let beginnings: [&[u8]; 5] = [b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", b"data:"];
        beginnings.iter().any(|beginning| b.starts_with(beginning))
    },
    "an image without its length",
    "each element of a BYTES tensor begins with its length, 4 bytes little-endian",
)];

/// An ISO base media file of one of these brands.
fn is_media(bytes: &[u8], brands: &[&[u8; 4]]) -> bool {
    bytes.get(4..8) == Some(b"ftyp")
        && bytes
            .get(8..12)
            .is_some_and(|brand| brands.iter().any(|known| brand == *known))
}

fn is_data_uri(bytes: &[u8]) -> bool {
    begins_like(bytes, b"data:")
}

/// Long enough not to be a word, and of nothing but base64's symbols in its first part.
fn is_base64(bytes: &[u8]) -> bool {
    const ENOUGH: usize = 40;
    const IMAGES: [&[u8]; 4] = [b"/9j/", b"iVBORw0KGgo", b"UklGR", b"R0lGOD"];
    let is_symbol = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=\r\n".contains(byte);
    let beginning = &bytes[..bytes.len().min(ENOUGH)];
    IMAGES.iter().any(|image| bytes.starts_with(image))
        || bytes.len() >= ENOUGH && beginning.iter().all(is_symbol)
}

/// `name=value`, as `application/x-www-form-urlencoded`.
fn is_form(bytes: &[u8]) -> bool {
    let name = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"_-.%+[]".contains(byte));
    let length = name.count();
    (1..64).contains(&length) && bytes.get(length) == Some(&b'=')
}

/// Whether an object's first key is this one.
fn has_first_key(bytes: &[u8], key: &[u8]) -> bool {
    trim_start(bytes)
        .strip_prefix(b"{")
        .is_some_and(|rest| trim_start(rest).starts_with(key))
}

fn begins_like(bytes: &[u8], lower_case: &[u8]) -> bool {
    bytes
        .get(..lower_case.len())
        .is_some_and(|beginning| beginning.eq_ignore_ascii_case(lower_case))
}

/// Whether the first kilobyte has this in it.
fn contains_early(bytes: &[u8], word: &[u8]) -> bool {
    bytes[..bytes.len().min(1024)]
        .windows(word.len())
        .any(|window| window == word)
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii_start()
}

#[cfg(test)]
mod tests;
