//! Item texts to image bytes: `data:` URIs, files below a folder, URLs.
//!
//! What is in the request itself is decoded by [`data_uri`] on a pixel thread; [`Fetcher`] reads the
//! rest. Texts of errors never quote what was sent: at most a host's name.

mod allow;
pub mod data_uri;
mod file;
mod url;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use allow::Allow;

/// Items of one request that are read at once.
const TURNS_PER_REQUEST: usize = 8;
/// What room for fetched images is counted in.
const ROOM_UNIT: usize = 1024;

/// Who is to blame for a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The caller's item is wrong or not allowed.
    Refused,
    /// The image has more bytes than `--max_item_bytes`.
    TooLarge,
    /// The URL's host did not give the image.
    Unreachable,
    /// A defect of this service.
    Internal,
}

/// Why an item gave no image bytes. The text never quotes content.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    cause: ErrorKind,
    text: String,
}

impl Error {
    fn new(cause: ErrorKind, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { cause, text }
    }

    fn refused(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, text)
    }

    /// Who is to blame.
    pub fn kind(&self) -> ErrorKind {
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
        let begins = |with: &str| {
            text.get(..with.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(with))
        };
        if data_uri::is_one(text.as_bytes()) {
            Ok(Self::Data(text))
        } else if begins("path:") {
            Ok(Self::Path(&text["path:".len()..]))
        } else if begins("http://") || begins("https://") {
            Ok(Self::Url(text))
        } else {
            Err(Error::refused(
                "an item begins with data:, path: or http(s)://; this one begins with none of them",
            ))
        }
    }
}

/// Where items other than `data:` may come from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--max_item_bytes`.
    pub max_item_bytes: usize,
    /// Bytes that the fetched images of all requests may hold at once (`--max_bytes_in_flight`).
    /// One image always fits.
    pub max_bytes: usize,
    /// `--data_dir`; without it `path:` items are refused.
    pub data_dir: Option<PathBuf>,
    /// `--item_url_timeout_ms`.
    pub url_timeout: Duration,
    /// `--item_url_allow`: hosts and addresses that may be fetched from though not public.
    pub url_allow: Vec<Allow>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_item_bytes: 16 << 20,
            max_bytes: 256 << 20,
            data_dir: None,
            url_timeout: Duration::from_secs(5),
            url_allow: Vec::new(),
        }
    }
}

/// Reads items that are not in the request itself.
#[derive(Debug)]
pub struct Fetcher {
    max_item_bytes: usize,
    folder: Option<file::Folder>,
    urls: url::Urls,
    room: Arc<Semaphore>,
}

/// The turns of one request: at most eight of its items are held at once.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(TURNS_PER_REQUEST)))
    }
}

/// A fetched image and what it occupies until its last [`Bytes`] is dropped.
struct Held {
    bytes: Vec<u8>,
    _turn: OwnedSemaphorePermit,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Fetcher {
    /// A fetcher of these settings.
    ///
    /// # Errors
    ///
    /// When a setting cannot be used, such as a data folder that is not there.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let folder = settings.data_dir.as_deref().map(file::Folder::new);
        let room = settings.max_bytes.max(settings.max_item_bytes);
        let units = room.div_ceil(ROOM_UNIT).min(u32::MAX as usize);
        Ok(Self {
            max_item_bytes: settings.max_item_bytes,
            folder: folder.transpose()?,
            urls: url::Urls::new(&settings.url_allow, settings.url_timeout)?,
            room: Arc::new(Semaphore::new(units)),
        })
    }

    /// `--max_item_bytes`.
    pub fn max_item_bytes(&self) -> usize {
        self.max_item_bytes
    }

