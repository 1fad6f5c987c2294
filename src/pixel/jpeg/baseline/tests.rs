//! Which files are taken, and that what is in doubt is not.

use super::*;
use crate::pixel::jpeg::header;

fn golden(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pixels/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

/// The pixels, if the file is taken.
fn taken(file: &[u8], baseline: &mut Baseline) -> Option<Vec<u8>> {
    let header = header::read(file).ok()?;
    let size = Size {
        width: header.width.into(),
        height: header.height.into(),
    };
    let mut rgb = vec![0; size.pixels() * 3];
    let wanted = vec![true; size.height];
    baseline.decode(&file[..header.end], size, &header, &wanted, &mut rgb)?;
    Some(rgb)
}

fn is_taken(file: &[u8]) -> bool {
    taken(file, &mut Baseline::default()).is_some()
}

/// Where the segment of a marker starts.
fn segment(file: &[u8], marker: u8) -> usize {
    file.windows(2).position(|at| at == [0xFF, marker]).unwrap()
}

#[test]
fn common_files_are_taken_and_others_are_not() {
    for name in [
        "jpeg-420-q85-photo-100x75.jpg",
        "jpeg-422-q30-photo-17x13.jpg",
        "jpeg-444-q30-photo-112x112.jpg",
        "jpeg-444-q75-photo-1x1.jpg",
        "jpeg-cv-420-97x117.jpg",
        "jpeg-cv-440-97x117.jpg",
        "jpeg-exif6.jpg",
        "jpeg-grey-97x117.jpg",
        "jpeg-photo-1920x1920.jpg",
        "jpeg-restart-97x117.jpg",
        "jpeg-rgb-97x117.jpg",
    ] {
        assert!(is_taken(&golden(name)), "{name}");
    }
    for name in [
        "jpeg-420-q90-progressive-photo-113x111.jpg",
        "jpeg-cv-411-97x117.jpg",
        "jpeg-grey-progressive-97x117.jpg",
    ] {
        assert!(!is_taken(&golden(name)), "{name}");
    }
}

#[test]
fn a_large_image_is_not_kept_and_leaves_no_trace() {
    let mut used = Baseline::default();
    let sizes = |used: &Baseline| used.planes.each_ref().map(|plane| plane.samples.capacity());
    for name in [
        "jpeg-photo-1920x1920.jpg",
        "jpeg-restart-97x117.jpg",
        "jpeg-rgb-97x117.jpg",
    ] {
        let file = golden(name);
        let fresh = taken(&file, &mut Baseline::default());
        assert!(fresh.is_some());
        assert_eq!(taken(&file, &mut used), fresh, "{name}");
        assert!(sizes(&used).iter().all(|size| *size <= KEPT_BYTES));
    }
    // A file of one row of 65,000 pixels.
    let mut wide = golden("jpeg-444-q75-photo-1x1.jpg");
    let at = segment(&wide, 0xC0);
    wide[at + 5..at + 9].copy_from_slice(&[0, 1, 0xFD, 0xE8]);
    assert_eq!(taken(&wide, &mut used), None);
    assert!(sizes(&used).iter().all(|size| *size <= KEPT_BYTES));
}

#[test]
fn missing_bytes_are_in_doubt_and_spare_ones_change_nothing() {
    for name in [
        "jpeg-rgb-97x117.jpg",
        "jpeg-restart-97x117.jpg",
        "jpeg-grey-97x117.jpg",
    ] {
        let file = golden(name);
        let (all, end) = file.split_at(file.len() - 2);
        let expected = taken(&file, &mut Baseline::default());
        for (spare, is_taken) in [
            (&[0][..], true),
            (&[0x55; 40], true),
            (&[0xFF], false),
            (&[0xFF, 0xD0], false),
            (&[0xFF, 0xFE, 0, 2], false),
        ] {
            let more = taken(&[all, spare, end].concat(), &mut Baseline::default());
            let expected = expected.as_ref().filter(|_| is_taken);
            assert_eq!(more.as_ref(), expected, "{name} and {spare:?}");
        }
        for missing in 1..all.len() - segment(all, 0xDA) - 14 {
            let short = [&all[..all.len() - missing], end].concat();
            assert!(!is_taken(&short), "{name} less {missing}");
        }
    }
}

#[test]
fn restart_markers_must_be_at_their_place() {
    let file = golden("jpeg-restart-97x117.jpg");
    let interval = segment(&file, 0xDD) + 5;
    let marker = segment(&file, 0xD1);
    for (at, byte) in [
        (interval, file[interval] + 1),
        (interval, 0),
        (marker + 1, 0xD2),
    ] {
        let mut moved = file.clone();
        moved[at] = byte;
        assert!(!is_taken(&moved), "{at} {byte}");
    }
    let dropped = [&file[..marker], &file[marker + 2..]].concat();
    assert!(!is_taken(&dropped));
}

#[test]
fn headers_that_are_not_as_they_must_be_are_in_doubt() {
    let file = golden("jpeg-420-q85-photo-100x75.jpg");
    let (frame, scan) = (segment(&file, 0xC0), segment(&file, 0xDA));
    let (huffman, quantisation) = (segment(&file, 0xC4), segment(&file, 0xDB));
    for (what, at, byte) in [
        ("a missing quantisation table", frame + 12, 3),
        ("components of one name", frame + 13, file[frame + 10]),
        ("sampling of chroma", frame + 14, 0x12),
        ("a missing Huffman table", scan + 6, 0x03),
        ("a Huffman table beyond the last", scan + 6, 0x40),
        ("another component", scan + 5, 9),
        ("a spectral selection", scan + 12, 62),
        ("a factor of zero", quantisation + 5, 0),
        ("a table of 3 bytes per factor", quantisation + 4, 0x20),
        ("more codes than there can be", huffman + 5, 3),
        ("another class of table", huffman + 4, 0x20),
        ("an unknown segment", quantisation + 1, 0xF0),
    ] {
        let mut other = file.clone();
        other[at] = byte;
        assert!(header::read(&other).is_ok(), "{what}");
        assert!(!is_taken(&other), "{what}");
    }
    // Coefficients that overflow 16 bits.
    let mut coarse = file.clone();
    coarse[quantisation + 5..][..64].fill(255);
    assert!(!is_taken(&coarse));
}

#[test]
fn a_wanted_row_is_the_same_whichever_others_are() {
    for name in [
        "jpeg-cv-420-97x117.jpg",
        "jpeg-cv-440-97x117.jpg",
        "jpeg-422-q30-photo-17x13.jpg",
        "jpeg-grey-97x117.jpg",
        "jpeg-restart-97x117.jpg",
        "jpeg-rgb-97x117.jpg",
    ] {
        let file = golden(name);
        let header = header::read(&file).unwrap();
        let (width, height) = (header.width.into(), header.height.into());
        let size = Size { width, height };
        let expected = taken(&file, &mut Baseline::default()).unwrap();
        // One decoder, whose planes hold the samples of other rows, as they do in service.
        let mut baseline = Baseline::default();
        let alone = (0..height).map(|y| (height, y));
        for (apart, y) in alone.chain((0..3).map(|y| (3, y))) {
            let wanted: Vec<bool> = (0..height).map(|row| row % apart == y).collect();
            let mut rgb = vec![0xA5; width * height * 3];
            let decoded = baseline.decode(&file[..header.end], size, &header, &wanted, &mut rgb);
            assert_eq!(decoded, Some(()));
            let rows = rgb.chunks(width * 3).zip(expected.chunks(width * 3));
            for (row, (is, should)) in rows.enumerate().filter(|(row, _)| wanted[*row]) {
                assert_eq!(is, should, "{name}, row {row} of every {apart}");
            }
        }
    }
}
