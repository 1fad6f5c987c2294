//! Warped images and aligned faces against OpenCV's `warpAffine`, byte for byte.

use std::path::{Path, PathBuf};

use kserve_transformer::faces;
use kserve_transformer::pixel::{Affine, Image};
use serde::Deserialize;

use super::golden::sha256;

/// What `warp_oracle.py` writes. Numbers are the bits of FP64.
#[derive(Deserialize)]
struct Manifest {
    opencv: String,
    warped: Vec<Warped>,
    aligned: Vec<Aligned>,
}

#[derive(Deserialize)]
struct Warped {
    case: usize,
    kind: String,
    image: [usize; 2],
    transform: [u64; 6],
    size: [usize; 2],
    border: [u8; 3],
    sha256: String,
}

#[derive(Deserialize)]
struct Aligned {
    case: usize,
    image: [usize; 2],
    landmarks: [u64; 10],
    sha256: String,
}

/// The committed set, or a larger one that `FACEQUALITY_WARP_MANIFEST` names.
fn manifest() -> Manifest {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/warp/manifest.json");
    let path = std::env::var_os("FACEQUALITY_WARP_MANIFEST").map_or(golden, PathBuf::from);
    let text = std::fs::read(path).expect("the manifest");
    serde_json::from_slice(&text).expect("an oracle's manifest")
}

/// The pixels of a case: noise for even ones, waves of light for odd ones.
fn pixels(case: usize, [width, height]: [usize; 2]) -> Vec<u8> {
    let value = |at: usize| {
        if case.is_multiple_of(2) {
            ((at + case * 1_000_003).wrapping_mul(2_654_435_761) & 0xFFFF_FFFF) >> 21
        } else {
            let (x, y) = (at / 3 % width, at / (3 * width));
            x * x / 7 + y * (3 + case % 5) + at % 3 * 80
        }
    };
    (0..width * height * 3).map(|at| value(at) as u8).collect()
}

#[test]
fn every_warped_image_is_opencvs() {
    let Manifest { opencv, warped, .. } = manifest();
    assert!(warped.len() >= 200);
    for case in &warped {
        let rgb = pixels(case.case, case.image);
        let image = Image::new(&rgb, case.image[0], case.image[1]).expect("whole rows");
        let [a, b, c, d, e, f] = case.transform.map(f64::from_bits);
        let mut out = vec![0; case.size[0] * case.size[1] * 3];
        image.warp_affine(
            &Affine([[a, b, c], [d, e, f]]),
            case.size[0],
            case.border,
            &mut out,
        );
        assert_eq!(sha256(&out), case.sha256, "{} {}", case.case, case.kind);
    }
    println!("OpenCV {opencv}; equal: {}", warped.len());
}

#[test]
fn every_aligned_face_is_opencvs() {
    let Manifest {
        opencv, aligned, ..
    } = manifest();
    assert!(aligned.len() >= 200);
    for case in &aligned {
        let rgb = pixels(case.case, case.image);
        let photo = Image::new(&rgb, case.image[0], case.image[1]).expect("whole rows");
        let numbers = case.landmarks.map(|bits| f64::from_bits(bits) as f32);
        let landmarks = std::array::from_fn(|point| [numbers[point * 2], numbers[point * 2 + 1]]);
        let crop = faces::align(photo, &landmarks).expect("landmarks with a direction");
        let rows = (0..crop.height()).map(|y| crop.image().row(y));
        let crop: Vec<u8> = rows.flatten().copied().collect();
        assert_eq!(sha256(&crop), case.sha256, "{}", case.case);
    }
    println!("OpenCV {opencv}; equal: {}", aligned.len());
}
