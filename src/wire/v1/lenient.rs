//! A field of a JSON body, which may hold the wanted type, null, nothing, or something else that a
//! refusal can name. Any JSON is read without an error; it is judged afterwards.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Another type than the schema's stands at a place.
#[derive(Debug, thiserror::Error)]
#[error("{place}: expected {expected}, found {found}")]
pub struct TypeError {
    place: String,
    expected: &'static str,
    found: &'static str,
}

impl TypeError {
    /// The same, of a place inside another.
    pub(super) fn under(mut self, outer: &str) -> Self {
        self.place = format!("{outer}.{}", self.place);
        self
    }
}

/// What stands at a place where a `T` is wanted.
#[derive(Debug, Default)]
pub(super) enum Field<T> {
    #[default]
    Absent,
    Null,
    Is(T),
    Other(&'static str),
}

impl<T> Field<T> {
    /// Turns a value of the wanted type into another.
    pub(super) fn map<U>(self, convert: impl FnOnce(T) -> U) -> Field<U> {
        match self {
            Self::Absent => Field::Absent,
            Self::Null => Field::Null,
            Self::Is(value) => Field::Is(convert(value)),
            Self::Other(found) => Field::Other(found),
        }
    }
}

impl<T: Expected> Field<T> {
    pub(super) fn optional(self, place: impl Fn() -> String) -> Result<Option<T>, TypeError> {
        match self {
            Self::Absent | Self::Null => Ok(None),
            other => other.required(place).map(Some),
        }
    }

    pub(super) fn required(self, place: impl Fn() -> String) -> Result<T, TypeError> {
        let found = match self {
            Self::Is(value) => return Ok(value),
            Self::Absent => "nothing",
            Self::Null => "null",
            Self::Other(found) => found,
        };
        Err(TypeError {
            place: place(),
            expected: T::EXPECTED,
            found,
        })
    }
}

/// A type that is wanted somewhere.
pub(super) trait Expected {
    /// What to call it in a refusal.
    const EXPECTED: &'static str;
}

/// How to read a wanted type from JSON; whatever is not overridden is skipped.
pub(super) trait FromJson<'de>: Expected + Sized {
    fn from_text(_text: Cow<'de, str>) -> Field<Self> {
        Field::Other("a string")
    }
    fn from_map<A: MapAccess<'de>>(mut map: A, _limit: usize) -> Result<Field<Self>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Other("an object"))
    }
    fn from_list<A: SeqAccess<'de>>(mut list: A, _limit: usize) -> Result<Field<Self>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Other("a list"))
    }
}

/// Reads any JSON where a `T` is wanted. `limit`: how many elements of a list to keep.
pub(super) struct FieldSeed<T> {
    limit: usize,
    wanted: PhantomData<T>,
}

impl<T> FieldSeed<T> {
    pub(super) fn at_most(limit: usize) -> Self {
        Self {
            limit,
            wanted: PhantomData,
        }
    }
}

impl<'de, T: FromJson<'de>> DeserializeSeed<'de> for FieldSeed<T> {
    type Value = Field<T>;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Field<T>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, T: FromJson<'de>> Visitor<'de> for FieldSeed<T> {
    type Value = Field<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }
    fn visit_unit<E>(self) -> Result<Field<T>, E> {
        Ok(Field::Null)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Field<T>, E> {
        Ok(Field::Other("a boolean"))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Field<T>, E> {
        Ok(Field::Other("a number"))
    }
    fn visit_u64<E>(self, _: u64) -> Result<Field<T>, E> {
        Ok(Field::Other("a number"))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Field<T>, E> {
        Ok(Field::Other("a number"))
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Field<T>, E> {
        Ok(T::from_text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Field<T>, E> {
        Ok(T::from_text(Cow::Owned(text.to_owned())))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Field<T>, A::Error> {
        T::from_map(map, self.limit)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Field<T>, A::Error> {
        T::from_list(list, self.limit)
    }
}

/// A string.
#[derive(Debug)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl Expected for Text<'_> {
    const EXPECTED: &'static str = "a string";
}

impl<'de> FromJson<'de> for Text<'de> {
    fn from_text(text: Cow<'de, str>) -> Field<Self> {
        Field::Is(Self(text))
    }
}

/// A string whose content does not matter.
pub(super) struct AnyText;

impl Expected for AnyText {
    const EXPECTED: &'static str = "a string";
}

impl<'de> FromJson<'de> for AnyText {
    fn from_text(_: Cow<'de, str>) -> Field<Self> {
        Field::Is(Self)
    }
}

/// A list.
pub(super) struct List<T> {
    /// The elements, at most as many as are allowed.
    pub(super) elements: Vec<Field<T>>,
    /// All that were sent.
    pub(super) count: usize,
}

impl<T> Expected for List<T> {
    const EXPECTED: &'static str = "a list";
}

impl<'de, T: FromJson<'de>> FromJson<'de> for List<T> {
    fn from_list<A: SeqAccess<'de>>(mut list: A, limit: usize) -> Result<Field<Self>, A::Error> {
        let mut elements = Vec::new();
        while elements.len() < limit {
            match list.next_element_seed(FieldSeed::at_most(limit))? {
                Some(element) => elements.push(element),
                None => {
                    let count = elements.len();
                    return Ok(Field::Is(Self { elements, count }));
                }
            }
        }
        // A list that is too long is refused: count the rest without keeping it.
        let mut count = elements.len();
        while list.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Field::Is(Self { elements, count }))
    }
}
