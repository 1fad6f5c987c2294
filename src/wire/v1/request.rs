//! Request bodies as JSON: the common_data_type schema (Request, MultiRequest) and KServe's own
//! `instances`. Their responses are in `response.rs`.
//!
//! A body is parsed in one pass. Item texts, which hold whole images in base64, are borrowed from it
//! unless they contain an escape. Every place accepts any JSON first and is judged
//! afterwards, so that a refusal can name the place; unknown fields are ignored, of duplicate
//! keys the last wins.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess};

use super::lenient::{AnyText, Expected, Field, FieldSeed, FromJson, List, Text, TypeError};

/// A parsed body.
#[derive(Debug, PartialEq)]
pub struct Body<'a> {
    /// Which request it is.
    pub form: RequestForm,
    /// The images in order, at least one.
    pub images: Vec<Image<'a>>,
    /// The outer `extra_info.image_errors`: whether a bad image is reported in its place.
    pub report_image_errors: Option<bool>,
}

/// How an image stands in a body.
#[derive(Debug, PartialEq)]
pub enum Image<'a> {
    /// The text of an item.
    Item(Cow<'a, str>),
    /// Plain base64, as KServe's `b64` has it.
    Base64(Cow<'a, str>),
}

/// The form of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestForm {
    /// `{"data": {"item": …}}`
    Request,
    /// `{"multi_data": [Request, …]}`
    MultiRequest,
    /// `{"instances": [{"b64": …}, …]}`
    Instances,
}

impl RequestForm {
    /// Where image `index` (from 0) stands in the body.
    pub fn place(self, index: usize) -> String {
        match self {
            Self::Request => "data.item".to_owned(),
            Self::MultiRequest => format!("multi_data[{index}].data.item"),
            Self::Instances => format!("instances[{index}]"),
        }
    }
}

/// Why a body was refused.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Nothing was sent.
    #[error(
        "the body is empty; expected {{\"data\":{{\"item\":\"…\"}}}} or {{\"multi_data\":[…]}}"
    )]
    Empty,
    /// Not JSON.
    #[error("the body is not valid JSON: {0}")]
    Json(serde_json::Error),
    /// Another type than the schema's stands at a place.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// `image_errors` is neither of the two words.
    #[error("extra_info.image_errors: expected \"fail\" or \"report\", found another string")]
    ImageErrors,
    /// A list without images.
    #[error("{0}: the list is empty; at least one image is needed")]
    NoImages(&'static str),
    /// More images than allowed.
    #[error("{list}: {count} images in one request; at most {limit} are allowed (--max_images)")]
    TooMany {
        /// The list's name.
        list: &'static str,
        /// Images in the request.
        count: usize,
        /// The limit.
        limit: usize,
    },
}

/// Parses a request of at most `max_images` images.
///
/// # Errors
///
/// What is malformed, and where.
pub fn parse(body: &[u8], max_images: usize) -> Result<Body<'_>, ParseError> {
    if body.trim_ascii().is_empty() {
        return Err(ParseError::Empty);
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let outer = FieldSeed::<Outer>::at_most(max_images)
        .deserialize(&mut json)
        .and_then(|outer| json.end().map(|()| outer))
        .map_err(ParseError::Json)?;
    let outer = outer.required(|| "the body".to_owned())?;
    let extra_info = outer.extra_info.optional(|| "extra_info".to_owned())?;
    let report_image_errors = extra_info.unwrap_or_default().report_image_errors()?;
    let (form, images) = if let Some(list) = outer.multi_data.optional(|| MULTI_DATA.to_owned())? {
        let images = list.each(MULTI_DATA, max_images, Request::image)?;
        (RequestForm::MultiRequest, images)
    } else if let Some(list) = outer.instances.optional(|| INSTANCES.to_owned())? {
        let images = list.each(INSTANCES, max_images, Instance::image)?;
        (RequestForm::Instances, images)
    } else {
        let request = Request {
            data: outer.data,
            extra_info: Field::Absent,
        };
        (RequestForm::Request, vec![request.image()?])
    };
    Ok(Body {
        form,
        images,
        report_image_errors,
    })
}

const MULTI_DATA: &str = "multi_data";
const INSTANCES: &str = "instances";

#[derive(Default)]
struct Outer<'a> {
    data: Field<Data<'a>>,
    multi_data: Field<List<Request<'a>>>,
    instances: Field<List<Instance<'a>>>,
    extra_info: Field<ExtraInfo<'a>>,
}

#[derive(Default)]
struct Request<'a> {
    data: Field<Data<'a>>,
    extra_info: Field<ExtraInfo<'a>>,
}

#[derive(Default)]
struct Data<'a> {
    item: Field<Text<'a>>,
}

#[derive(Default)]
struct ExtraInfo<'a> {
    kind: Field<AnyText>,
    image_errors: Field<Text<'a>>,
}

/// An element of `instances`.
enum Instance<'a> {
    Text(Cow<'a, str>),
    Object(InstanceObject<'a>),
}

#[derive(Default)]
struct InstanceObject<'a> {
    b64: Field<Text<'a>>,
    image: Field<Base64<'a>>,
}

