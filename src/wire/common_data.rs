//! The common_data_type schema: Request, MultiRequest and MultiResponse as JSON.
//!
//! A body is parsed in one pass. Item texts, which hold whole pictures in base64, are borrowed
//! from it unless they contain an escape. Every place accepts any JSON first and is judged
//! afterwards, so that a refusal can name the place; unknown fields are ignored, of duplicate
//! keys the last wins.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, de::DeserializeSeed};

/// The value of `extra_info.source` in every answer.
pub const SOURCE: &str = "face_quality_score";

/// A parsed body: the item text of each picture, in order.
#[derive(Debug, PartialEq)]
pub struct Body<'a> {
    /// Which of the two requests it is; answers do not differ, but places in messages do.
    pub form: Form,
    /// One item text per picture, at least one.
    pub items: Vec<Cow<'a, str>>,
}

/// The form of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `{"data": {"item": …}}`
    Request,
    /// `{"multi_data": [Request, …]}`
    MultiRequest,
}

impl Form {
    /// Where picture `index` (from 0) stands in the body.
    pub fn place(self, index: usize) -> String {
        match self {
            Self::Request => "data.item".to_owned(),
            Self::MultiRequest => format!("multi_data[{index}].data.item"),
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
    /// A list without pictures.
    #[error("{0}: the list is empty; at least one picture is needed")]
    NoPictures(&'static str),
    /// More pictures than allowed.
    #[error("{list}: {count} pictures in one request; at most {limit} are allowed (--max_images)")]
    TooMany {
        /// The list's name.
        list: &'static str,
        /// Pictures in the request.
        count: usize,
        /// The limit.
        limit: usize,
    },
}

/// Parses a Request or MultiRequest of at most `max_images` pictures.
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
    outer.extra_info.check(|| "extra_info".to_owned())?;
    if let Some(list) = outer.multi_data.optional(|| "multi_data".to_owned())? {
        return list.items(max_images);
    }
    let item = Request {
        data: outer.data,
        extra_info: Seen::Absent,
    }
    .item(String::new)?;
    Ok(Body {
        form: Form::Request,
        items: vec![item],
    })
}

#[derive(Default)]
struct Outer<'a> {
    data: Seen<Data<'a>>,
    multi_data: Seen<Requests<'a>>,
    extra_info: Seen<ExtraInfo>,
}

struct Requests<'a> {
    /// At most the limit of them are kept.
    list: Vec<Seen<Request<'a>>>,
    count: usize,
}

#[derive(Default)]
struct Request<'a> {
    data: Seen<Data<'a>>,
    extra_info: Seen<ExtraInfo>,
}

#[derive(Default)]
struct Data<'a> {
    item: Seen<Text<'a>>,
}

#[derive(Default)]
struct ExtraInfo {
    kind: Seen<AnyText>,
}

impl<'a> Requests<'a> {
    fn items(self, limit: usize) -> Result<Body<'a>, ParseError> {
        let list = "multi_data";
        if self.count == 0 {
            return Err(ParseError::NoPictures(list));
        }
        if self.count > limit {
            return Err(ParseError::TooMany {
                list,
                count: self.count,
                limit,
            });
        }
        let item = |(index, request): (usize, Seen<Request<'a>>)| {
            request
                .required(|| format!("{list}[{index}]"))?
                .item(|| format!("{list}[{index}]."))
        };
        Ok(Body {
            form: Form::MultiRequest,
            items: self
                .list
                .into_iter()
                .enumerate()
                .map(item)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl<'a> Request<'a> {
    fn item(self, prefix: impl Fn() -> String) -> Result<Cow<'a, str>, ParseError> {
        self.extra_info.check(|| prefix() + "extra_info")?;
        let data = self.data.required(|| prefix() + "data")?;
        let text = data.item.required(|| prefix() + "data.item")?;
        Ok(text.0)
    }
}

impl Seen<ExtraInfo> {
    fn check(self, place: impl Fn() -> String) -> Result<(), ParseError> {
        if let Some(extra) = self.optional(&place)? {
            extra.kind.optional(|| place() + ".type")?;
        }
        Ok(())
    }
}

/// What stands at a place where a `T` is wanted.
#[derive(Debug, Default)]
enum Seen<T> {
    #[default]
    Absent,
    Null,
    Is(T),
    Other(&'static str),
}

impl<T: Shape> Seen<T> {
    fn optional(self, place: impl Fn() -> String) -> Result<Option<T>, ParseError> {
        match self {
            Self::Absent | Self::Null => Ok(None),
            other => other.required(place).map(Some),
        }
    }

    fn required(self, place: impl Fn() -> String) -> Result<T, ParseError> {
        let found = match self {
            Self::Is(value) => return Ok(value),
            Self::Absent => "nothing",
            Self::Null => "null",
            Self::Other(found) => found,
        };
        Err(ParseError::Type {
            place: place(),
            expected: T::EXPECTED,
            found,
        })
    }
}

trait Shape {
    /// What to call it in a refusal.
    const EXPECTED: &'static str;
}

/// How to read a [`Shape`] from JSON; what is not overridden is read over.
trait Read<'de>: Shape + Sized {
    fn text(_text: Cow<'de, str>) -> Seen<Self> {
        Seen::Other("a string")
    }
    fn map<A: MapAccess<'de>>(mut map: A, _limit: usize) -> Result<Seen<Self>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Seen::Other("an object"))
    }
    fn list<A: SeqAccess<'de>>(mut list: A, _limit: usize) -> Result<Seen<Self>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Seen::Other("a list"))
    }
}

/// Reads whatever comes, hoping for a `T`. `limit`: how many elements of a list to keep.
struct Want<T> {
    limit: usize,
    shape: PhantomData<T>,
}