    /// The bytes behind a `path:` or `http(s):` item. Waits for one of the request's turns, and for
    /// room among the images of all requests; both are given back when the bytes are dropped.
    ///
    /// The caller bounds the time: dropping the future ends the fetch.
    ///
    /// # Errors
    ///
    /// When it is refused or cannot be read.
    pub async fn fetch(&self, item: Item<'_>, turns: &Turns) -> Result<Bytes, Error> {
        let turn = permits(&turns.0, 1).await?;
        let max_bytes = self.max_item_bytes;
        let (bytes, room) = match item {
            Item::Path(name) => {
                let Some(folder) = &self.folder else {
                    return Err(Error::refused(
                        "path: items are refused: no folder is open to them (--data_dir)",
                    ));
                };
                let found = folder.find(name, max_bytes).await?;
                let room = self.room_for(found.length()).await?;
                (found.read().await?, room)
            }
            Item::Url(url) => {
                let answer = self.urls.get(url, max_bytes).await?;
                let mut room = self.room_for(answer.length().unwrap_or(max_bytes)).await?;
                let bytes = self.urls.read(answer, max_bytes).await?;
                let unused = room.num_permits() - units(bytes.len()).min(room.num_permits());
                drop(room.split(unused));
                (bytes, room)
            }
            Item::Data(_) => {
                let text = "a data: item was to be fetched; it is in the request itself";
                return Err(Error::new(ErrorKind::Internal, text));
            }
        };
        Ok(Bytes::from_owner(Held {
            bytes,
            _turn: turn,
            _room: room,
        }))
    }

    async fn room_for(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        permits(&self.room, units(bytes)).await
    }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(ROOM_UNIT)
}

async fn permits(of: &Arc<Semaphore>, count: usize) -> Result<OwnedSemaphorePermit, Error> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    Arc::clone(of)
        .acquire_many_owned(count)
        .await
        .map_err(|closed| {
            Error::new(
                ErrorKind::Internal,
                format!("no item can be fetched: {closed}"),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(Item::parse("data:,x").unwrap(), Item::Data("data:,x"));
        assert_eq!(Item::parse("path:a/b").unwrap(), Item::Path("a/b"));
        assert_eq!(Item::parse("http://a").unwrap(), Item::Url("http://a"));
        assert_eq!(Item::parse("HTTPS://a").unwrap(), Item::Url("HTTPS://a"));
        for text in [
            "",
            "d",
            " data:,x",
            "file:///a",
            "http:a",
            "ftp://a",
            "/etc/passwd",
            "d\u{e9}ta:",
        ] {
            let error = Item::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            for form in ["data:", "path:", "http(s)://"] {
                assert!(error.to_string().contains(form));
            }
        }
    }

    #[tokio::test]
    async fn without_a_folder_paths_are_refused() {
        let fetcher = Fetcher::new(Settings::default()).unwrap();
        let refused = fetcher
            .fetch(Item::Path("face.jpg"), &Turns::default())
            .await;
        assert!(refused.unwrap_err().to_string().contains("--data_dir"));
    }

    #[tokio::test]
    async fn turns_and_room_come_back_with_the_bytes() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("face"), vec![7; 2 * ROOM_UNIT]).unwrap();
        let fetcher = Fetcher::new(Settings {
            max_item_bytes: 3 * ROOM_UNIT,
            max_bytes: 0,
            data_dir: Some(dir.path().to_owned()),
            ..Settings::default()
        })
        .unwrap();
        let turns = Turns::default();
        let first = fetcher.fetch(Item::Path("face"), &turns).await.unwrap();
        assert_eq!(turns.0.available_permits(), TURNS_PER_REQUEST - 1);
        assert_eq!(fetcher.room.available_permits(), 1);

        let mut second = std::pin::pin!(fetcher.fetch(Item::Path("face"), &turns));
        tokio::select! {
            biased;
            _ = &mut second => panic!("there was no room"),
            () = first_is_waited_for(&turns) => {}
        }
        drop(first);
        assert_eq!(second.await.unwrap().len(), 2 * ROOM_UNIT);
        assert_eq!(turns.0.available_permits(), TURNS_PER_REQUEST);
        assert_eq!(fetcher.room.available_permits(), 3);
    }

    /// Until a second item has its turn.
    async fn first_is_waited_for(turns: &Turns) {
        while turns.0.available_permits() > TURNS_PER_REQUEST - 2 {
            tokio::task::yield_now().await;
        }
    }
}
