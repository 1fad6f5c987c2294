//! What holds for images of every format: limits, damage, turning, and no trace of the last one.

use super::*;

const OPTIONS: Options = Options {
    max_pixels: 40_000_000,
    exif_orientation: ExifOrientation::Ignore,
    formats: Formats::DEFAULT,
};

const INPUT: [usize; 2] = [112, 112];
const PLANE_BYTES: usize = 112 * 112 * 4;

const UPRIGHT: Options = Options {
    exif_orientation: ExifOrientation::Apply,
    ..OPTIONS
};

fn golden(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pixels/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

/// The golden images whose names start so, with their names, in order.
fn all_golden(starts: &[&str]) -> Vec<(String, Vec<u8>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pixels");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| starts.iter().any(|start| name.starts_with(start)))
        .collect();
    names.sort();
    let files = names.iter().map(|name| golden(name)).collect::<Vec<_>>();
    names.into_iter().zip(files).collect()
}

/// Decodes to rows of pixels.
fn decoded(file: &[u8], options: &Options, scratch: &mut Scratch) -> Result<Vec<Vec<u8>>, Error> {
    let image = decode(file, options, scratch)?;
    Ok((0..image.height()).map(|y| image.row(y).to_vec()).collect())
}

fn fresh(file: &[u8], options: &Options) -> Result<Vec<Vec<u8>>, Error> {
    decoded(file, options, &mut Scratch::default())
}

/// Numbers without pattern, the same on every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[test]
fn damage_is_no_panic_and_no_pixel_is_of_another_image() {
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let common = all_golden(&["png", "webp", "bmp", "jpeg"]);
    // Of these there are many alike.
    let rare = all_golden(&[
        "gif-2", "gif-b", "gif-s", "pnm-p2", "pnm-p6", "tiff-cv", "tiff-pl", "tiff-ti",
    ]);
    let files = [common, rare].concat();
    let small = files.iter().filter(|(_, file)| file.len() < 6000);
    for (name, file) in small {
        for round in 0..24 {
            let mut damaged = file.clone();
            for _ in 0..1 + numbers.below(3) {
                let at = match round % 3 {
                    0 => numbers.below(file.len().min(100)),
                    _ => numbers.below(file.len()),
                };
                damaged[at] = numbers.below(256) as u8;
            }
            if round % 4 == 3 {
                damaged.truncate(numbers.below(file.len()));
            }
            let mut used = Scratch::default();
            for (buffer, byte) in [
                (&mut used.decoder.buffers.pixels, 0x5A),
                (&mut used.decoder.buffers.stage, 0xA5),
            ] {
                buffer.resize(1 << 20, byte);
            }
            let limited = Options {
                max_pixels: 100_000,
                formats: Formats::ALL,
                ..UPRIGHT
            };
            let with_used = decoded(&damaged, &limited, &mut used);
            assert_eq!(with_used, fresh(&damaged, &limited), "{name}, {round}");
        }
    }
}

#[test]
fn a_damaged_image_does_not_spoil_the_next() {
    let mut scratch = Scratch::default();
    let sound = golden("jpeg-rgb-97x117.jpg");
    let expected = fresh(&sound, &OPTIONS).unwrap();
    for at in 150..600 {
        let mut damaged = sound.clone();
        damaged[at] = 0xFF;
        // Taken or refused: the next one tells.
        drop(decode(&damaged, &OPTIONS, &mut scratch));
        assert_eq!(
            decoded(&sound, &OPTIONS, &mut scratch).as_ref(),
            Ok(&expected)
        );
    }
}

#[test]
fn too_many_pixels_are_refused_by_the_header() {
    let files = all_golden(&[
        "png-rgb8-photo-17x",
        "webp-photo-17x",
        "bmp-24-33x",
        "jpeg-rgb-",
    ]);
    assert!(files.len() >= 4);
    for (name, file) in files {
        let limit = Options {
            max_pixels: 220,
            ..OPTIONS
        };
        let error = fresh(&file, &limit).unwrap_err();
        assert!(matches!(error, Error::TooManyPixels { .. }), "{name}");
        assert!(error.to_string().contains("--max_pixels 220"), "{error}");
    }
    let allowed = Options {
        max_pixels: 17 * 13,
        ..OPTIONS
    };
    fresh(&golden("png-rgb8-photo-17x13.png"), &allowed).unwrap();
}

#[test]
fn a_png_has_the_same_rows_whether_all_or_some_are_wanted() {
    let mut scratch = Scratch::default();
    for (name, file) in all_golden(&["png"]) {
        let whole = fresh(&file, &OPTIONS).unwrap();
        let some = Rows::OfResize([4, 3]);
        let image = decode::into_buffers(&file, &OPTIONS, some, &mut scratch.decoder).unwrap();
        let (mut columns, mut read) = (Vec::new(), Vec::new());
        let size = [image.width(), image.height()];
        resize::lines_read(size, [4, 3], &mut columns, &mut read);
        for (y, row) in whole.iter().enumerate().filter(|(y, _)| read[*y]) {
            assert_eq!(image.row(y), row, "{name}, row {y}");
        }
    }
}

#[test]
fn many_scans_are_refused() {
    let (_, file) = all_golden(&["jpeg-grey-progressive"]).remove(0);
    let at = file.windows(2).rposition(|m| m == [0xFF, 0xDA]).unwrap();
    let (scan, end) = file[at..].split_at(file.len() - at - 2);
    let slow = [&file[..at], &scan.repeat(101), end].concat();
    assert_eq!(
        fresh(&slow, &OPTIONS),
        Err(Error::TooManyScans { limit: 100 })
    );
}

#[test]
fn a_jpeg_that_ends_early_is_refused_at_every_place() {
    for name in [
        "jpeg-rgb-97x117.jpg",
        "jpeg-restart-97x117.jpg",
        "jpeg-grey-progressive-97x117.jpg",
    ] {
        let file = golden(name);
        for end in (0..file.len()).step_by(7).chain([file.len() - 1]) {
            assert!(fresh(&file[..end], &OPTIONS).is_err(), "{name} to {end}");
            // With an end marker put on it still lacks pixels; a progressive one only detail.
            if !name.contains("progressive") && end > 700 && end < file.len() - 8 {
                let ended = [&file[..end], &[0xFF, 0xD9]].concat();
                assert!(fresh(&ended, &OPTIONS).is_err(), "{name} ended at {end}");
            }
        }
    }
}

#[test]
fn spare_bytes_before_and_after_the_end_change_nothing() {
    let file = golden("jpeg-rgb-97x117.jpg");
    let (all, end) = file.split_at(file.len() - 2);
    let expected = fresh(&file, &OPTIONS);
    assert!(expected.is_ok());
    let before = [all, &[0; 40], end].concat();
    assert_eq!(fresh(&before, &OPTIONS), expected);
    let after = [&file, &b"a second image, say"[..]].concat();
    assert_eq!(fresh(&after, &OPTIONS), expected);
}

#[test]
fn exif_turns_only_when_it_shall() {
    for name in ["jpeg-exif6.jpg", "webp-exif6.webp"] {
        let file = golden(name);
        let stored = fresh(&file, &OPTIONS).unwrap();
        let upright = fresh(&file, &UPRIGHT).unwrap();
        let (height, width) = (stored.len(), stored[0].len() / 3);
        assert_eq!((upright.len(), upright[0].len() / 3), (width, height));
        // 6: the first stored row becomes the last column.
        let last_column = upright.iter().flat_map(|row| &row[row.len() - 3..]);
        assert!(last_column.eq(&stored[0]), "{name}");
    }
}

#[test]
fn a_large_image_is_not_kept() {
    let mut scratch = Scratch::default();
    let (width, height) = (2500_u32, 2500_u32);
    let mut large = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    large.extend([width.to_le_bytes(), height.to_le_bytes()].concat());
    large.extend([1, 0, 24, 0]);
    large.resize(54 + (width * height * 3) as usize, 0);
    let mut planes: [BytesMut; 3] = Default::default();
    to_planes(&large, INPUT, &OPTIONS, &mut scratch, &mut planes).unwrap();
    assert_eq!(scratch.decoder.buffers.pixels.capacity(), 0);
    assert!(planes.iter().all(|plane| plane.len() == PLANE_BYTES));
    let small = golden("png-rgb8-photo-17x13.png");
    to_planes(&small, INPUT, &OPTIONS, &mut scratch, &mut planes).unwrap();
    assert!(scratch.decoder.buffers.pixels.capacity() > 0);
    assert!(planes.iter().all(|plane| plane.len() == 2 * PLANE_BYTES));
}

#[test]
fn what_is_not_an_image_is_named() {
    for bytes in [&b""[..], b"\xFF\xD8", b"RIFF....WAVE", b"{\"a\":1}"] {
        assert_eq!(fresh(bytes, &OPTIONS), Err(Error::NotAnImage));
    }
}

#[test]
fn formats_are_read_that_are_allowed() {
    let pixel = b"P6\n1 1\n255\n\x01\x02\x03";
    let error = fresh(pixel, &OPTIONS).unwrap_err();
    assert!(error.to_string().contains("--formats"), "{error}");
    let all = Options {
        formats: Formats::ALL,
        ..OPTIONS
    };
    assert_eq!(fresh(pixel, &all), Ok(vec![vec![1, 2, 3]]));
    let error = fresh(b"\0\0\0\x18ftypheic", &all).unwrap_err();
    assert!(error.to_string().starts_with("a HEIC image:"), "{error}");
}
