//! Which image files the arguments of a command name: files as they are, folders by the image files
//! in them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Extensions of the image files in a folder; a file that is named itself may have any.
const EXTENSIONS: [&str; 6] = ["bmp", "jpe", "jpeg", "jpg", "png", "webp"];

/// The files, with each folder replaced by its image files and those of its subfolders, in order of
/// their names.
pub(super) fn expand(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        let metadata = std::fs::metadata(path).with_context(|| path.display().to_string())?;
        if metadata.is_dir() {
            walk(path, &mut files)?;
        } else {
            files.push(path.clone());
        }
    }
    if files.is_empty() {
        let paths: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
        bail!("no image files in {}", paths.join(", "));
    }
    Ok(files)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            walk(&path, files)?;
        } else if has_image_extension(&path) || begins_like_an_image(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn has_image_extension(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str()))
}

/// Whether a file without such an extension is an image all the same: exports of data sets name
/// theirs by number or hash.
fn begins_like_an_image(path: &Path) -> bool {
    let mut beginning = [0; 12];
    let is_file = path.metadata().is_ok_and(|metadata| metadata.is_file());
    // Only files: a pipe would wait for its writer.
    if !is_file || path.extension().is_some() {
        return false;
    }
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut beginning));
    read.is_ok()
        && match beginning {
            [0xFF, 0xD8, 0xFF, ..] | [0x89, b'P', b'N', b'G', ..] | [b'B', b'M', ..] => true,
            beginning => beginning.starts_with(b"RIFF") && beginning.ends_with(b"WEBP"),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_give_their_images_and_files_are_taken_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("sub")).unwrap();
        for name in ["b.PNG", "a.jpg", "README.md", "sub/c.webp", "sub/d.py"] {
            std::fs::write(at(name), "").unwrap();
        }
        std::fs::write(at("0017"), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").unwrap();
        std::fs::write(at("LICENSE"), "BSD, or the like").unwrap();
        let files = expand(&[at("README.md"), folder.path().to_owned()]).unwrap();
        let expected = ["README.md", "0017", "a.jpg", "b.PNG", "sub/c.webp"].map(at);
        assert_eq!(files, expected);
    }

    #[test]
    fn nothing_to_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let empty = expand(&[folder.path().to_owned()]).unwrap_err();
        assert!(empty.to_string().contains("no image files in"), "{empty}");
        assert!(expand(&[folder.path().join("missing")]).is_err());
    }
}
