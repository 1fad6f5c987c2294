//! The contents of an input tensor: raw bytes or typed fields, checked against the shape and cut
//! without copying where they are raw.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{Error, Kind};
use crate::recognise::{Place, recognise};
use crate::transformer::Image;
use crate::wire::bytes_tensor::split_element;
use crate::wire::triton::InferTensorContents;
use crate::wire::triton::model_infer_request::InferInputTensor;

/// What an input holds.
pub(super) enum Contents {
    /// Little-endian values, or elements each preceded by its length.
    Raw(Bytes),
    /// Elements one by one.
    Typed(InferTensorContents),
}

/// Bytes of the values that are typed and have to be converted.
pub(super) fn typed_bytes(input: &InferInputTensor) -> usize {
    let values = input.contents.as_ref().map(|typed| &typed.fp32_contents);
    values.map_or(0, |values| values.len() * size_of::<f32>())
}

fn invalid(name: &str, what: &str) -> Error {
    Error::new(Kind::Invalid, format!("input {name:?}: {what}"))
}

/// `count` FP32 values in raw form.
pub(super) fn values(name: &str, contents: Contents, count: usize) -> Result<Bytes, Error> {
    match contents {
        Contents::Raw(bytes) => {
            // It cannot overflow: `count` came from a shape that was multiplied with care.
            let expected = count * size_of::<f32>();
            if bytes.len() != expected {
                let what = format!(
                    "{} raw bytes where the shape needs {expected} ({count} FP32 values)",
                    bytes.len()
                );
                return Err(invalid(name, &what));
            }
            Ok(bytes)
        }
        Contents::Typed(typed) => {
            require_field(name, "fp32_contents", fields(&typed))?;
            if typed.fp32_contents.len() != count {
                let what = format!(
                    "{} values in fp32_contents where the shape needs {count}",
                    typed.fp32_contents.len()
                );
                return Err(invalid(name, &what));
            }
            let mut bytes = BytesMut::with_capacity(count * size_of::<f32>());
            for value in typed.fp32_contents {
                bytes.put_f32_le(value);
            }
            Ok(bytes.freeze())
        }
    }
}

/// `count` images: texts of items, or encoded; in base64 where elements are.
pub(super) fn images(
    name: &str,
    contents: Contents,
    count: usize,
    base64_elements: bool,
) -> Result<Vec<Image>, Error> {
    let elements = match contents {
        Contents::Raw(bytes) => elements(name, bytes, count)?,
        Contents::Typed(typed) => {
            require_field(name, "bytes_contents", fields(&typed))?;
            typed.bytes_contents
        }
    };
    if elements.len() != count {
        return Err(count_mismatch(name, &elements.len().to_string(), count));
    }
    let places = elements.into_iter().enumerate();
    places
        .map(|(index, element)| {
            image(element, base64_elements)
                .map_err(|error| error.with_location(&place(name, index)))
        })
        .collect()
}

fn place(name: &str, index: usize) -> String {
    format!("{name}[{index}]")
}

fn count_mismatch(name: &str, found: &str, count: usize) -> Error {
    let what = format!("{found} elements where the shape says {count}");
    invalid(name, &what)
}

/// Cuts raw BYTES into their `count` elements.
fn elements(name: &str, mut bytes: Bytes, count: usize) -> Result<Vec<Bytes>, Error> {
    let whole = bytes.clone();
    let mut elements = Vec::new();
    while !bytes.is_empty() {
        // Elements may be empty: without this, the list could outgrow their bytes.
        if elements.len() == count {
            return Err(count_mismatch(name, "more", count));
        }
        match split_element(&mut bytes) {
            Ok(Some(element)) => elements.push(element),
            Ok(None) => break,
            Err(cut) => {
                let text = match recognise(&whole, Place::BytesTensor) {
                    Some(recognised) => format!("{cut}; {recognised}"),
                    None => cut.to_string(),
                };
                let error = Error::new(Kind::Invalid, text);
                return Err(error.with_location(&place(name, elements.len())));
            }
        }
    }
    Ok(elements)
}

