//! What stands at a place of a JSON body: the wanted type, null, nothing, or something else that a
//! refusal can name. Any JSON is read without an error; it is judged afterwards.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::request::ParseError;

/// What stands at a place where a `T` is wanted.
#[derive(Debug, Default)]
pub(super) enum Seen<T> {
    #[default]
    Absent,
    Null,
    Is(T),
    Other(&'static str),
}

impl<T: Shape> Seen<T> {
    pub(super) fn optional(self, place: impl Fn() -> String) -> Result<Option<T>, ParseError> {
        match self {
            Self::Absent | Self::Null => Ok(None),
            other => other.required(place).map(Some),
        }
    }

    pub(super) fn required(self, place: impl Fn() -> String) -> Result<T, ParseError> {
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

/// A type that is wanted somewhere.
pub(super) trait Shape {
    /// What to call it in a refusal.
    const EXPECTED: &'static str;
}

/// How to read a [`Shape`] from JSON; what is not overridden is read over.
pub(super) trait Read<'de>: Shape + Sized {
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
pub(super) struct Want<T> {
    limit: usize,
    shape: PhantomData<T>,
}

impl<T> Want<T> {
    pub(super) fn at_most(limit: usize) -> Self {
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

/// A string.
#[derive(Debug)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl Shape for Text<'_> {
    const EXPECTED: &'static str = "a string";
}

impl<'de> Read<'de> for Text<'de> {
    fn text(text: Cow<'de, str>) -> Seen<Self> {
        Seen::Is(Self(text))
    }
}

/// A string whose content does not matter.
pub(super) struct AnyText;

impl Shape for AnyText {
    const EXPECTED: &'static str = "a string";
}

impl<'de> Read<'de> for AnyText {
    fn text(_: Cow<'de, str>) -> Seen<Self> {
        Seen::Is(Self)
    }
}

/// A list.
pub(super) struct List<T> {
    /// The elements, at most as many as are allowed.
    pub(super) kept: Vec<Seen<T>>,
    /// All that were sent.
    pub(super) count: usize,
}

impl<T> Shape for List<T> {
    const EXPECTED: &'static str = "a list";
}

impl<'de, T: Read<'de>> Read<'de> for List<T> {
    fn list<A: SeqAccess<'de>>(mut list: A, limit: usize) -> Result<Seen<Self>, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < limit {
            match list.next_element_seed(Want::at_most(limit))? {
                Some(element) => kept.push(element),
                None => {
                    let count = kept.len();
                    return Ok(Seen::Is(Self { kept, count }));
                }
            }
        }
        // A list that is too long is refused: count the rest without keeping it.
        let mut count = kept.len();
        while list.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Seen::Is(Self { kept, count }))
    }
}
