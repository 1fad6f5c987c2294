//! `path:FILE` to an open file, of one folder only.
//!
//! A name is resolved by the kernel, symlinks included; what counts is the file that it led to. That
//! file is first opened with `O_PATH`, which has no effect on it and cannot hang on a FIFO. Whether
//! it is a regular file below the folder is then checked on the open file, not on the name, and it
//! is read through that same descriptor, so that a link changed meanwhile has no effect.

use std::path::{Component, Path, PathBuf};

use super::{Error, ErrorKind, data_uri};

/// The folder that `path:` items are read from (`--data_dir`).
#[derive(Debug)]
pub(super) struct DataDir {
    /// Absolute and without symlinks.
    root: PathBuf,
}

/// A file below the folder, open for reading.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: tokio::fs::File,
    length: usize,
}

impl DataDir {
    /// Resolves the folder's name once: symlinks changed later do not move it.
    pub(super) fn new(dir: &Path) -> Result<Self, Error> {
        let unusable = |why: String| {
            let dir = dir.display();
            Error::refused(format!("cannot use the folder {dir} (--data_dir): {why}"))
        };
        let root = dir.canonicalize().map_err(|e| unusable(e.to_string()))?;
        if !root.is_dir() {
            return Err(unusable("not a folder".to_owned()));
        }
        Ok(Self { root })
    }

    /// Opens the file that a `path:` item names, of at most `max_bytes`.
    pub(super) async fn open(&self, name: &str, max_bytes: usize) -> Result<OpenFile, Error> {
        let path = Path::new(name);
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(Error::refused("path: items must not contain .."));
        }
        let path = self.root.join(path);
        let handle = open_handle(&path).await.map_err(|error| {
            // Callers must not learn which files exist outside of the folder.
            if path.starts_with(&self.root) {
                cannot_read(&error)
            } else {
                outside()
            }
        })?;
        if !real_path(&handle).await?.starts_with(&self.root) {
            return Err(outside());
        }
        let metadata = handle.metadata().await.map_err(|e| cannot_read(&e))?;
        if !metadata.is_file() {
            return Err(Error::refused("the path: item is not a regular file"));
        }
        let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        data_uri::check_length(length, max_bytes)?;
        let file = open_for_reading(&handle)
            .await
            .map_err(|e| cannot_read(&e))?;
        Ok(OpenFile { file, length })
    }
}

impl OpenFile {
    /// Its length in bytes when it was opened.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Its bytes; of a file that grows meanwhile, no more than it had when it was opened.
    pub(super) async fn read(self) -> Result<Vec<u8>, Error> {
        use tokio::io::AsyncReadExt as _;

        let mut bytes = Vec::with_capacity(self.length);
        let mut file = self.file.take(self.length as u64);
        file.read_to_end(&mut bytes)
            .await
            .map_err(|e| cannot_read(&e))?;
        if bytes.is_empty() {
            return Err(Error::refused("the path: item is an empty file"));
        }
        Ok(bytes)
    }
}

fn outside() -> Error {
    Error::refused("the path: item is not below the folder of --data_dir")
}

fn cannot_read(error: &std::io::Error) -> Error {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};

    Error::refused(match error.kind() {
        NotFound | NotADirectory => "the path: item names no such file".to_owned(),
        PermissionDenied => "no permission to read the path: item's file".to_owned(),
        kind => format!("cannot read the path: item's file: {kind}"),
    })
}

#[cfg(target_os = "linux")]
mod handle {
    use std::io;
    use std::os::fd::AsRawFd as _;
    use std::path::{Path, PathBuf};

    use tokio::fs::{File, OpenOptions};

    /// The kernel's link to an open file.
    fn link(handle: &File) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()))
    }

    pub(super) async fn open_handle(path: &Path) -> io::Result<File> {
        let flags = libc::O_PATH | libc::O_CLOEXEC;
        OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(path)
            .await
    }

    pub(super) async fn read_link(handle: &File) -> io::Result<PathBuf> {
        tokio::fs::read_link(link(handle)).await
    }

    pub(super) async fn open_for_reading(handle: &File) -> io::Result<File> {
        File::open(link(handle)).await
    }
}

/// Other systems have no `O_PATH`, so nothing is opened there.
#[cfg(not(target_os = "linux"))]
mod handle {
    use std::io::{Error, ErrorKind, Result};
    use std::path::{Path, PathBuf};

    use tokio::fs::File;

    pub(super) async fn open_handle(_path: &Path) -> Result<File> {
        Err(Error::from(ErrorKind::Unsupported))
    }

    pub(super) async fn read_link(_handle: &File) -> Result<PathBuf> {
        Err(Error::from(ErrorKind::Unsupported))
    }

    pub(super) async fn open_for_reading(_handle: &File) -> Result<File> {
        Err(Error::from(ErrorKind::Unsupported))
    }
}

use handle::{open_for_reading, open_handle};

