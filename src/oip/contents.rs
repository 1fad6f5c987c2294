//! The contents of an input tensor: raw bytes or typed fields, checked against the shape and cut
//! without copying where they are raw.

use bytes::Bytes;

use crate::error::{Error, Kind};
use crate::recognise::{Place, recognise};
use crate::transformer::Image;
use crate::wire::bytes_tensor::{self, split_element};
use crate::wire::contents;
use crate::wire::tensor::DataType;
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
    let Some(typed) = &input.contents else {
        return 0;
    };
    let words = typed.fp32_contents.len() + typed.int_contents.len() + typed.uint_contents.len();
    let longs = typed.int64_contents.len();
    words * size_of::<f32>() + longs * size_of::<i64>() + typed.bool_contents.len()
}

fn invalid(name: &str, what: &str) -> Error {
    Error::new(Kind::Invalid, format!("input {name:?}: {what}"))
}

/// `count` values in raw form.
pub(super) fn values(
    name: &str,
    given: Contents,
    datatype: DataType,
    count: usize,
) -> Result<Bytes, Error> {
    let bytes = match given {
        Contents::Raw(bytes) => bytes,
        Contents::Typed(typed) => {
            let Some(field) = contents::field(datatype) else {
                let what = format!("{datatype} values have no typed contents; send them raw");
                return Err(invalid(name, &what));
            };
            require_field(name, field, contents::filled_fields(&typed))?;
            let found = contents::count(datatype, &typed);
            if found != count {
                let what = format!("{found} values in {field} where the shape needs {count}");
                return Err(invalid(name, &what));
            }
            let raw = contents::to_raw(datatype, &typed);
            return raw.ok_or_else(|| {
                invalid(
                    name,
                    &format!("a value in {field} is not of {datatype}'s range"),
                )
            });
        }
    };
    let Some(size) = datatype.size() else {
        return match bytes_tensor::count(bytes.clone()) {
            Some(found) if found == count => Ok(bytes),
            Some(found) => Err(count_mismatch(name, &found.to_string(), count)),
            None => Err(invalid(name, "its elements are cut")),
        };
    };
    // It cannot overflow: `count` came from a shape that was multiplied with care.
    let expected = count * size;
    if bytes.len() != expected {
        let what = format!(
            "{} raw bytes where the shape needs {expected} ({count} {datatype} values)",
            bytes.len()
        );
        return Err(invalid(name, &what));
    }
    Ok(bytes)
}

/// `count` images: texts of items, or encoded; in base64 where elements are.
pub(super) fn images(
    name: &str,
    given: Contents,
    count: usize,
    base64_elements: bool,
) -> Result<Vec<Image>, Error> {
    let elements = match given {
        Contents::Raw(bytes) => elements(name, bytes, count)?,
        Contents::Typed(typed) => {
            require_field(name, "bytes_contents", contents::filled_fields(&typed))?;
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
    use bytes::{BufMut, BytesMut};

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
        let bytes = values("x", typed(&[1.0, -2.5]), DataType::Fp32, 2).unwrap();
        assert_eq!(
            bytes,
            [1f32.to_le_bytes(), (-2.5f32).to_le_bytes()].concat()
        );
        assert!(values("x", typed(&[1.0]), DataType::Fp32, 2).is_err());
        let text = error(typed(&[1.0]), 1);
        assert!(
            text.contains("fp32_contents; they belong in bytes_contents"),
            "{text}"
        );
    }
}