/// `{"b64": "…"}`
#[derive(Default)]
struct Base64<'a> {
    b64: Field<Text<'a>>,
}

impl<T: Expected> List<T> {
    /// Judges each element with its place in front.
    fn each<P>(
        self,
        name: &'static str,
        limit: usize,
        judge: impl Fn(T) -> Result<P, TypeError>,
    ) -> Result<Vec<P>, ParseError> {
        if self.count == 0 {
            return Err(ParseError::NoImages(name));
        }
        if self.count > limit {
            return Err(ParseError::TooMany {
                list: name,
                count: self.count,
                limit,
            });
        }
        let mut images = Vec::with_capacity(self.count);
        for (index, element) in self.elements.into_iter().enumerate() {
            let place = || format!("{name}[{index}]");
            match element {
                // The usual case makes no text for a place that nobody will read.
                Field::Is(element) => {
                    images.push(judge(element).map_err(|error| error.under(&place()))?);
                }
                other => {
                    other.required(place)?;
                }
            }
        }
        Ok(images)
    }
}

impl<'a> Request<'a> {
    fn image(self) -> Result<Image<'a>, TypeError> {
        if let Some(extra) = self.extra_info.optional(|| "extra_info".to_owned())? {
            extra.kind.optional(|| "extra_info.type".to_owned())?;
        }
        let data = self.data.required(|| "data".to_owned())?;
        let text = data.item.required(|| "data.item".to_owned())?;
        Ok(Image::Item(text.0))
    }
}

impl<'a> Instance<'a> {
    fn image(self) -> Result<Image<'a>, TypeError> {
        let InstanceObject { b64, image } = match self {
            Self::Text(text) => return Ok(Image::Item(text)),
            Self::Object(object) => object,
        };
        let text = match b64 {
            Field::Absent | Field::Null => image
                .required(|| "b64".to_owned())?
                .b64
                .required(|| "image.b64".to_owned())?,
            b64 => b64.required(|| "b64".to_owned())?,
        };
        Ok(Image::Base64(text.0))
    }
}

impl ExtraInfo<'_> {
    fn report_image_errors(self) -> Result<Option<bool>, ParseError> {
        self.kind.optional(|| "extra_info.type".to_owned())?;
        let word = self
            .image_errors
            .optional(|| "extra_info.image_errors".to_owned())?;
        match word.as_ref().map(|word| word.0.as_ref()) {
            None => Ok(None),
            Some("fail") => Ok(Some(false)),
            Some("report") => Ok(Some(true)),
            Some(_) => Err(ParseError::ImageErrors),
        }
    }
}

/// Reads an object by its keys into the fields of a struct. Other keys are ignored, those of other
/// objects too; of duplicate keys the last wins.
macro_rules! object_from_json {
    ($object:ident, $expected:literal, { $($($key:ident)|+ => $field:ident),+ }) => {
        impl Expected for $object<'_> {
            const EXPECTED: &'static str = $expected;
        }

        impl<'de> FromJson<'de> for $object<'de> {
            fn from_map<A: MapAccess<'de>>(
                mut map: A,
                limit: usize,
            ) -> Result<Field<Self>, A::Error> {
                let mut object = Self::default();
                while let Some(key) = map.next_key::<Key>()? {
                    match key {
                        $($(Key::$key)|+ => {
                            object.$field = map.next_value_seed(FieldSeed::at_most(limit))?;
                        })+
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Field::Is(object))
            }
        }
    };
}

object_from_json!(Outer, "an object with data, multi_data or instances", {
    Data => data,
    MultiData => multi_data,
    Instances => instances,
    ExtraInfo => extra_info
});
object_from_json!(Request, "an object with data.item", { Data => data, ExtraInfo => extra_info });
object_from_json!(Data, "an object with item", { Item => item });
object_from_json!(ExtraInfo, "an object or null", { Type => kind, ImageErrors => image_errors });
object_from_json!(Base64, "an object with b64", { B64 => b64 });
object_from_json!(InstanceObject, "an object with b64", { B64 => b64, Image | ImageBytes => image });

impl Expected for Instance<'_> {
    const EXPECTED: &'static str = "a string or an object with b64, image.b64 or image_bytes.b64";
}

impl<'de> FromJson<'de> for Instance<'de> {
    fn from_text(text: Cow<'de, str>) -> Field<Self> {
        Field::Is(Self::Text(text))
    }
    fn from_map<A: MapAccess<'de>>(map: A, limit: usize) -> Result<Field<Self>, A::Error> {
        InstanceObject::from_map(map, limit).map(|object| object.map(Self::Object))
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Data,
    MultiData,
    Instances,
    ExtraInfo,
    Item,
    Type,
    ImageErrors,
    B64,
    Image,
    ImageBytes,
    #[serde(other)]
    Unknown,
}

/// Writes the items' request as a client does: one is a Request, more are a MultiRequest.
pub fn to_json(items: &[String]) -> Vec<u8> {
    let request = |item: &String| serde_json::json!({"data": {"item": item}});
    let body = match items {
        [item] => request(item),
        items => serde_json::json!({MULTI_DATA: items.iter().map(request).collect::<Vec<_>>()}),
    };
    body.to_string().into_bytes()
}

#[cfg(test)]
mod tests;
