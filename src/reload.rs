//! Values that are made of files and made anew when the files change: certificates that are renewed,
//! tokens that are rotated. No signal and no restart is needed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Between two looks at the files.
const INTERVAL: Duration = Duration::from_secs(1);

/// The value, and how to make it.
pub(crate) struct Reloaded<T> {
    files: Vec<PathBuf>,
    load: Box<dyn Fn() -> Result<T, String> + Send + Sync>,
    current: Mutex<Current<T>>,
}

struct Current<T> {
    value: T,
    stamps: Vec<Option<Stamp>>,
    checked: Instant,
}

/// What changes when a file is written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
}

impl Stamp {
    /// Follows links, as the volumes of Kubernetes need it: there a renewal changes a link.
    fn of(file: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(file).ok()?;
        Some(Self {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
        })
    }
}

impl<T: Clone> Reloaded<T> {
    /// Makes the value for the first time. `load` reads `files`.
    ///
    /// # Errors
    ///
    /// Those of `load`.
    pub(crate) fn new(
        files: Vec<PathBuf>,
        load: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        // Before the value: a change in between is found later.
        let stamps = files.iter().map(|file| Stamp::of(file)).collect();
        let value = load()?;
        Ok(Self {
            files,
            load: Box::new(load),
            current: Mutex::new(Current {
                value,
                stamps,
                checked: Instant::now(),
            }),
        })
    }

    /// The value of the files as they are now, or were up to a second ago. While they cannot be
    /// used, such as when one of two is renewed already, it stays what it was.
    pub(crate) fn get(&self) -> T {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if self.files.is_empty() || now.saturating_duration_since(current.checked) < INTERVAL {
            return current.value.clone();
        }
        current.checked = now;
        let stamps: Vec<_> = self.files.iter().map(|file| Stamp::of(file)).collect();
        if stamps != current.stamps {
            match (self.load)() {
                Ok(value) => {
                    tracing::info!(files = ?self.files, "files changed and were read again");
                    current.value = value;
                    current.stamps = stamps;
                }
                Err(error) => tracing::warn!(error, "changed files cannot be used yet"),
            }
        }
        current.value.clone()
    }
}

impl<T> fmt::Debug for Reloaded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value may be a secret.
        let files = &self.files;
        f.debug_struct("Reloaded")
            .field("files", files)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_read_again_and_a_broken_one_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, "one").unwrap();
        let read = file.clone();
        let reloaded = Reloaded::new(vec![file.clone()], move || {
            let text = fs::read_to_string(&read).map_err(|error| error.to_string())?;
            if text.is_empty() {
                Err("empty".to_owned())
            } else {
                Ok(text)
            }
        })
        .unwrap();
        fs::write(&file, "second").unwrap();
        assert_eq!(reloaded.get(), "one", "not looked at again so soon");
        advance(INTERVAL).await;
        assert_eq!(reloaded.get(), "second");
        fs::write(&file, "").unwrap();
        advance(INTERVAL).await;
        assert_eq!(reloaded.get(), "second");
        fs::remove_file(&file).unwrap();
        advance(INTERVAL).await;
        assert_eq!(reloaded.get(), "second");
        fs::write(&file, "the third").unwrap();
        advance(INTERVAL).await;
        assert_eq!(reloaded.get(), "the third");
    }

    #[test]
    fn a_file_that_cannot_be_used_at_first_is_an_error() {
        let load = || Err::<(), _>("no".to_owned());
        assert_eq!(Reloaded::new(Vec::new(), load).unwrap_err(), "no");
    }
}
