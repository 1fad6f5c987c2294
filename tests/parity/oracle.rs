//! The JPEG decoder against libjpeg-turbo: what is taken here is taken there, with equal bytes.

use std::path::Path;

use facequality_transformer::pixel::{self, Scratch};
use turbojpeg::raw;

use super::generator::{self, Numbers};
use super::{OPTIONS, files, seed};

/// What libjpeg-turbo makes of a file of this size; `None` if it refuses it. Warnings do not count:
/// OpenCV takes no notice of them. By its C functions, since the crate's own refuse a file of which
/// the header has a warning.
#[allow(unsafe_code)]
fn libjpeg(file: &[u8], width: usize, height: usize, is_cmyk: bool) -> Option<Vec<u8>> {
    let (format, bytes) = if is_cmyk {
        (raw::TJPF_TJPF_CMYK, 4)
    } else {
        (raw::TJPF_TJPF_RGB, 3)
    };
    let pitch = width * bytes;
    let mut pixels = vec![0; pitch * height];
    // SAFETY: the handle is used by this thread alone and destroyed once; `file` and `pixels` outlive
    // the calls, and `pixels` has the size of the header that was read just before.
    let taken = unsafe {
        let handle = raw::tj3Init(raw::TJINIT_TJINIT_DECOMPRESS as i32);
        let length = file.len() as raw::size_t;
        let is_fatal =
            |result| result != 0 && raw::tj3GetErrorCode(handle) == raw::TJERR_TJERR_FATAL as i32;
        let header = is_fatal(raw::tj3DecompressHeader(handle, file.as_ptr(), length));
        let size = [
            raw::TJPARAM_TJPARAM_JPEGWIDTH,
            raw::TJPARAM_TJPARAM_JPEGHEIGHT,
        ]
        .map(|parameter| raw::tj3Get(handle, parameter as i32));
        let taken = !header
            && size == [width as i32, height as i32]
            && !is_fatal(raw::tj3Decompress8(
                handle,
                file.as_ptr(),
                length,
                pixels.as_mut_ptr(),
                pitch as i32,
                format,
            ));
        raw::tj3Destroy(handle);
        taken
    };
    if !taken || !is_cmyk {
        return taken.then_some(pixels);
    }
    // As OpenCV converts it.
    let inks = pixels.as_chunks::<4>().0.iter();
    let rgb = inks.flat_map(|&[cyan, magenta, yellow, black]| {
        let k = i32::from(black);
        [cyan, magenta, yellow].map(|ink| (k - (((255 - i32::from(ink)) * k) >> 8)) as u8)
    });
    Some(rgb.collect())
}

/// The number of components in a file's frame header.
fn components(file: &[u8]) -> u8 {
    let mut at = 2;
    loop {
        let marker = at + file[at..].iter().position(|byte| *byte == 0xFF).unwrap();
        let code = file[marker + 1];
        at = match code {
            0xFF => marker + 1,
            0 | 1 | 0xD0..=0xD8 => marker + 2,
            0xC0..=0xC2 => return file[marker + 9],
            _ => marker + 2 + usize::from(u16::from_be_bytes([file[marker + 2], file[marker + 3]])),
        };
    }
}

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