/// Tells an item's text from an image.
fn image(element: Bytes, base64_elements: bool) -> Result<Image, Error> {
    if !Image::is_item(&element) {
        return Ok(if base64_elements {
            Image::Base64(element)
        } else {
            Image::Encoded(element)
        });
    }
    if std::str::from_utf8(&element).is_err() {
        return Err(Error::new(
            Kind::Invalid,
            "begins like an item but is not UTF-8",
        ));
    }
    Ok(Image::Item(element))
}

/// The typed fields that hold something, by name.
fn fields(typed: &InferTensorContents) -> Vec<&'static str> {
    [
        ("bool_contents", typed.bool_contents.is_empty()),
        ("int_contents", typed.int_contents.is_empty()),
        ("int64_contents", typed.int64_contents.is_empty()),
        ("uint_contents", typed.uint_contents.is_empty()),
        ("uint64_contents", typed.uint64_contents.is_empty()),
        ("fp32_contents", typed.fp32_contents.is_empty()),
        ("fp64_contents", typed.fp64_contents.is_empty()),
        ("bytes_contents", typed.bytes_contents.is_empty()),
    ]
    .into_iter()
    .filter_map(|(field, empty)| (!empty).then_some(field))
    .collect()
}

fn require_field(name: &str, expected: &str, fields: Vec<&'static str>) -> Result<(), Error> {
    match fields.iter().find(|&&field| field != expected) {
        Some(other) => {
            let what = format!("its values are in {other}; they belong in {expected}");
            Err(invalid(name, &what))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::bytes_tensor::put_element;

    fn raw(elements: &[&[u8]]) -> Bytes {
        let mut bytes = BytesMut::new();
        for element in elements {
            put_element(&mut bytes, element).unwrap();
        }
        bytes.freeze()
    }

    fn error(contents: Contents, count: usize) -> String {
        let result = images("image", contents, count, false);
        result.map(|_| ()).unwrap_err().text
    }

    #[test]
    fn raw_elements_share_the_message() {
        let bytes = raw(&[b"\xff\xd8\xffimage", b"data:;base64,AAAA", b"", b"path:a"]);
        let range = bytes.as_ptr_range();
        let images = images("image", Contents::Raw(bytes), 4, false).unwrap();
        let Image::Encoded(first) = &images[0] else {
            panic!("{images:?}")
        };
        assert!(range.contains(&first.as_ptr()), "the image was copied");
        assert!(matches!(&images[1], Image::Item(text) if text.starts_with(b"data:")));
        assert!(matches!(&images[2], Image::Encoded(bytes) if bytes.is_empty()));
        assert!(matches!(&images[3], Image::Item(_)));
    }

    #[test]
    fn wrong_elements_are_named() {
        let good = raw(&[b"\xff\xd8\xff"]);
        let mut short = BytesMut::from(&good[..]);
        short.put_slice(&[9, 0]);
        let text = error(Contents::Raw(short.freeze()), 2);
        assert!(text.starts_with("image[1]: 2 bytes are left"), "{text}");
        let text = error(Contents::Raw(good.slice(..5)), 1);
        assert!(
            text.starts_with("image[0]: the element says 3 bytes, but 1 are left"),
            "{text}"
        );
        let text = error(Contents::Raw(Bytes::from_static(b"\x89PNG\r\n\x1a\n")), 1);
        assert!(text.contains("an image without its length"), "{text}");
        let text = error(Contents::Raw(good), 3);
        assert_eq!(text, "input \"image\": 1 elements where the shape says 3");
        let text = error(Contents::Raw(raw(&[b"http://\xff"])), 1);
        assert_eq!(text, "image[0]: begins like an item but is not UTF-8");
    }

    #[test]
    fn typed_values_are_converted_and_checked() {
        let typed = |values: &[f32]| {
            Contents::Typed(InferTensorContents {
                fp32_contents: values.to_vec(),
                ..Default::default()
            })
        };
        let bytes = values("x", typed(&[1.0, -2.5]), 2).unwrap();
        assert_eq!(
            bytes,
            [1f32.to_le_bytes(), (-2.5f32).to_le_bytes()].concat()
        );
        assert!(values("x", typed(&[1.0]), 2).is_err());
        let text = error(typed(&[1.0]), 1);
        assert!(
            text.contains("fp32_contents; they belong in bytes_contents"),
            "{text}"
        );
    }
}
