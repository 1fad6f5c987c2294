//! Which files are taken and which are refused, and that rows are the same whichever others are
//! wanted. That the pixels are OpenCV's is tested in `tests/parity`.

use super::decoder::Decoder;
use crate::pixel::buffer::{Buffers, Rows};
use crate::pixel::error::Error;
use crate::pixel::formats::Formats;
use crate::pixel::options::{ExifOrientation, Options};

const OPTIONS: Options = Options {
    max_pixels: 40_000_000,
    exif_orientation: ExifOrientation::Ignore,
    formats: Formats::DEFAULT,
};

const GOLDEN: [&str; 17] = [
    "jpeg-420-q85-photo-100x75.jpg",
    "jpeg-420-q90-progressive-photo-113x111.jpg",
    "jpeg-422-q30-photo-17x13.jpg",
    "jpeg-422-q75-progressive-photo-56x56.jpg",
    "jpeg-444-q75-photo-1x1.jpg",
    "jpeg-444-q90-progressive-photo-3x5.jpg",
    "jpeg-cmyk-97x117.jpg",
    "jpeg-cv-411-97x117.jpg",
    "jpeg-cv-420-97x117.jpg",
    "jpeg-cv-440-97x117.jpg",
    "jpeg-exif6.jpg",
    "jpeg-grey-97x117.jpg",
    "jpeg-grey-progressive-97x117.jpg",
    "jpeg-restart-97x117.jpg",
    "jpeg-restart-rows-97x117.jpg",
    "jpeg-rgb-97x117.jpg",
    "jpeg-ycck-progressive-97x117.jpg",
];

