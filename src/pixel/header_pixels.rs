//! How many pixels a file says it has, from its beginning and without decoding anything: so that
//! work can be bounded before it is begun. What the decoders take is theirs to check.

use super::formats::Format;

/// The pixels that a file's header says; none where the bytes that are there do not hold it.
pub fn header_pixels(begin: &[u8]) -> Option<u64> {
    let (width, height) = match Format::of(begin)? {
        Format::Png => (be32(begin, 16)?, be32(begin, 20)?),
        Format::WebP => webp(begin)?,
        Format::Bmp if le32(begin, 14)? == 12 => (le16(begin, 18)?, le16(begin, 20)?),
        Format::Bmp => (
            le32(begin, 18)?,
            le32(begin, 22)?.cast_signed().unsigned_abs(),
        ),
        Format::Gif => (le16(begin, 6)?, le16(begin, 8)?),
        Format::Jpeg => jpeg(begin)?,
        // Said anywhere in the file; their pixels are in the file, so there are no more than bytes.
        Format::Tiff | Format::Pnm => return None,
    };
    Some(u64::from(width) * u64::from(height))
}

fn webp(file: &[u8]) -> Option<(u32, u32)> {
    const SIDE: u32 = (1 << 14) - 1;
    match file.get(12..16)? {
        // Width and height of the canvas, less one, in 24 bits each.
        b"VP8X" => Some((
            (le32(file, 24)? & 0xFF_FFFF) + 1,
            (le32(file, 26)? >> 8) + 1,
        )),
        b"VP8 " => Some((le16(file, 26)? & SIDE, le16(file, 28)? & SIDE)),
        b"VP8L" => {
            let sides = le32(file, 21)?;
            Some(((sides & SIDE) + 1, ((sides >> 14) & SIDE) + 1))
        }
        _ => None,
    }
}

/// Passes over the segments before the frame header.
fn jpeg(file: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        let marker = *file.get(at + 1)?;
        match (file[at], marker) {
            (0xFF, 0xFF) => at += 1,
            // SOF0 to SOF15, which are not DHT, JPG or DAC.
            (0xFF, 0xC0..=0xCF) if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                return Some((be16(file, at + 7)?, be16(file, at + 5)?));
            }
            (0xFF, 0xD8..=0xDA) => return None,
            (0xFF, 0x01 | 0xD0..=0xD7) => at += 2,
            (0xFF, _) => at += 2 + be16(file, at + 2)? as usize,
            // Bytes between segments.
            _ => at += 1,
        }
    }
}

fn bytes<const N: usize>(file: &[u8], at: usize) -> Option<[u8; N]> {
    file.get(at..)?.first_chunk().copied()
}

fn be16(file: &[u8], at: usize) -> Option<u32> {
    bytes(file, at).map(|bytes| u16::from_be_bytes(bytes).into())
}

fn le16(file: &[u8], at: usize) -> Option<u32> {
    bytes(file, at).map(|bytes| u16::from_le_bytes(bytes).into())
}

fn be32(file: &[u8], at: usize) -> Option<u32> {
    bytes(file, at).map(u32::from_be_bytes)
}

fn le32(file: &[u8], at: usize) -> Option<u32> {
    bytes(file, at).map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::pixel::{ExifOrientation, Formats, Options, Scratch, decode};

    #[test]
    fn every_image_of_the_golden_sets_has_the_pixels_that_its_header_says() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let options = Options {
            formats: Formats::ALL,
            max_pixels: 40_000_000,
            exif_orientation: ExifOrientation::Ignore,
        };
        let mut scratch = Scratch::default();
        let mut compared = 0;
        let mut folders = vec![golden];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let file = fs::read(&path).unwrap();
                let Some(pixels) = header_pixels(&file) else {
                    continue;
                };
                if let Ok(image) = decode(&file, &options, &mut scratch) {
                    let decoded = image.width() as u64 * image.height() as u64;
                    assert_eq!(pixels, decoded, "{}", path.display());
                    compared += 1;
                }
            }
        }
        assert!(compared > 30, "{compared} images");
    }

    #[test]
    fn any_beginning_of_any_file_is_survived() {
        let mut file = b"\xFF\xD8\xFF\xE0\x00\x10JFIF".to_vec();
        file.resize(20, 0);
        file.extend_from_slice(b"\xFF\xC2\x00\x11\x08\x00\x03\x00\x05");
        assert_eq!(header_pixels(&file), Some(15));
        for length in 0..file.len() {
            assert_eq!(header_pixels(&file[..length]), None);
        }
        for begin in [&b"RIFF....WEBP"[..], b"BM", b"GIF87a", b"\x89PNG\r\n\x1a\n"] {
            for more in 0..40 {
                let file = [begin, &vec![0xFF; more]].concat();
                let _ = header_pixels(&file);
            }
        }
    }
}
