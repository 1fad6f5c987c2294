//! Item texts to image bytes: `data:` URIs, files below a folder, URLs.
//!
//! What is in the request itself is decoded by [`data_uri`] on a pixel thread; [`Fetcher`] reads the
//! rest. Error texts never quote what was sent: at most a host's name.

mod allow;
mod blocked;
pub mod data_uri;
mod file;
mod proxy;
mod resolver;
mod url;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::observe::metrics::Metrics;
use crate::recognise::{Place, recognise};

pub(crate) use allow::AllowRule;
pub(crate) use proxy::UrlProxy;

/// Items of one request that are held at once.
const FETCHES_PER_REQUEST: usize = 8;
/// The longest path or URL, in bytes: the limit of most servers, and parsing takes memory.
const MAX_NAME_BYTES: usize = 8 << 10;
/// The unit of the byte budget: a semaphore's permits are too few to count single bytes.
const BUDGET_UNIT: usize = 1024;

/// Whose fault it is that an item gave no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The caller's: the item is malformed or not allowed.
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
    kind: ErrorKind,
    text: String,
}

impl Error {
    fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { kind, text }
    }

    fn refused(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, text)
    }

    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// What an item text names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// `data:`: the whole text.
    Data(&'a str),
    /// `path:`: the text after the scheme.
    Path(&'a str),
    /// `http:` or `https:`: the whole text.
    Url(&'a str),
}

impl<'a> Item<'a> {
    /// Tells the forms apart.
    ///
    /// # Errors
    ///
    /// Another form, of which the message lists the valid ones, or a path or URL that is too long.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Error> {
        let has_scheme = |scheme: &str| {
            text.get(..scheme.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(scheme))
        };
        if data_uri::is_data_uri(text.as_bytes()) {
            Ok(Self::Data(text))
        } else if has_scheme("path:") {
            check_name_length("path", text)?;
            Ok(Self::Path(&text["path:".len()..]))
        } else if has_scheme("http://") || has_scheme("https://") {
            check_name_length("URL", text)?;
            Ok(Self::Url(text))
        } else {
            let expected = "an item must begin with data:, path: or http(s)://";
            Err(match recognise(text.as_bytes(), Place::Item) {
                Some(recognised) => Error::refused(format!("{expected}; {recognised}")),
                None => Error::refused(format!("{expected}; this one begins with none of them")),
            })
        }
    }
}

fn check_name_length(what: &str, text: &str) -> Result<(), Error> {
    if text.len() <= MAX_NAME_BYTES {
        return Ok(());
    }
    Err(Error::refused(format!(
        "the item's {what} has {} bytes; at most {MAX_NAME_BYTES} are allowed",
        text.len()
    )))
}

/// Where items other than `data:` may come from, and how much of them may be in memory.
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
    /// `--item_url_proxy`: resolves the hosts of URLs in this process' place.
    pub url_proxy: Option<UrlProxy>,
    /// `--item_url_allow`: hosts and addresses that may be fetched from although they are not public.
    pub url_allow: Vec<AllowRule>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_item_bytes: 16 << 20,
            max_bytes: 256 << 20,
            data_dir: None,
            url_timeout: Duration::from_secs(5),
            url_proxy: None,
            url_allow: Vec::new(),
        }
    }
}

/// Reads items that are not in the request itself.
#[derive(Debug)]
pub(crate) struct Fetcher {
    max_item_bytes: usize,
    data_dir: Option<file::DataDir>,
    urls: url::UrlFetcher,
    /// In units of [`BUDGET_UNIT`] bytes.
    byte_budget: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// Counts a fetch when it ends; one that is given up, too.
struct FetchCount<'a> {
    metrics: &'a Metrics,
    source: &'static str,
    outcome: &'static str,
}

impl Drop for FetchCount<'_> {
    fn drop(&mut self) {
        self.metrics.fetches(self.source, self.outcome).inc();
    }
}

impl ErrorKind {
    /// The value of the metrics' label `outcome`.
    fn outcome(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::Unreachable => "unreachable",
            Self::Internal => "internal",
        }
    }
}

/// The permits of one request: at most eight of its fetched items are held at once.
#[derive(Clone, Debug)]
pub(crate) struct FetchPermits(Arc<Semaphore>);

impl Default for FetchPermits {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(FETCHES_PER_REQUEST)))
    }
}

