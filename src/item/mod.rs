//! Item texts to picture bytes: `data:` URIs, files below a folder, URLs.

pub mod data_uri;

/// Who is to blame for a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The caller's item is wrong or not allowed.
    Refused,
    /// The picture has more bytes than `--max_item_bytes`.
    TooLarge,
    /// The URL's host did not give the picture.
    Unreachable,
    /// A defect of this service.
    Bug,
}

/// Why an item gave no picture bytes. The text never quotes content.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    cause: Cause,
    text: String,
}

impl Error {
    fn new(cause: Cause, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { cause, text }
    }

    fn refused(text: impl Into<String>) -> Self {
        Self::new(Cause::Refused, text)
    }

    /// Who is to blame.
    pub fn cause(&self) -> Cause {
        self.cause
    }
}

/// What an item text names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// `data:`: the whole text.
    Data(&'a str),
    /// `path:`: what stands behind it.
    Path(&'a str),
    /// `http:` or `https:`: the whole text.
    Url(&'a str),
}

impl<'a> Item<'a> {
    /// Tells the forms apart.
    ///
    /// # Errors
    ///
    /// Another form; the message lists the three.
    pub fn parse(text: &'a str) -> Result<Self, Error> {
        if text.starts_with("data:") {
            Ok(Self::Data(text))
        } else if let Some(path) = text.strip_prefix("path:") {
            Ok(Self::Path(path))
        } else if text.starts_with("http://") || text.starts_with("https://") {
            Ok(Self::Url(text))
        } else {
            Err(Error {
                cause: Cause::Refused,
                text: "an item begins with data:, path: or http(s)://; this one begins with none \
                       of them"
                    .to_owned(),
            })
        }
    }
}

/// Where items other than `data:` may come from.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `--max_item_bytes`.
    pub max_item_bytes: usize,
}

/// Reads items that are not in the request itself.
#[derive(Debug)]
pub struct Fetcher {
    settings: Settings,
}

impl Fetcher {
    /// A fetcher of these settings.
    ///
    /// # Errors
    ///
    /// When a setting cannot be used, such as a data folder that is not there.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self { settings })
    }

    /// `--max_item_bytes`.
    pub fn max_item_bytes(&self) -> usize {
        self.settings.max_item_bytes
    }

    /// The bytes behind a `path:` or `http(s):` item.
    ///
    /// # Errors
    ///
    /// When it is refused or cannot be read.
    pub async fn fetch(&self, item: Item<'_>) -> Result<bytes::Bytes, Error> {
        let flag = match item {
            Item::Path(_) => "path: items are not enabled",
            _ => "http(s): items are not enabled",
        };
        Err(Error {
            cause: Cause::Refused,
            text: flag.to_owned(),
        })
    }
}
