//! Images and what OpenCV made of them: decoded, resized and as a tensor, byte for byte.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use kserve_transformer::faces::{PLANE_BYTES, SIDE};
use kserve_transformer::pixel::{self, Resizer, Scratch};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{OPTIONS, generator};

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

struct Ours {
    size: (usize, usize),
    decoded: String,
    resized: Vec<u8>,
    tensor: String,
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
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

#[test]
fn every_image_is_opencvs() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pixels");
    let folder = std::env::var_os("FACEQUALITY_PARITY_DIR").map_or(golden, PathBuf::from);
    compare(&folder, |name| {
        std::fs::read(folder.join(name)).expect("the image")
    });
}

/// The files of [`generator`] by their seeds, so that only what OpenCV made of them is committed.
#[test]
fn every_generated_image_is_opencvs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/generated");
    compare(&folder, |name| {
        let seed = name.trim_start_matches("seed-").trim_end_matches(".jpg");
        generator::file(seed.parse().expect("a seed"))
    });
}

/// Compares what is made of the files here with the manifest in `folder`.
fn compare(folder: &Path, file: impl Fn(&str) -> Vec<u8>) {
    let manifest = std::fs::read(folder.join("manifest.json")).expect("a manifest.json");
    let manifest: Manifest = serde_json::from_slice(&manifest).expect("an oracle's manifest");

    let mut scratch = Scratch::default();
    let mut exact = BTreeMap::<&str, usize>::new();
    let mut faults = Vec::new();
    for (name, oracle) in &manifest.files {
        let file = file(name);
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
            // Of a kind that may be refused (`rare_formats.py`).
            (Err(_), None) if name.starts_with("either") => {
                *exact.entry("refused here alone").or_default() += 1;
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
        if ours.decoded == oracle.decoded_rgb_sha256 {
            if sha256(&ours.resized) != oracle.resized_rgb_sha256 {
                faults.push(format!("{name}: resized otherwise"));
            }
            if ours.tensor != oracle.tensor_sha256 {
                faults.push(format!("{name}: another tensor"));
            }
            let format = name.rsplit('.').next().unwrap_or_default();
            *exact.entry(format).or_default() += 1;
        } else {
            faults.push(format!("{name}: decoded otherwise"));
        }
    }

    println!("OpenCV {}; equal: {exact:?}", manifest.opencv);
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert!(exact.values().sum::<usize>() > 40, "the set is too small");
}