/// The path of an open file as the kernel knows it, without symlinks.
async fn real_path(handle: &tokio::fs::File) -> Result<PathBuf, Error> {
    handle::read_link(handle).await.map_err(|error| {
        Error::new(
            ErrorKind::Internal,
            format!(
                "cannot read /proc, which path: items need: {}",
                error.kind()
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::Mode;

    use super::*;

    /// A folder `data` with images, beside files that must stay out of reach.
    struct Disk {
        top: tempfile::TempDir,
        data_dir: DataDir,
    }

    impl Disk {
        fn new() -> Self {
            let top = tempfile::tempdir().unwrap();
            let data = top.path().join("data");
            std::fs::create_dir_all(data.join("sub")).unwrap();
            std::fs::write(data.join("face.jpg"), b"a face").unwrap();
            std::fs::write(data.join("sub/deep.jpg"), b"deep").unwrap();
            std::fs::write(data.join("empty.jpg"), b"").unwrap();
            std::fs::write(top.path().join("secret"), b"secret").unwrap();
            std::fs::create_dir(top.path().join("data-other")).unwrap();
            std::fs::write(top.path().join("data-other/face.jpg"), b"other").unwrap();
            let data_dir = DataDir::new(&data).unwrap();
            Self { top, data_dir }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.top.path().join(name)
        }

        async fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
            self.data_dir.open(name, 6).await?.read().await
        }

        async fn refusal(&self, name: &str) -> String {
            let error = self.read(name).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{name}: {error}");
            error.to_string()
        }
    }

    #[tokio::test]
    async fn files_below_the_folder() {
        let disk = Disk::new();
        symlink("face.jpg", disk.at("data/near")).unwrap();
        symlink(disk.at("data/sub"), disk.at("data/absolute")).unwrap();
        symlink(disk.at("data"), disk.at("way-in")).unwrap();
        for (name, content) in [
            ("face.jpg".to_owned(), &b"a face"[..]),
            ("./face.jpg".to_owned(), b"a face"),
            ("sub//deep.jpg".to_owned(), b"deep"),
            ("near".to_owned(), b"a face"),
            ("absolute/deep.jpg".to_owned(), b"deep"),
            (disk.at("data/face.jpg").display().to_string(), b"a face"),
            (disk.at("way-in/face.jpg").display().to_string(), b"a face"),
        ] {
            assert_eq!(disk.read(&name).await.unwrap(), content, "{name}");
        }
    }

    #[tokio::test]
    async fn names_that_lead_elsewhere() {
        let disk = Disk::new();
        symlink("../secret", disk.at("data/out")).unwrap();
        symlink("/etc", disk.at("data/etc")).unwrap();
        symlink("loop", disk.at("data/loop")).unwrap();
        symlink("/dev/zero", disk.at("data/zero")).unwrap();
        for (name, words) in [
            ("out".to_owned(), "not below the folder of --data_dir"),
            ("etc/passwd".to_owned(), "not below"),
            ("zero".to_owned(), "not below"),
            ("/etc/passwd".to_owned(), "not below"),
            ("/etc/no such file".to_owned(), "not below"),
            ("/proc/self/environ".to_owned(), "not below"),
            (disk.at("secret").display().to_string(), "not below"),
            (
                disk.at("data-other/face.jpg").display().to_string(),
                "not below",
            ),
            ("../secret".to_owned(), "must not contain .."),
            ("sub/../face.jpg".to_owned(), "must not contain .."),
            ("../../etc/passwd".to_owned(), "must not contain .."),
            ("loop".to_owned(), "cannot read"),
            ("missing.jpg".to_owned(), "no such file"),
            ("face.jpg/more".to_owned(), "no such file"),
            ("face\0.jpg".to_owned(), "cannot read"),
            ("x".repeat(5000), "cannot read"),
            (String::new(), "not a regular file"),
            ("sub".to_owned(), "not a regular file"),
            ("empty.jpg".to_owned(), "an empty file"),
        ] {
            let refusal = disk.refusal(&name).await;
            assert!(refusal.contains(words), "{name}: {refusal}");
        }
    }

    #[tokio::test]
    async fn special_files_are_refused_without_opening_them() {
        let disk = Disk::new();
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            disk.at("data/fifo"),
            Mode::RUSR | Mode::WUSR,
        )
        .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(disk.at("data/socket")).unwrap();
        for name in ["fifo", "socket"] {
            assert!(
                disk.refusal(name).await.contains("not a regular file"),
                "{name}"
            );
        }
    }

    #[tokio::test]
    async fn the_limit_is_checked_before_reading() {
        let disk = Disk::new();
        let file = std::fs::File::create(disk.at("data/big")).unwrap();
        file.set_len(1 << 40).unwrap();
        let error = disk.read("big").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(error.to_string().contains("--max_item_bytes"));
    }

    #[tokio::test]
    async fn a_name_changed_after_opening_has_no_effect() {
        let disk = Disk::new();
        let file = disk.data_dir.open("face.jpg", 6).await.unwrap();
        std::fs::remove_file(disk.at("data/face.jpg")).unwrap();
        symlink("../secret", disk.at("data/face.jpg")).unwrap();
        assert_eq!(file.read().await.unwrap(), b"a face");
    }

    #[test]
    fn folders_that_cannot_be_used() {
        let disk = Disk::new();
        for name in ["nowhere", "secret"] {
            let error = DataDir::new(&disk.at(name)).unwrap_err().to_string();
            assert!(error.contains("--data_dir"), "{error}");
        }
    }
}
