//! The pixels against OpenCV's: decoded, resized and as a tensor, byte for byte.
//!
//! Runs over a small committed set (`tests/golden/pixels`), or over a large one that
//! `tests/parity/make_images.py` makes, named by `FACEQUALITY_PARITY_DIR`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use facequality_transformer::faces::{PLANE_BYTES, SIDE};
use facequality_transformer::pixel::{
    self, ExifOrientation, JPEG_DECODER, Options, Resizer, Scratch,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// What `tensor_oracle.py` writes.
#[derive(Deserialize)]
struct Manifest {
    opencv: String,
    files: BTreeMap<String, Oracle>,
}

#[derive(Deserialize)]
struct Oracle {
    /// Set when OpenCV refuses the file; then nothing else is.
    error: Option<String>,
    #[serde(default)]
    width: usize,
    #[serde(default)]
    height: usize,
    #[serde(default)]
    decoded_rgb_sha256: String,
    #[serde(default)]
    resized_rgb_sha256: String,
    #[serde(default)]
    tensor_sha256: String,
}

const OPTIONS: Options = Options {
    max_pixels: 40_000_000,
    exif_orientation: ExifOrientation::Ignore,
};

/// Mean difference of the resized pixels of JPEGs that are not common ones, which another decoder
/// than OpenCV's may have, in grey levels.
const JPEG_DRIFT: f64 = 0.3;

/// Smaller images than one block of subsampled colour are edges throughout, where decoders
/// differ in what lies beyond; they are told, not judged.
const JUDGED_SIDE: usize = 16;

struct Ours {
    size: (usize, usize),
    decoded: String,
    resized: Vec<u8>,
    tensor: String,
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

fn ours(file: &[u8], scratch: &mut Scratch) -> Result<Ours, pixel::Error> {
    let image = pixel::decode(file, &OPTIONS, scratch)?;
    let mut hash = Sha256::new();
    for y in 0..image.height() {
        hash.update(image.row(y));
    }
    let mut resized = vec![0; SIDE * SIDE * 3];
    pixel::resize(image, SIDE, SIDE, &mut Resizer::default(), &mut resized);
    let size = (image.width(), image.height());
    let mut planes: [BytesMut; 3] = Default::default();
    pixel::to_planes(file, [SIDE; 2], &OPTIONS, scratch, &mut planes)?;
    assert!(planes.iter().all(|plane| plane.len() == PLANE_BYTES));
    Ok(Ours {
        size,
        decoded: format!("{:x}", hash.finalize()),
        resized,
        tensor: sha256(&planes.concat()),
    })
}

/// Differences of one JPEG from OpenCV's, over its resized bytes.
struct Drift {
    name: String,
    mean: f64,
    largest: u8,
    tiny: bool,
}

fn mean(drifts: &[&Drift]) -> f64 {
    drifts.iter().map(|drift| drift.mean).sum::<f64>() / drifts.len().max(1) as f64
}

fn drift(name: &str, ours: &Ours, theirs: &[u8]) -> Drift {
    let resized = &ours.resized;
    let differences = resized.iter().zip(theirs).map(|(a, b)| a.abs_diff(*b));
    Drift {
        name: name.to_owned(),
        mean: differences.clone().map(f64::from).sum::<f64>() / resized.len() as f64,
        largest: differences.max().unwrap_or(0),
        tiny: ours.size.0.min(ours.size.1) < JUDGED_SIDE,
    }
}

/// Whether a JPEG is one of the common ones, which are decoded with OpenCV's bits in every build:
/// sequential, grey or with three components, of which the first has up to 2 × 2 samples for one
/// of each other.
fn is_common(file: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[0xFF, marker, high, low]) = file.get(at..).and_then(|rest| rest.first_chunk())
    {
        let body = file.get(at + 4..).unwrap_or_default();
        match marker {
            0xC0 | 0xC1 => {
                return matches!(
                    body.get(5..),
                    Some([1, ..] | [3, _, 0x11 | 0x12 | 0x21 | 0x22, _, _, 0x11, _, _, 0x11, ..])
                );
            }
            0xC2 | 0xDA => return false,
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
        }
    }
    false
}

#[test]
fn every_image_is_opencvs() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pixels");
    let folder = std::env::var_os("FACEQUALITY_PARITY_DIR").map_or(golden, PathBuf::from);
    let manifest = std::fs::read(folder.join("manifest.json")).expect("a manifest.json");
    let manifest: Manifest = serde_json::from_slice(&manifest).expect("an oracle's manifest");

    let mut scratch = Scratch::default();
    let mut exact = BTreeMap::<&str, usize>::new();
    let mut common = 0;
    let mut drifts = Vec::new();
    let mut faults = Vec::new();
    for (name, oracle) in &manifest.files {
        let file = std::fs::read(folder.join(name)).expect("the image");
        let ours = match (ours(&file, &mut scratch), &oracle.error) {
            (Ok(ours), None) => ours,
            (Err(_), Some(_)) => {
                *exact.entry("refused").or_default() += 1;
                continue;
            }
            (Ok(_), Some(_)) => {
                faults.push(format!("{name}: taken, and OpenCV refuses it"));
                continue;
            }
            (Err(error), None) => {
                faults.push(format!("{name}: {error}"));
                continue;
            }
        };
        if ours.size != (oracle.width, oracle.height) {
            faults.push(format!("{name}: its size is {:?}", ours.size));
        }
        let is_jpeg = file.starts_with(&[0xFF, 0xD8]);
        common += usize::from(is_jpeg && is_common(&file));
        if ours.decoded == oracle.decoded_rgb_sha256 {
            // Equal pixels must stay equal, whoever decoded them.
            if sha256(&ours.resized) != oracle.resized_rgb_sha256 {
                faults.push(format!("{name}: resized otherwise"));
            }
            if ours.tensor != oracle.tensor_sha256 {
                faults.push(format!("{name}: another tensor"));
            }
            let format = if is_jpeg { "jpeg" } else { "lossless and webp" };
            *exact.entry(format).or_default() += 1;
        } else if is_jpeg && JPEG_DECODER != "libjpeg-turbo" && !is_common(&file) {
            // The committed set has OpenCV's bytes for some only.
            match std::fs::read(folder.join(format!("{name}.resized.rgb"))) {
                Ok(theirs) => drifts.push(drift(name, &ours, &theirs)),
                Err(_) => *exact.entry("jpeg, not compared").or_default() += 1,
            }
        } else {
            faults.push(format!("{name}: decoded otherwise"));
        }
    }

    println!(
        "OpenCV {}, {JPEG_DECODER}; equal: {exact:?}",
        manifest.opencv
    );
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
    drifts.sort_by(|a, b| b.mean.total_cmp(&a.mean));
    let (judged, tiny): (Vec<_>, Vec<_>) = drifts.iter().partition(|drift| !drift.tiny);
    for (what, drifts) in [("judged", &judged), ("tiny", &tiny)] {
        let mean = mean(drifts);
        println!(
            "{} {what} JPEGs differ, by {mean:.3} on average; most:",
            drifts.len()
        );
        for drift in drifts.iter().take(5) {
            println!(
                "  {:.3}, at most {}: {}",
                drift.mean, drift.largest, drift.name
            );
        }
    }
    let mean = mean(&judged);
    assert!(mean <= JPEG_DRIFT, "JPEGs differ by {mean} on average");
    assert!(exact.values().sum::<usize>() > 40, "the set is too small");
    assert!(common > 8, "the set has {common} common JPEGs only");
}
