//! The decoder against libjpeg-turbo: what is taken here is taken there, with equal bytes.

use super::generator::{self, Numbers};
use super::{GOLDEN, all_rows, golden};

use turbojpeg::{Decompressor, Image, PixelFormat};

/// RGB of a file as libjpeg-turbo and OpenCV make it; `None` if it is refused. Warnings, of which
/// OpenCV takes no notice, do not count.
fn libjpeg(file: &[u8], width: usize, height: usize, is_cmyk: bool) -> Option<Vec<u8>> {
    let format = if is_cmyk {
        PixelFormat::CMYK
    } else {
        PixelFormat::RGB
    };
    let pitch = width * format.size();
    // A refusal leaves the pixels as they were, a warning does not.
    let [first, second] = [0x5A, 0xA5].map(|fill| {
        let mut pixels = vec![fill; pitch * height];
        let output = Image {
            pixels: pixels.as_mut_slice(),
            width,
            pitch,
            height,
            format,
        };
        let _ = Decompressor::new().unwrap().decompress(file, output);
        pixels
    });
    if first != second {
        return None;
    }
    if !is_cmyk {
        return Some(first);
    }
    let inks = first.as_chunks::<4>().0.iter();
    let rgb = inks.flat_map(|&[cyan, magenta, yellow, black]| {
        let k = i32::from(black);
        [cyan, magenta, yellow].map(|ink| (k - (((255 - i32::from(ink)) * k) >> 8)) as u8)
    });
    Some(rgb.collect())
}

/// Whether the file is taken here, in which case libjpeg-turbo makes the same pixels of it.
fn is_taken(file: &[u8], what: &str) -> bool {
    let Ok(rows) = all_rows(file) else {
        return false;
    };
    let width = rows[0].1.len() / 3;
    let is_cmyk = super::super::header::read(file).unwrap().components.len() == 4;
    let theirs = libjpeg(file, width, rows.len(), is_cmyk);
    let ours: Vec<u8> = rows.into_iter().flat_map(|(_, row)| row).collect();
    assert!(theirs.is_some(), "{what}: libjpeg-turbo refuses it");
    assert!(theirs == Some(ours), "{what}: other pixels");
    true
}

/// A seed that is new on every run, or the one in `FACEQUALITY_SEED`; it is printed.
fn seed() -> u64 {
    let given = std::env::var("FACEQUALITY_SEED").ok();
    let seed = given.map_or_else(
        || u64::from(std::process::id()) << 32 | u64::from(uuid::Uuid::new_v4().as_fields().0),
        |seed| seed.parse().unwrap(),
    );
    println!("FACEQUALITY_SEED={seed}");
    seed
}

/// How many files, `FACEQUALITY_FILES` or 500.
fn files() -> u64 {
    let given = std::env::var("FACEQUALITY_FILES").ok();
    given.map_or(500, |files| files.parse().unwrap())
}

#[test]
fn golden_files_are_libjpegs() {
    for name in GOLDEN.into_iter().chain(["jpeg-photo-1920x1920.jpg"]) {
        assert!(is_taken(&golden(name), name), "{name}");
    }
}

#[test]
fn generated_files_are_libjpegs() {
    let seed = seed();
    for number in 0..files() {
        let seed = seed.wrapping_add(number);
        let file = generator::file(seed);
        assert!(
            is_taken(&file, &format!("file of seed {seed}")),
            "{seed} is refused"
        );
    }
}

#[test]
fn mutated_files_are_libjpegs_or_refused() {
    let seed = seed();
    let (mut numbers, mut taken) = (Numbers::new(seed), 0);
    for number in 0..files() * 4 {
        let mut file = match numbers.below(3) {
            0 => golden(GOLDEN[numbers.below(GOLDEN.len())]),
            _ => generator::file(seed.wrapping_add(number)),
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
        taken += u64::from(is_taken(&file, &format!("seed {seed}, file {number}")));
    }
    println!("{taken} of {} mutated files are taken", files() * 4);
    assert!(taken > 0);
}
