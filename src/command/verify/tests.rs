//! Golden sets made here from a lossless image, as the script would, and then altered.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;
use crate::pixel::{self, ExifOrientation, Options};

const FACE: &str = "face.png";

struct Set {
    folder: tempfile::TempDir,
    manifest: Value,
}

impl Set {
    fn new() -> Self {
        let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/images");
        let face = std::fs::read(images.join(FACE)).unwrap();
        let options = Options {
            max_pixels: u64::MAX,
            exif_orientation: ExifOrientation::Ignore,
            formats: pixel::Formats::DEFAULT,
        };
        let mut planes = Default::default();
        pixel::to_planes(
            &face,
            [112; 2],
            &options,
            &mut Scratch::default(),
            &mut planes,
        )
        .unwrap();
        let tensor = planes.concat();
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes);
        write(FACE, &face).unwrap();
        write("broken.png", &face[..100]).unwrap();
        write("face.png.tensor.f32", &tensor).unwrap();
        let hash = |bytes: &[u8]| format!("{:x}", Sha256::digest(bytes));
        let manifest = json!({"opencv": "4.11.0", "files": {
            FACE: {"file_sha256": hash(&face), "tensor_sha256": hash(&tensor)},
            "broken.png": {"error": "undecodable"},
        }});
        Self { folder, manifest }
    }

    fn tensor(&self) -> std::path::PathBuf {
        self.folder.path().join("face.png.tensor.f32")
    }

    fn golden(&self) -> Golden {
        let manifest = serde_json::to_vec(&self.manifest).unwrap();
        std::fs::write(self.folder.path().join("manifest.json"), manifest).unwrap();
        Golden::open(self.folder.path(), None).unwrap()
    }

    fn tensors(&self, max_grey_levels: f32) -> Tensors {
        Tensors::compare(&self.golden(), max_grey_levels).unwrap()
    }

    /// Adds to the value of the green plane at row 5, column 7.
    fn change_tensor(&self, grey_levels: f32) {
        let mut tensor = std::fs::read(self.tensor()).unwrap();
        let value = &mut tensor[4 * (112 * 112 + 5 * 112 + 7)..][..4];
        let changed = f32::from_le_bytes(value.try_into().unwrap()) + grey_levels / 128.0;
        value.copy_from_slice(&changed.to_le_bytes());
        std::fs::write(self.tensor(), tensor).unwrap();
    }
}

#[test]
fn equal_by_values_and_by_hash() {
    let set = Set::new();
    let expected = "tensors bit-equal on 1 of 1; rejected by both: 1\n";
    assert_eq!(set.tensors(0.0).report(), expected);
    std::fs::remove_file(set.tensor()).unwrap();
    assert_eq!(set.tensors(0.0).report(), expected);
}

#[test]
fn one_grey_level_is_found() {
    let set = Set::new();
    set.change_tensor(1.0);
    let found = set.tensors(0.0);
    assert_eq!(found.missed, 1);
    let report = found.report();
    let place = "face.png: 1 of 37632 values differ, most by 1 grey levels at plane green, row 5, \
                 column 7";
    assert!(
        report.starts_with("tensors bit-equal on 0 of 1"),
        "{report}"
    );
    assert!(report.contains(place), "{report}");
    let near = set.tensors(1.0);
    assert_eq!((near.missed, near.near), (0, 1));
}

#[test]
fn a_value_that_is_no_number_is_beyond_any_limit() {
    let set = Set::new();
    set.change_tensor(f32::NAN);
    assert_eq!(set.tensors(1000.0).missed, 1);
}

#[test]
fn other_ways_to_differ() {
    let mut set = Set::new();
    std::fs::remove_file(set.tensor()).unwrap();
    set.manifest["files"][FACE]["tensor_sha256"] = json!("0000");
    assert!(set.tensors(0.0).report().contains("hash differs"));
    set.manifest["files"][FACE] = json!({"error": "undecodable"});
    assert!(
        set.tensors(0.0)
            .report()
            .contains("accepted here but rejected")
    );
    set.manifest["files"]["broken.png"] = json!({"tensor_sha256": "0000"});
    assert!(
        set.tensors(0.0)
            .report()
            .contains("rejected here but accepted")
    );
    assert_eq!(set.tensors(0.0).missed, 2);
}

#[test]
fn sets_that_cannot_be_compared() {
    let mut set = Set::new();
    let error_of = |set: &Set| {
        let error = Tensors::compare(&set.golden(), 0.0).unwrap_err();
        format!("{error:#}")
    };
    std::fs::write(set.tensor(), b"short").unwrap();
    assert!(error_of(&set).contains("is not a tensor"));
    set.manifest["files"][FACE]["file_sha256"] = json!("0000");
    assert!(error_of(&set).contains("is not the image"));
    set.manifest["files"] = json!({"missing.png": {}});
    assert!(error_of(&set).contains("missing.png"));
}

#[test]
fn the_largest_difference_of_a_score_is_reported() {
    let mut scores = Scores::default();
    for (name, golden, here) in [("a", 0.5, 0.5), ("b", 0.9, 0.8), ("c", 0.25, 0.3)] {
        scores.add((name.to_owned(), golden, here));
    }
    let scoring = Scoring {
        url: Some("http://service".to_owned()),
        model_name: String::new(),
        predictor_host: None,
        headers: Vec::new(),
        predictor_model: String::new(),
    };
    assert_eq!(
        scores.report(&scoring),
        "scores from the service at http://service: largest difference 1.000e-1 of 3 images, at b: \
         0.8 instead of 0.9\n"
    );
    assert_eq!(
        scores.failure(0.001).as_deref(),
        Some("0.100 > --max_difference 0.001")
    );
    assert_eq!(scores.failure(0.2), None);
    assert!(scores.within(0.11));
    assert!(!scores.within(0.09));
    scores.add(("d".to_owned(), 0.5, f64::NAN));
    assert!(!scores.within(1e9));
    scores.errors.push("e: rejected".to_owned());
    assert_eq!(
        scores.failure(1.0).as_deref(),
        Some("1 images got no score")
    );
    assert!(scores.report(&scoring).ends_with("\n  e: rejected\n"));
}
