//! Request bodies as JSON: the common_data_type schema (Request, MultiRequest) and KServe's own
//! `instances`. Their answers are in `answer.rs`.
//!
//! A body is parsed in one pass. Item texts, which hold whole images in base64, are borrowed
//! from it unless they contain an escape. Every place accepts any JSON first and is judged
//! afterwards, so that a refusal can name the place; unknown fields are ignored, of duplicate
//! keys the last wins.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess};

use super::lenient::{AnyText, List, Read, Seen, Shape, Text, Want};

/// A parsed body.
#[derive(Debug, PartialEq)]
pub struct Body<'a> {
    /// Which request it is.
    pub form: Form,
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
    /// Passthrough base64, as KServe's `b64` has it.
    Base64(Cow<'a, str>),
}

/// The form of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `{"data": {"item": …}}`
    Request,
    /// `{"multi_data": [Request, …]}`
    MultiRequest,
    /// `{"instances": [{"b64": …}, …]}`
    Instances,
}

impl Form {
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
    #[error("{place}: expected {expected}, found {found}")]
    Type {
        /// The path to the place.
        place: String,
        /// What the schema wants there.
        expected: &'static str,
        /// What stands there.
        found: &'static str,
    },
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
pub fn parse(body: &[u8], max_images: usize) -> Result<Body<'_>, ParseError> {
    if body.trim_ascii().is_empty() {
        return Err(ParseError::Empty);
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let outer = Want::<Outer>::at_most(max_images)
        .deserialize(&mut json)
        .and_then(|outer| json.end().map(|()| outer))
        .map_err(ParseError::Json)?;
    let outer = outer.required(|| "the body".to_owned())?;
    let extra_info = outer.extra_info.optional(|| "extra_info".to_owned())?;
    let report_image_errors = extra_info.unwrap_or_default().report_image_errors()?;
    let (form, images) = if let Some(list) = outer.multi_data.optional(|| MULTI_DATA.to_owned())? {
        let images = list.each(MULTI_DATA, max_images, Request::image)?;
        (Form::MultiRequest, images)
    } else if let Some(list) = outer.instances.optional(|| INSTANCES.to_owned())? {
        let images = list.each(INSTANCES, max_images, Instance::image)?;
        (Form::Instances, images)
    } else {
        let request = Request {
            data: outer.data,
            extra_info: Seen::Absent,
        };
        (Form::Request, vec![request.image()?])
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
    data: Seen<Data<'a>>,
    multi_data: Seen<List<Request<'a>>>,
    instances: Seen<List<Instance<'a>>>,
    extra_info: Seen<ExtraInfo<'a>>,
}

#[derive(Default)]
struct Request<'a> {
    data: Seen<Data<'a>>,
    extra_info: Seen<ExtraInfo<'a>>,
}

#[derive(Default)]
struct Data<'a> {
    item: Seen<Text<'a>>,
}

#[derive(Default)]
struct ExtraInfo<'a> {
    kind: Seen<AnyText>,
    image_errors: Seen<Text<'a>>,
}

/// An element of `instances`.
enum Instance<'a> {
    Text(Cow<'a, str>),
    Object {
        b64: Seen<Text<'a>>,
        image: Seen<Base64<'a>>,
    },
}

/// `{"b64": "…"}`
#[derive(Default)]
struct Base64<'a> {
    b64: Seen<Text<'a>>,
}

impl<T: Shape> List<T> {
    /// Judges each element with its place in front.
    fn each<P>(
        self,
        name: &'static str,
        limit: usize,
        judge: impl Fn(T) -> Result<P, ParseError>,
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
        for (index, element) in self.kept.into_iter().enumerate() {
            let place = || format!("{name}[{index}]");
            match element {
                // The usual case makes no text for a place that nobody will read.
                Seen::Is(element) => {
                    images.push(judge(element).map_err(|error| error.below(&(place() + ".")))?)
                }
                other => {
                    other.required(place)?;
                }
            }
        }
        Ok(images)
    }
}

impl ParseError {
    fn below(mut self, prefix: &str) -> Self {
        if let Self::Type { place, .. } = &mut self {
            place.insert_str(0, prefix);
        }
        self
    }
}