/// A fetched image and what it occupies until its last [`Bytes`] is dropped.
struct FetchedBytes {
    bytes: Vec<u8>,
    _permit: OwnedSemaphorePermit,
    _budget: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for FetchedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Fetcher {
    /// Opens the data folder and prepares the HTTP client.
    ///
    /// # Errors
    ///
    /// When a setting cannot be used, such as a data folder that does not exist.
    pub(crate) fn new(settings: Settings, metrics: Arc<Metrics>) -> Result<Self, Error> {
        let data_dir = settings.data_dir.as_deref().map(file::DataDir::new);
        let budget = settings.max_bytes.max(settings.max_item_bytes);
        let units = units(budget).min(u32::MAX as usize);
        Ok(Self {
            max_item_bytes: settings.max_item_bytes,
            data_dir: data_dir.transpose()?,
            urls: url::UrlFetcher::new(
                &settings.url_allow,
                settings.url_proxy.as_ref(),
                settings.url_timeout,
            )?,
            byte_budget: Arc::new(Semaphore::new(units)),
            metrics,
        })
    }

    /// `--max_item_bytes`.
    pub(crate) fn max_item_bytes(&self) -> usize {
        self.max_item_bytes
    }

    /// The bytes of a `path:` or `http(s):` item. Waits for one of the request's permits, and for its
    /// share of the byte budget of all requests; both are given back when the bytes are dropped.
    ///
    /// The caller bounds the time: dropping the future ends the fetch.
    ///
    /// # Errors
    ///
    /// When it is refused or cannot be read.
    pub(crate) async fn fetch(
        &self,
        item: Item<'_>,
        permits: &FetchPermits,
    ) -> Result<Bytes, Error> {
        let mut count = FetchCount {
            metrics: &self.metrics,
            source: match item {
                Item::Url(_) => "url",
                Item::Path(_) | Item::Data(_) => "path",
            },
            outcome: "canceled",
        };
        let fetched = self.fetch_uncounted(item, permits).await;
        count.outcome = match &fetched {
            Ok(_) => "ok",
            Err(error) => error.kind.outcome(),
        };
        fetched
    }

    async fn fetch_uncounted(
        &self,
        item: Item<'_>,
        permits: &FetchPermits,
    ) -> Result<Bytes, Error> {
        let permit = acquire(&permits.0, 1).await?;
        let max_bytes = self.max_item_bytes;
        let (bytes, budget) = match item {
            Item::Path(name) => {
                let Some(data_dir) = &self.data_dir else {
                    return Err(Error::refused(
                        "path: items are disabled: --data_dir opens a folder to them",
                    ));
                };
                let file = data_dir.open(name, max_bytes).await?;
                let budget = self.reserve(file.length()).await?;
                (file.read().await?, budget)
            }
            Item::Url(url) => {
                let response = self.urls.get(url, max_bytes).await?;
                let announced = response.length().unwrap_or(max_bytes);
                let mut budget = self.reserve(announced).await?;
                let bytes = self.urls.read(response, max_bytes).await?;
                let unused = budget.num_permits().saturating_sub(units(bytes.len()));
                drop(budget.split(unused));
                (bytes, budget)
            }
            Item::Data(_) => {
                let text = "internal error: a data: item is not fetched: the request holds it";
                return Err(Error::new(ErrorKind::Internal, text));
            }
        };
        Ok(Bytes::from_owner(FetchedBytes {
            bytes,
            _permit: permit,
            _budget: budget,
        }))
    }

    async fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        acquire(&self.byte_budget, units(bytes)).await
    }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(BUDGET_UNIT)
}

async fn acquire(semaphore: &Arc<Semaphore>, count: usize) -> Result<OwnedSemaphorePermit, Error> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    Arc::clone(semaphore)
        .acquire_many_owned(count)
        .await
        .map_err(|closed| Error::new(ErrorKind::Internal, format!("internal error: {closed}")))
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

    #[test]
    fn long_names_are_refused_before_they_are_parsed() {
        for scheme in ["path:", "http://a/", "https://a/"] {
            let name = |bytes: usize| scheme.to_owned() + &"x".repeat(bytes - scheme.len());
            assert!(Item::parse(&name(MAX_NAME_BYTES)).is_ok());
            let error = Item::parse(&name(MAX_NAME_BYTES + 1)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().contains("at most 8192"), "{error}");
        }
    }

    #[tokio::test]
    async fn without_a_folder_paths_are_refused() {
        let fetcher = Fetcher::new(Settings::default(), Arc::default()).unwrap();
        let refused = fetcher
            .fetch(Item::Path("face.jpg"), &FetchPermits::default())
            .await;
        assert!(refused.unwrap_err().to_string().contains("--data_dir"));
    }

    #[tokio::test]
    async fn permits_and_budget_come_back_with_the_bytes() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("face"), vec![7; 2 * BUDGET_UNIT]).unwrap();
        let settings = Settings {
            max_item_bytes: 3 * BUDGET_UNIT,
            max_bytes: 0,
            data_dir: Some(dir.path().to_owned()),
            ..Settings::default()
        };
        let fetcher = Fetcher::new(settings, Arc::default()).unwrap();
        let permits = FetchPermits::default();
        let first = fetcher.fetch(Item::Path("face"), &permits).await.unwrap();
        assert_eq!(permits.0.available_permits(), FETCHES_PER_REQUEST - 1);
        assert_eq!(fetcher.byte_budget.available_permits(), 1);

        let mut second = std::pin::pin!(fetcher.fetch(Item::Path("face"), &permits));
        tokio::select! {
            biased;
            _ = &mut second => panic!("the budget was not waited for"),
            () = second_has_its_permit(&permits) => {}
        }
        drop(first);
        assert_eq!(second.await.unwrap().len(), 2 * BUDGET_UNIT);
        assert_eq!(permits.0.available_permits(), FETCHES_PER_REQUEST);
        assert_eq!(fetcher.byte_budget.available_permits(), 3);
    }

    /// Until a second item has its permit.
    async fn second_has_its_permit(permits: &FetchPermits) {
        while permits.0.available_permits() > FETCHES_PER_REQUEST - 2 {
            tokio::task::yield_now().await;
        }
    }
}
