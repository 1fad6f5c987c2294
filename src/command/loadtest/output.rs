//! A file that is written at the end, but tried before the work that it is to hold.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

/// A file that can be written. What was in it stays until [`OutputFile::write`]; if nothing is
/// written, a file that was not there before is removed again.
pub(super) struct OutputFile {
    path: PathBuf,
    file: File,
    is_new: bool,
}

impl OutputFile {
    /// Opens the file for writing.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true);
        match options.clone().create_new(true).open(&path) {
            Ok(file) => Ok(Self {
                path,
                file,
                is_new: true,
            }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Self {
                file: options.open(&path)?,
                path,
                is_new: false,
            }),
            Err(error) => Err(error),
        }
    }

    /// Replaces what is in the file.
    pub(super) fn write(mut self, text: &str) -> io::Result<()> {
        self.is_new = false;
        // A pipe or a terminal cannot be cut, and need not be.
        let _ = self.file.set_len(0);
        self.file.write_all(text.as_bytes())
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if self.is_new {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_stays_until_there_is_something_better() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.html");
        drop(OutputFile::open(path.clone()).unwrap());
        assert!(!path.exists());

        let text = || fs::read_to_string(&path).unwrap();
        OutputFile::open(path.clone())
            .unwrap()
            .write("long")
            .unwrap();
        assert_eq!(text(), "long");
        drop(OutputFile::open(path.clone()).unwrap());
        assert_eq!(text(), "long");
        OutputFile::open(path.clone())
            .unwrap()
            .write("new")
            .unwrap();
        assert_eq!(text(), "new");
        assert!(OutputFile::open(folder.path().join("missing/x")).is_err());
    }
}
