//! A golden set: what OpenCV made of images, and how this program's tensors compare with it.
//!
//! `data/golden/write_golden.py` writes one: a folder with `manifest.json`, and for each image the
//! tensor (`NAME.tensor.f32`, FP32 little-endian, red, green and blue plane) unless only hashes were
//! asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::faces::{PLANE_BYTES, SIDE};
use crate::pixel::{self, ExifOrientation, Formats, Options, Scratch};

/// The difference between two neighbouring grey levels in a tensor.
const GREY_LEVEL: f32 = 1.0 / 128.0;

/// The files are the user's own: memory is the only limit they need.
const OPTIONS: Options = Options {
    max_pixels: u64::MAX,
    exif_orientation: ExifOrientation::Ignore,
    formats: Formats::ALL,
};

/// A golden set.
#[derive(Debug)]
pub struct Golden {
    folder: PathBuf,
    images: PathBuf,
    manifest: Manifest,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    opencv: String,
    /// The processor that OpenCV ran on, as Python names it.
    machine: Option<String>,
    files: BTreeMap<String, Entry>,
}

/// What the set records of one image.
#[derive(Debug, Deserialize)]
pub struct Entry {
    /// Why OpenCV rejected it; then there is nothing else.
    error: Option<String>,
    /// The hash of the image's file, so that another file of that name is noticed.
    file_sha256: Option<String>,
    tensor_sha256: Option<String>,
    /// The predictor's score of the tensor.
    pub score: Option<f32>,
}

/// How an image's tensor compares with the golden one.
#[derive(Debug, PartialEq)]
pub enum Tensor {
    /// All bits are equal.
    Equal,
    /// Both reject the image.
    BothRejected,
    /// Values differ.
    Differs(Difference),
    /// Its hash differs, and the set has no values to compare.
    HashMismatch,
    /// Only this program rejects the image, for this reason.
    RejectedHere(String),
    /// Only OpenCV rejects the image.
    AcceptedHere,
}

/// How a tensor differs from the golden one.
#[derive(Debug, PartialEq)]
pub struct Difference {
    /// Values that differ.
    pub values: usize,
    /// The largest difference, in grey levels.
    pub grey_levels: f32,
    /// Index of the value that differs most.
    index: usize,
    golden: f32,
    here: f32,
}

impl Golden {
    /// Reads the manifest of a set; the images are in the same folder or in `images`.
    ///
    /// # Errors
    ///
    /// When there is no set, or it is empty.
    pub fn open(folder: &Path, images: Option<&Path>) -> anyhow::Result<Self> {
        let file = folder.join("manifest.json");
        let name = || file.display().to_string();
        let text = std::fs::read(&file).with_context(name)?;
        let manifest: Manifest = serde_json::from_slice(&text).with_context(name)?;
        ensure!(!manifest.files.is_empty(), "{} lists no images", name());
        Ok(Self {
            folder: folder.to_owned(),
            images: images.unwrap_or(folder).to_owned(),
            manifest,
        })
    }

    /// The version of OpenCV that made it, and on which processor.
    pub fn origin(&self) -> String {
        let Manifest {
            opencv, machine, ..
        } = &self.manifest;
        match machine {
            Some(machine) => format!("OpenCV {opencv} on {machine}"),
            None => format!("OpenCV {opencv}"),
        }
    }

    /// The names of the images, in order, each with what the set records of it.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        let entries = self.manifest.files.iter();
        entries.map(|(name, entry)| (name.as_str(), entry))
    }

    /// The file of an image.
    pub fn image(&self, name: &str) -> PathBuf {
        self.images.join(name)
    }

    /// Computes the tensor of an image and compares it.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or is not the one that the set was made from.
    pub fn compare(
        &self,
        name: &str,
        entry: &Entry,
        scratch: &mut Scratch,
    ) -> anyhow::Result<Tensor> {
        let file = self.image(name);
        let image = std::fs::read(&file).with_context(|| file.display().to_string())?;
        if let Some(expected) = &entry.file_sha256 {
            ensure!(
                sha256(&image) == *expected,
                "{} is not the image that the golden set was made from",
                file.display()
            );
        }
        let mut planes: [BytesMut; 3] = Default::default();
        let made = pixel::to_planes(&image, [SIDE; 2], &OPTIONS, scratch, &mut planes);
        match (made, &entry.error) {
            (Err(_), Some(_)) => return Ok(Tensor::BothRejected),
            (Err(why), None) => return Ok(Tensor::RejectedHere(why.to_string())),
            (Ok(()), Some(_)) => return Ok(Tensor::AcceptedHere),
            (Ok(()), None) => {}
        }
        let here = planes.concat();
        let values = self.folder.join(format!("{name}.tensor.f32"));
        if let Some(golden) = read_if_exists(&values)? {
            ensure!(
                golden.len() == 3 * PLANE_BYTES,
                "{} is not a tensor of 3 × {SIDE} × {SIDE} values",
                values.display()
            );
            return Ok(difference(&golden, &here).map_or(Tensor::Equal, Tensor::Differs));
        }
        match &entry.tensor_sha256 {
            Some(hash) if *hash == sha256(&here) => Ok(Tensor::Equal),
            Some(_) => Ok(Tensor::HashMismatch),
            None => bail!(
                "the golden set has neither {} nor its tensor_sha256",
                values.display()
            ),
        }
    }
}

/// Compares two tensors of the same size bit by bit.
fn difference(golden: &[u8], here: &[u8]) -> Option<Difference> {
    let values = |bytes: &[u8]| {
        let (values, _) = bytes.as_chunks::<4>();
        values
            .iter()
            .map(|value| f32::from_le_bytes(*value))
            .collect::<Vec<_>>()
    };
    let (golden, here) = (values(golden), values(here));
    let different = || {
        let pairs = golden.iter().zip(&here).enumerate();
        pairs.filter(|(_, (golden, here))| golden.to_bits() != here.to_bits())
    };
    // A NaN sorts as further away than any number.
    let distance = |(_, (golden, here)): &(usize, (&f32, &f32))| (*golden - *here).abs();
    let farthest = different().max_by(|a, b| distance(a).total_cmp(&distance(b)))?;
    let (index, (&golden, &here)) = farthest;
    Some(Difference {
        values: different().count(),
        grey_levels: distance(&farthest) / GREY_LEVEL,
        index,
        golden,
        here,
    })
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (plane, within) = (self.index / (SIDE * SIDE), self.index % (SIDE * SIDE));
        write!(
            f,
            "{} of {} values differ, most by {} grey levels at plane {}, row {}, column {}: {} \
             instead of {}",
            self.values,
            3 * SIDE * SIDE,
            self.grey_levels,
            ["red", "green", "blue"][plane],
            within / SIDE,
            within % SIDE,
            self.here,
            self.golden,
        )
    }
}

fn read_if_exists(file: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match std::fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| file.display().to_string()),
    }
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