fn golden(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pixels/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

/// The rows of an image that are looked at, with their numbers.
type NumberedRows = Vec<(usize, Vec<u8>)>;

fn decode(file: &[u8], rows: Rows, decoder: &mut Decoder) -> Result<NumberedRows, Error> {
    decode_into(file, rows, decoder, &mut Buffers::default())
}

fn decode_into(
    file: &[u8],
    rows: Rows,
    decoder: &mut Decoder,
    buffers: &mut Buffers,
) -> Result<NumberedRows, Error> {
    let decoded = decoder.decode(file, &OPTIONS, rows, buffers)?;
    let lines = buffers.pixels.chunks_exact(decoded.size.width * 3);
    let wanted = buffers.rows.wanted().iter().enumerate();
    let numbers = wanted.filter(|(_, wanted)| **wanted).map(|(y, _)| y);
    let rows: Vec<_> = numbers.zip(lines.map(<[u8]>::to_vec)).collect();
    assert_eq!(rows.len(), buffers.rows.kept());
    Ok(rows)
}

fn all_rows(file: &[u8]) -> Result<NumberedRows, Error> {
    decode(file, Rows::All, &mut Decoder::default())
}

/// Where the segment of a marker starts.
fn segment(file: &[u8], marker: u8) -> usize {
    file.windows(2).position(|at| at == [0xFF, marker]).unwrap()
}

#[test]
fn a_pixel_is_the_same_whichever_others_are_wanted() {
    // One decoder, whose planes hold the samples of other images, as they do in service.
    let mut used = Decoder::default();
    for name in GOLDEN.into_iter().chain(["jpeg-photo-1920x1920.jpg"]) {
        let file = golden(name);
        let expected = all_rows(&file).unwrap();
        let again = decode(&file, Rows::All, &mut used);
        assert!(again.as_ref() == Ok(&expected), "{name}");
        let mut fewest = expected.len();
        for to in [[50, 112], [112, 112], [17, 17], [7, 5], [2, 1], [1, 1]] {
            let mut buffers = Buffers::default();
            let rows = Rows::OfResize(to);
            let some = decode_into(&file, rows, &mut used, &mut buffers).unwrap();
            fewest = fewest.min(some.len());
            for (y, row) in some {
                let pixels = row
                    .as_chunks::<3>()
                    .0
                    .iter()
                    .zip(expected[y].1.as_chunks().0);
                for ((x, (ours, pixel)), read) in pixels.enumerate().zip(buffers.rows.columns()) {
                    assert!(!read || ours == pixel, "{name}, {x} of row {y} for {to:?}");
                }
            }
        }
        assert!(fewest <= 2, "{name}");
    }
}

#[test]
fn missing_bytes_are_found_and_spare_ones_change_nothing() {
    for name in GOLDEN {
        let file = golden(name);
        let (all, end) = file.split_at(file.len() - 2);
        let expected = all_rows(&file);
        assert!(expected.is_ok(), "{name}");
        for spare in [
            &[0][..],
            &[0x55; 40],
            &[0xFF],
            &[0xFF, 0xD0],
            &[0xFF, 0xFE, 0, 2],
            &[0xFF, 0xDC, 0, 4, 0, 1],
        ] {
            let more = all_rows(&[all, spare, end].concat());
            assert_eq!(more, expected, "{name} and {spare:?}");
        }
        let start = all.windows(2).rposition(|at| at == [0xFF, 0xDA]).unwrap();
        let data = all.len() - start - 14;
        for missing in (1..data).step_by(1 + data / 60) {
            let short = [&all[..all.len() - missing], end].concat();
            assert!(all_rows(&short).is_err(), "{name} less {missing}");
        }
    }
}

#[test]
fn restart_markers_must_be_at_their_place() {
    for name in ["jpeg-restart-97x117.jpg", "jpeg-restart-rows-97x117.jpg"] {
        let file = golden(name);
        let interval = segment(&file, 0xDD) + 5;
        let marker = segment(&file, 0xD1);
        for (at, byte) in [
            (interval, file[interval] + 1),
            (interval, 0),
            (marker + 1, 0xD2),
        ] {
            let mut moved = file.clone();
            moved[at] = byte;
            assert!(all_rows(&moved).is_err(), "{name}: {at} {byte}");
        }
        let dropped = [&file[..marker], &file[marker + 2..]].concat();
        assert!(all_rows(&dropped).is_err(), "{name}");
    }
}

#[test]
fn what_is_not_decoded_is_named() {
    let file = golden("jpeg-420-q85-photo-100x75.jpg");
    let (frame, scan) = (segment(&file, 0xC0), segment(&file, 0xDA));
    let (huffman, quantisation) = (segment(&file, 0xC4), segment(&file, 0xDB));
    for (why, at, byte) in [
        ("quantisation table is missing", frame + 12, 3),
        ("whole multiples", frame + 14, 0x31),
        ("sampling factors are invalid", frame + 11, 0x50),
        ("12 bits", frame + 4, 12),
        ("lossless", frame + 1, 0xC3),
        ("hierarchical", frame + 1, 0xC5),
        ("arithmetic", frame + 1, 0xC9),
        ("Huffman table is missing", scan + 6, 0x03),
        ("Huffman table is missing", scan + 6, 0x40),
        ("scan header", scan + 5, 9),
        ("Huffman tables are invalid", huffman + 5, 3),
        ("Huffman tables are invalid", huffman + 4, 0x20),
        ("unknown segment", quantisation + 1, 0xF0),
    ] {
        let mut other = file.clone();
        other[at] = byte;
        let error = all_rows(&other).unwrap_err().to_string();
        assert!(error.contains(why), "{error} instead of {why}");
    }
    let mut coarse = file.clone();
    coarse[quantisation + 5..][..64].fill(255);
    let error = all_rows(&coarse).unwrap_err().to_string();
    assert!(error.contains("out of range"), "{error}");
}

#[test]
fn a_large_image_is_not_kept_and_leaves_no_trace() {
    let mut used = Decoder::default();
    for name in ["jpeg-photo-1920x1920.jpg", "jpeg-restart-97x117.jpg"] {
        let file = golden(name);
        let fresh = all_rows(&file);
        assert!(fresh.is_ok());
        assert_eq!(decode(&file, Rows::All, &mut used), fresh, "{name}");
    }
    // A file of one row of 65,000 pixels: refused after its memory was taken.
    let mut wide = golden("jpeg-444-q75-photo-1x1.jpg");
    let at = segment(&wide, 0xC0);
    wide[at + 5..at + 9].copy_from_slice(&[0, 1, 0xFD, 0xE8]);
    assert!(decode(&wide, Rows::All, &mut used).is_err());
    let mut large = golden("jpeg-444-q90-progressive-photo-3x5.jpg");
    let at = segment(&large, 0xC2);
    large[at + 5..at + 9].copy_from_slice(&[0x0B, 0xB8, 0x0B, 0xB8]);
    assert!(decode(&large, Rows::All, &mut used).is_err());
    assert!(used.kept_bytes() > 20 << 20);
    used.shrink();
    assert!(used.kept_bytes() <= 4 << 20);
}
