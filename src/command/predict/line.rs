//! A file's result: a line of JSON, or of a table for a person.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::scorer::{Found, only};

/// A file's result.
#[derive(Serialize)]
pub(super) struct Line {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    faces: Option<Vec<Found>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) annotated: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

impl Line {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.display().to_string(),
            score: None,
            faces: None,
            annotated: None,
            error: None,
        }
    }

    /// What was found; with `photos` that are faces.
    pub(super) fn fill(&mut self, scored: anyhow::Result<Vec<Found>>, photos: bool) {
        let filled = scored.and_then(|found| {
            if photos {
                self.faces = Some(found);
            } else {
                self.score = Some(only(found)?);
            }
            Ok(())
        });
        self.error = filled.err().map(|error| format!("{error:#}"));
    }
}

/// A line for each image, or with `photos` one for each face.
pub(super) fn print_table(out: &mut impl Write, lines: &[Line], photos: bool) -> io::Result<()> {
    let widths = lines.iter().map(|line| line.file.chars().count());
    let width = widths.max().unwrap_or(0).max(4);
    if photos {
        writeln!(
            out,
            "{:<width$}  number  score   detection  left  top  width  height",
            "file"
        )?;
    } else {
        writeln!(out, "{:<width$}  score", "file")?;
    }
    for line in lines {
        let file = &line.file;
        if let Some(error) = &line.error {
            writeln!(out, "{file:<width$}  error: {error}")?;
        } else if let Some(score) = line.score {
            writeln!(out, "{file:<width$}  {score:.4}")?;
        } else {
            faces(out, line, width)?;
        }
    }
    Ok(())
}

fn faces(out: &mut impl Write, line: &Line, width: usize) -> io::Result<()> {
    let faces = line.faces.as_deref().unwrap_or_default();
    let file = &line.file;
    if faces.is_empty() {
        return writeln!(out, "{file:<width$}  no faces found");
    }
    for (index, found) in faces.iter().enumerate() {
        let (number, score) = (index + 1, found.score);
        write!(out, "{file:<width$}  {number:>6}  {score:.4}")?;
        match &found.place {
            Some(place) => {
                let [left, top, box_width, height] = place.rect;
                let detection = place.detection;
                writeln!(
                    out,
                    "  {detection:>9.3}  {left:>4.0}  {top:>3.0}  {box_width:>5.0}  {height:>6.0}"
                )?;
            }
            None => writeln!(out)?,
        }
    }
    Ok(())
}
