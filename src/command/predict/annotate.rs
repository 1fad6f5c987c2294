//! A copy of an image with what was found drawn on it, and where copies go.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::draw::{Canvas, Colour};
use super::scorer::Found;
use crate::pixel::{Options, Scratch, decode_owned};

const BOX: Colour = [0, 220, 90];
const LANDMARK: Colour = [255, 200, 0];
const INK: Colour = [255; 3];
const GROUND: Colour = [0; 3];

/// Pixels of the longer side of an image in a terminal.
const TERMINAL_SIDE: u32 = 800;

/// Lines are one pixel thick for every so many pixels of the longer side.
const SIDE_OF_LINE: u32 = 400;

/// What the name of a copy ends with.
const ENDING: &str = "annotated.png";

/// An image with boxes, landmarks and scores.
pub(super) struct Annotated(Canvas);

impl Annotated {
    /// Draws on a copy of the pixels that the boxes are told in.
    pub(super) fn draw(image: &[u8], found: &[Found]) -> anyhow::Result<Self> {
        let decoded = decode_owned(image, &Options::DEFAULT, &mut Scratch::default())?;
        let mut canvas = Canvas::of(&decoded);
        let [width, height] = canvas.size();
        let line = i64::from((width.max(height) / SIDE_OF_LINE).max(1));
        for found in found {
            let mut corner = [0, 0];
            if let Some(place) = &found.place {
                canvas.rectangle(place.rect, line, BOX);
                for landmark in place.landmarks {
                    canvas.dot(landmark, line, LANDMARK);
                }
                let above = place.rect[1].round() as i64 - Canvas::number_height(line);
                corner = [place.rect[0].round() as i64, above];
            }
            canvas.number(corner, line, &format!("{:.3}", found.score), [INK, GROUND]);
        }
        Ok(Self(canvas))
    }

    /// A PNG that is small enough to be written to a terminal.
    pub(super) fn for_terminal(&self) -> anyhow::Result<Vec<u8>> {
        Ok(self.0.within(TERMINAL_SIDE).png()?)
    }

    /// Writes the copy. What stands there is replaced as a whole: a link is not followed.
    pub(super) fn save(&self, copy: &Path) -> anyhow::Result<()> {
        let part = copy.with_extension("part");
        let written = fs::write(&part, self.0.png()?).and_then(|()| fs::rename(&part, copy));
        written.with_context(|| copy.display().to_string())
    }
}

/// Where the copy of each file goes: into the folder, which is made, under names of their own. None of
/// them is one of the files.
pub(super) fn copies(folder: &Path, files: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).with_context(|| format!("--annotate {}", folder.display()))?;
    let sources: BTreeSet<_> = files
        .iter()
        .filter_map(|file| file.canonicalize().ok())
        .collect();
    let mut names = BTreeSet::new();
    let mut copies = Vec::with_capacity(files.len());
    for file in files {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let mut name = format!("{stem}.{ENDING}");
        let mut number = 1;
        while !names.insert(name.clone()) {
            number += 1;
            name = format!("{stem}-{number}.{ENDING}");
        }
        let copy = folder.join(name);
        if copy
            .canonicalize()
            .is_ok_and(|copy| sources.contains(&copy))
        {
            bail!(
                "--annotate: {} is one of the images; name another folder",
                copy.display()
            );
        }
        copies.push(copy);
    }
    Ok(copies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_have_names_of_their_own_and_are_no_sources() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("in")).unwrap();
        for name in ["in/a.jpg", "in/a.png", "a.annotated.png"] {
            fs::write(at(name), "").unwrap();
        }
        let out = at("out");
        let files = [at("in/a.jpg"), at("in/a.png")];
        let expected = ["a.annotated.png", "a-2.annotated.png"].map(|name| out.join(name));
        assert_eq!(copies(&out, &files).unwrap(), expected);
        let files = [at("in/a.jpg"), at("a.annotated.png")];
        let error = copies(folder.path(), &files).unwrap_err().to_string();
        assert!(error.contains("is one of the images"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_copy_replaces_a_link_and_not_what_it_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let (source, copy) = (folder.path().join("s"), folder.path().join("c.png"));
        fs::write(&source, "as it was").unwrap();
        std::os::unix::fs::symlink(&source, &copy).unwrap();
        let image = fs::read("data/images/face.png").unwrap();
        Annotated::draw(&image, &[]).unwrap().save(&copy).unwrap();
        assert_eq!(fs::read(&source).unwrap(), b"as it was");
        assert!(fs::read(&copy).unwrap().starts_with(b"\x89PNG"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