impl<T> Want<T> {
    fn at_most(limit: usize) -> Self {
        Self {
            limit,
            shape: PhantomData,
        }
    }
}

impl<'de, T: Read<'de>> DeserializeSeed<'de> for Want<T> {
    type Value = Seen<T>;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Seen<T>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, T: Read<'de>> Visitor<'de> for Want<T> {
    type Value = Seen<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }
    fn visit_unit<E>(self) -> Result<Seen<T>, E> {
        Ok(Seen::Null)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Seen<T>, E> {
        Ok(Seen::Other("a boolean"))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Seen<T>, E> {
        Ok(Seen::Other("a number"))
    }
    fn visit_u64<E>(self, _: u64) -> Result<Seen<T>, E> {
        Ok(Seen::Other("a number"))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Seen<T>, E> {
        Ok(Seen::Other("a number"))
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Seen<T>, E> {
        Ok(T::text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Seen<T>, E> {
        Ok(T::text(Cow::Owned(text.to_owned())))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Seen<T>, A::Error> {
        T::map(map, self.limit)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Seen<T>, A::Error> {
        T::list(list, self.limit)
    }
}

#[derive(Debug)]
struct Text<'a>(Cow<'a, str>);

impl Shape for Text<'_> {
    const EXPECTED: &'static str = "a string";
}

impl<'de> Read<'de> for Text<'de> {
    fn text(text: Cow<'de, str>) -> Seen<Self> {
        Seen::Is(Self(text))
    }
}

/// A string whose content does not matter.
struct AnyText;

impl Shape for AnyText {
    const EXPECTED: &'static str = "a string";
}

impl<'de> Read<'de> for AnyText {
    fn text(_: Cow<'de, str>) -> Seen<Self> {
        Seen::Is(Self)
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

impl Shape for ExtraInfo {
    const EXPECTED: &'static str = "an object or null";
}

impl<'de> Read<'de> for ExtraInfo {
    fn map<A: MapAccess<'de>>(mut map: A, limit: usize) -> Result<Seen<Self>, A::Error> {
        let mut extra = Self::default();
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::Type => extra.kind = map.next_value_seed(Want::at_most(limit))?,
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

impl Shape for Requests<'_> {
    const EXPECTED: &'static str = "a list of requests";
}

impl<'de> Read<'de> for Requests<'de> {
    fn list<A: SeqAccess<'de>>(mut list: A, limit: usize) -> Result<Seen<Self>, A::Error> {
        let mut requests = Vec::new();
        while requests.len() < limit {
            match list.next_element_seed(Want::at_most(limit))? {
                Some(request) => requests.push(request),
                None => {
                    return Ok(Seen::Is(Self {
                        count: requests.len(),
                        list: requests,
                    }));
                }
            }
        }
        // A list that is too long is refused: count the rest without keeping it.
        let mut count = requests.len();
        while list.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Seen::Is(Self {
            list: requests,
            count,
        }))
    }
}

impl Shape for Outer<'_> {
    const EXPECTED: &'static str = "an object with data or multi_data";
}

impl<'de> Read<'de> for Outer<'de> {
    fn map<A: MapAccess<'de>>(mut map: A, limit: usize) -> Result<Seen<Self>, A::Error> {
        let mut outer = Self::default();
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::Data => outer.data = map.next_value_seed(Want::at_most(limit))?,
                Key::MultiData => outer.multi_data = map.next_value_seed(Want::at_most(limit))?,
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
    ExtraInfo,
    Item,
    Type,
    #[serde(other)]
    Unknown,
}

/// A MultiResponse, the answer to both requests.
#[derive(Debug, Serialize)]
pub struct MultiResponse {
    /// One entry per picture, in order.
    pub multi_data: Vec<Response>,
}

/// The answer for one picture.
#[derive(Debug, Serialize)]
pub struct Response {
    /// One score.
    pub data: [Score; 1],
    /// Where the score comes from.
    pub extra_info: Source,
}

/// A score as it leaves.
#[derive(Debug, Serialize)]
pub struct Score {
    /// The model's FP32 score widened to a double; finite.
    pub score: f64,
}

/// Where a score comes from.
#[derive(Debug, Serialize)]
pub struct Source {
    /// Always [`SOURCE`].
    pub source: &'static str,
}

impl Response {
    /// The entry of a picture with this score.
    pub fn scored(score: f32) -> Self {
        Self {
            data: [Score {
                score: f64::from(score),
            }],
            extra_info: Source { source: SOURCE },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(body: &str) -> Vec<String> {
        let body = parse(body.as_bytes(), 3).unwrap();
        body.items.into_iter().map(Cow::into_owned).collect()
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
        assert!(matches!(body.items[0], Cow::Borrowed("data:,AA/B")));
        assert!(matches!(&body.items[1], Cow::Owned(text) if text == "data:,AA/B"));
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
                "multi_data: expected a list of requests, found an object",
            ),
            (
                r#"{"multi_data":[]}"#,
                "multi_data: the list is empty; at least one picture is needed",
            ),
            (
                r#"{"multi_data":[1,2,3,4,5]}"#,
                "multi_data: 5 pictures in one request; at most 3 are allowed (--max_images)",
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
                "the body: expected an object with data or multi_data, found a list",
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
    fn answer_is_compact_and_in_order() {
        let answer = MultiResponse {
            multi_data: vec![Response::scored(0.931_274_35), Response::scored(1.0)],
        };
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            concat!(
                r#"{"multi_data":[{"data":[{"score":0.9312743544578552}],"#,
                r#""extra_info":{"source":"face_quality_score"}},"#,
                r#"{"data":[{"score":1.0}],"extra_info":{"source":"face_quality_score"}}]}"#
            )
        );
    }
}
