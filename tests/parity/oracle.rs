//! The JPEG decoder against libjpeg-turbo: what is taken here is taken there, with equal bytes.

// libjpeg-turbo's C functions; the fuzz targets use it, too.
mod libjpeg;

use std::path::Path;

use kserve_transformer::pixel::{self, Scratch};

use self::libjpeg::{components, libjpeg};
use super::generator::{self, Numbers};
use super::{OPTIONS, files, seed};

/// Whether the file is taken here, in which case libjpeg-turbo makes the same pixels of it.
fn is_taken(file: &[u8], scratch: &mut Scratch, what: &str) -> bool {
    let Ok(image) = pixel::decode(file, &OPTIONS, scratch) else {
        return false;
    };
    let (width, height) = (image.width(), image.height());
    let theirs = libjpeg(file, width, height, components(file) == 4);
    let ours: Vec<u8> = (0..height).flat_map(|y| image.row(y).to_vec()).collect();
    assert!(theirs.is_some(), "{what}: libjpeg-turbo refuses it");
    assert!(theirs == Some(ours), "{what}: other pixels");
    true
}

/// The JPEG files of the golden set and of the cases, so far as they are small.
fn small_files() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let folders = ["pixels", "cases"].map(|name| std::fs::read_dir(folder.join(name)).unwrap());
    let files = folders
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|e| e == "jpg"))
        .collect();
    files.sort();
    let files = files.into_iter().map(|file| std::fs::read(file).unwrap());
    files.filter(|file| file.len() < 20_000).collect()
}

#[test]
fn golden_files_are_libjpegs() {
    let mut scratch = Scratch::default();
    let files = small_files();
    let taken = files
        .iter()
        .filter(|file| is_taken(file, &mut scratch, "a golden file"));
    assert!(taken.count() > 50);
}

#[test]
fn generated_files_are_libjpegs() {
    let (seed, mut scratch) = (seed(), Scratch::default());
    for seed in seed..seed + files() {
        let file = generator::file(seed);
        assert!(
            is_taken(&file, &mut scratch, &format!("seed {seed}")),
            "{seed} is refused"
        );
    }
}

#[test]
fn mutated_files_are_libjpegs_or_refused() {
    let (seed, mut scratch) = (seed(), Scratch::default());
    let (mut numbers, mut taken) = (Numbers::new(seed), 0);
    let (golden, total) = (small_files(), files() * 4);
    for number in 0..total {
        let mut file = match numbers.below(3) {
            0 => golden[numbers.below(golden.len())].clone(),
            _ => generator::file(seed + number),
        };
        for _ in 0..1 + numbers.below(3) {
            let at = 2 + numbers.below(file.len() - 2);
            match numbers.below(4) {
                0 => file[at] = numbers.below(256) as u8,
                1 => file[at] ^= 1 << numbers.below(8),
                2 => drop(file.remove(at)),
                _ => file.insert(at, numbers.below(256) as u8),
            }
        }
        let what = format!("file {number} of seed {seed}");
        taken += u64::from(is_taken(&file, &mut scratch, &what));
    }
    println!("{taken} of {total} mutated files are taken");
    assert!(taken > 0);
}
