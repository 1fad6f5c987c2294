//! Images that are damaged or lie about themselves, each with a part of the message.

use crate::world::grey_of;

fn file(name: &str) -> Vec<u8> {
    std::fs::read(format!("data/images/{name}")).unwrap()
}

/// A JPEG header of this size with so many scans of nothing behind it.
fn jpeg(width: u16, height: u16, scans: usize) -> Vec<u8> {
    let mut bytes = vec![0xFF, 0xD8, 0xFF, 0xC2, 0, 11, 8];
    bytes.extend_from_slice(&height.to_be_bytes());
    bytes.extend_from_slice(&width.to_be_bytes());
    bytes.extend_from_slice(&[1, 1, 0x11, 0]);
    for _ in 0..scans {
        bytes.extend_from_slice(&[0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 0, 0, 0x55]);
    }
    bytes.extend_from_slice(&[0xFF, 0xD9]);
    bytes
}

/// A PNG whose header says this size; the checksum is right.
fn png_of(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = grey_of(4, 7);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// A BMP header of this size without pixels.
fn bmp(width: i32, height: i32) -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&54_u32.to_le_bytes());
    bytes.extend_from_slice(&40_u32.to_le_bytes());
    bytes.extend_from_slice(&width.to_le_bytes());
    bytes.extend_from_slice(&height.to_le_bytes());
    bytes.extend_from_slice(&[1, 0, 24, 0]);
    bytes.extend_from_slice(&[0; 24]);
    bytes
}

fn cut(mut bytes: Vec<u8>, keep: usize) -> Vec<u8> {
    bytes.truncate(keep);
    bytes
}

pub(crate) fn bad() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let small = grey_of(16, 7);
    let length = small.len();
    let mut flipped = small.clone();
    // Within the pixels, behind the IDAT chunk's header.
    flipped[length - 20] ^= 0x55;
    vec![
        ("one byte", vec![0xFF], "expected JPEG"),
        ("zeros", vec![0; 5000], "expected JPEG"),
        (
            "a GIF",
            b"GIF89a\x01\0\x01\0\0\0\0;".to_vec(),
            "a GIF image",
        ),
        ("a PNG's signature", cut(small.clone(), 8), "PNG"),
        ("half a PNG", cut(small.clone(), length / 2), "PNG"),
        ("a PNG without its end", cut(small, length - 13), "PNG"),
        ("a PNG with a flipped bit", flipped, "PNG"),
        ("a PNG bomb", png_of(100_000, 100_000), "--max_pixels"),
        ("a PNG without width", png_of(0, 10), "PNG"),
        ("a PNG too large", grey_of(101, 7), "--max_pixels"),
        ("a JPEG's start", vec![0xFF, 0xD8, 0xFF], "JPEG"),
        (
            "a JPEG without pixels",
            cut(file("face_low_resolution.png"), 100),
            "PNG",
        ),
        ("a JPEG bomb", jpeg(65_500, 65_500, 1), "--max_pixels"),
        ("a JPEG of many scans", jpeg(16, 16, 200), "scans"),
        ("a JPEG too large", file("face.jpg"), "--max_pixels"),
        ("a WebP's start", b"RIFF\x10\0\0\0WEBPVP8 ".to_vec(), "WebP"),
        ("a WebP too large", file("face.webp"), "--max_pixels"),
        ("a BMP without pixels", bmp(16, 16), "BMP"),
        ("a BMP bomb", bmp(60_000, 60_000), "--max_pixels"),
        ("a BMP of negative width", bmp(-16, 16), "BMP"),
    ]
}