impl<'a> Request<'a> {
    fn image(self) -> Result<Image<'a>, ParseError> {
        if let Some(extra) = self.extra_info.optional(|| "extra_info".to_owned())? {
            extra.kind.optional(|| "extra_info.type".to_owned())?;
        }
        let data = self.data.required(|| "data".to_owned())?;
        let text = data.item.required(|| "data.item".to_owned())?;
        Ok(Image::Item(text.0))
    }
}

impl<'a> Instance<'a> {
    fn image(self) -> Result<Image<'a>, ParseError> {
        let text = match self {
            Self::Text(text) => return Ok(Image::Item(text)),
            Self::Object {
                b64: Seen::Absent | Seen::Null,
                image,
            } => image
                .required(|| "b64".to_owned())?
                .b64
                .required(|| "image.b64".to_owned())?,
            Self::Object { b64, .. } => b64.required(|| "b64".to_owned())?,
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

impl Shape for Data<'_> {
    const EXPECTED: &'static str = "an object with item";
}

impl<'de> Read<'de> for Data<'de> {
    fn map<A: MapAccess<'de>>(mut map: A, limit: usize) -> Result<Seen<Self>, A::Error> {
        let mut data = Self::default();
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::Item => data.item = map.next_value_seed(Want::at_most(limit))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Seen::Is(data))
    }
}

impl Shape for ExtraInfo<'_> {
    const EXPECTED: &'static str = "an object or null";
}

impl<'de> Read<'de> for ExtraInfo<'de> {
    fn map<A: MapAccess<'de>>(mut map: A, limit: usize) -> Result<Seen<Self>, A::Error> {
        let mut extra = Self::default();
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::Type => extra.kind = map.next_value_seed(Want::at_most(limit))?,
                Key::ImageErrors => {
                    extra.image_errors = map.next_value_seed(Want::at_most(limit))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Seen::Is(extra))
    }
}

impl Shape for Request<'_> {
    const EXPECTED: &'static str = "an object with data.item";
}

impl<'de> Read<'de> for Request<'de> {
    fn map<A: MapAccess<'de>>(mut map: A, limit: usize) -> Result<Seen<Self>, A::Error> {
        let mut request = Self::default();
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::Data => request.data = map.next_value_seed(Want::at_most(limit))?,
                Key::ExtraInfo => request.extra_info = map.next_value_seed(Want::at_most(limit))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Seen::Is(request))
    }
}

impl Shape for Base64<'_> {
    const EXPECTED: &'static str = "an object with b64";
}

impl<'de> Read<'de> for Base64<'de> {
    fn map<A: MapAccess<'de>>(mut map: A, limit: usize) -> Result<Seen<Self>, A::Error> {
        let mut base64 = Self::default();
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::B64 => base64.b64 = map.next_value_seed(Want::at_most(limit))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Seen::Is(base64))
    }
}

impl Shape for Instance<'_> {
    const EXPECTED: &'static str = "a string or an object with b64, image.b64 or image_bytes.b64";
}

impl<'de> Read<'de> for Instance<'de> {
    fn text(text: Cow<'de, str>) -> Seen<Self> {
        Seen::Is(Self::Text(text))
    }
    fn map<A: MapAccess<'de>>(mut map: A, limit: usize) -> Result<Seen<Self>, A::Error> {
        let (mut b64, mut image) = (Seen::Absent, Seen::Absent);
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::B64 => b64 = map.next_value_seed(Want::at_most(limit))?,
                Key::Image | Key::ImageBytes => {
                    image = map.next_value_seed(Want::at_most(limit))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Seen::Is(Self::Object { b64, image }))
    }
}

impl Shape for Outer<'_> {
    const EXPECTED: &'static str = "an object with data, multi_data or instances";
}

impl<'de> Read<'de> for Outer<'de> {
    fn map<A: MapAccess<'de>>(mut map: A, limit: usize) -> Result<Seen<Self>, A::Error> {
        let mut outer = Self::default();
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::Data => outer.data = map.next_value_seed(Want::at_most(limit))?,
                Key::MultiData => outer.multi_data = map.next_value_seed(Want::at_most(limit))?,
                Key::Instances => outer.instances = map.next_value_seed(Want::at_most(limit))?,
                Key::ExtraInfo => outer.extra_info = map.next_value_seed(Want::at_most(limit))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Seen::Is(outer))
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

#[cfg(test)]
mod tests;
