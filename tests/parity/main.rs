//! The pixels against OpenCV's, byte for byte. A binary of its own, since it runs again on images of a
//! new seed, in a release build, and on other processors.

// Helpers of tests fail by panicking, as tests do.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

// A small committed set (`tests/golden/pixels`), or a large one that `tests/parity/make_images.py`
// makes, named by `FACEQUALITY_PARITY_DIR`.
mod golden;

// Files that are legal, nearly legal, or only look so (`tests/golden/cases`).
mod cases;

// Warped images and aligned faces (`tests/golden/warp`, by `warp_oracle.py`).
mod warp;

// Faces on composed scenes (`tests/golden/detection`, by `detection_oracle.py`).
#[cfg(feature = "embedded")]
mod detection;

// JPEG files that no encoder writes.
mod generator;

// The JPEG decoder against libjpeg-turbo in the same process, on generated and mutated files.
#[cfg(feature = "oracle")]
mod oracle;

use kserve_transformer::pixel::{ExifOrientation, Formats, Options};

const OPTIONS: Options = Options {
    max_pixels: 40_000_000,
    exif_orientation: ExifOrientation::Ignore,
    formats: Formats::ALL,
};

/// The instructions that this processor runs the vectorised loops with: of the sets that they are compiled
/// for, the first one that it has.
fn instructions() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        match (has!("avx512bw") && has!("avx512vl"), has!("avx2")) {
            (true, _) => "AVX-512",
            (_, true) => "AVX2",
            _ => "plain",
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        std::env::consts::ARCH
    }
}

/// So that whoever runs the tests on another processor, or an emulated one, knows that he does.
#[test]
fn the_processor_is_the_one_that_is_meant() {
    println!("instructions: {}", instructions());
    if let Ok(meant) = std::env::var("FACEQUALITY_INSTRUCTIONS") {
        assert_eq!(instructions(), meant, "FACEQUALITY_INSTRUCTIONS");
    }
}

/// A seed that is new on every run, or the one in `FACEQUALITY_SEED`; it is printed.
fn seed() -> u64 {
    let given = std::env::var("FACEQUALITY_SEED").ok();
    let seed = given.map_or_else(
        || uuid::Uuid::new_v4().as_u64_pair().0 >> 16,
        |seed| seed.parse().expect("FACEQUALITY_SEED is a number"),
    );
    println!("FACEQUALITY_SEED={seed}");
    seed
}

/// How many files are generated: `FACEQUALITY_FILES`, or 500.
fn files() -> u64 {
    let given = std::env::var("FACEQUALITY_FILES").ok();
    given.map_or(500, |files| {
        files.parse().expect("FACEQUALITY_FILES is a number")
    })
}

/// Writes generated files for OpenCV to look at (see `.ci/run`).
#[test]
#[ignore = "writes files to FACEQUALITY_GENERATED_DIR"]
fn write_generated_files() {
    let folder = std::env::var("FACEQUALITY_GENERATED_DIR").expect("FACEQUALITY_GENERATED_DIR");
    std::fs::create_dir_all(&folder).expect("the folder");
    let first = seed();
    for seed in first..first + files() {
        let file = format!("{folder}/seed-{seed}.jpg");
        std::fs::write(file, generator::file(seed)).expect("the file is written");
    }
}
