//! EXIF orientation: reading it, and turning an image upright.

use super::buffer::{Buffers, Size, sized};

/// The TIFF tag that says how the image is to be turned.
const ORIENTATION: u16 = 0x0112;

/// The orientation 1–8 that an EXIF block (a TIFF header and its first directory) names; 1, as
/// stored, when it names none or is damaged: a broken note does not spoil the image.
pub(super) fn orientation(exif: &[u8]) -> u8 {
    read(exif).filter(|o| (1..=8).contains(o)).unwrap_or(1) as u8
}

fn read(tiff: &[u8]) -> Option<u16> {
    let little = match tiff.first_chunk::<4>()? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes = *tiff.get(at..)?.first_chunk::<2>()?;
        Some(if little {
            u16::from_le_bytes(bytes)
        } else {
            u16::from_be_bytes(bytes)
        })
    };
    let u32_at = |at: usize| {
        let (high, low) = (u16_at(at)?, u16_at(at.checked_add(2)?)?);
        let (high, low) = if little { (low, high) } else { (high, low) };
        Some(u32::from(high) << 16 | u32::from(low))
    };
    let directory = u32_at(4)? as usize;
    let entries = usize::from(u16_at(directory)?);
    (0..entries)
        .map_while(|entry| {
            let at = directory.checked_add(2 + 12 * entry)?;
            Some((at, u16_at(at)?))
        })
        .find(|(_, tag)| *tag == ORIENTATION)
        .and_then(|(at, _)| u16_at(at + 8))
}

/// Turns the image in `buffers.pixels` upright, all of whose rows are there, and returns its size then.
pub(super) fn turn(buffers: &mut Buffers, size: Size, orientation: u8) -> Size {
    let bytes = size.pixels() * 3;
    let upright = sized(&mut buffers.stage, bytes);
    let size = apply_orientation(&buffers.pixels[..bytes], size, orientation, upright);
    std::mem::swap(&mut buffers.pixels, &mut buffers.stage);
    size
}

/// Writes the RGB pixels `from` upright to `to`, which has the same length, and returns the size
/// of the result.
fn apply_orientation(from: &[u8], size: Size, orientation: u8, to: &mut [u8]) -> Size {
    let Size { width, height } = size;
    let sideways = orientation >= 5;
    let turned = if sideways {
        Size {
            width: height,
            height: width,
        }
    } else {
        size
    };
    let pixels = from.as_chunks::<3>().0;
    let rows = to.as_chunks_mut::<3>().0.chunks_exact_mut(turned.width);
    for (y, row) in rows.enumerate() {
        for (x, pixel) in row.iter_mut().enumerate() {
            let (column, line) = match orientation {
                2 => (width - 1 - x, y),
                3 => (width - 1 - x, height - 1 - y),
                4 => (x, height - 1 - y),
                5 => (y, x),
                6 => (y, height - 1 - x),
                7 => (width - 1 - y, height - 1 - x),
                8 => (width - 1 - y, x),
                _ => (x, y),
            };
            *pixel = pixels[line * width + column];
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exif(little: bool, value: u8) -> Vec<u8> {
        if little {
            let mut tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
            tiff.extend([value, 0, 0, 0, 0, 0, 0, 0]);
            tiff
        } else {
            let mut tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01".to_vec();
            tiff.extend([0, value, 0, 0, 0, 0, 0, 0]);
            tiff
        }
    }

    #[test]
    fn both_byte_orders_are_read_and_what_is_invalid_is_upright() {
        for value in 1..=8 {
            assert_eq!(orientation(&exif(true, value)), value);
            assert_eq!(orientation(&exif(false, value)), value);
        }
        assert_eq!(orientation(&exif(true, 9)), 1);
        assert_eq!(orientation(b"II*\0\xff\xff\xff\xff"), 1);
        assert_eq!(orientation(b""), 1);
        let whole = exif(true, 6);
        for end in 0..whole.len() - 8 {
            assert_eq!(orientation(&whole[..end]), if end >= 20 { 6 } else { 1 });
        }
    }

    #[test]
    fn eight_turns_of_six_pixels() {
        // 1 2 3
        // 4 5 6
        let size = Size {
            width: 3,
            height: 2,
        };
        let from: Vec<u8> = (1..=6).flat_map(|v| [v; 3]).collect();
        let expected: [(u8, usize, [u8; 6]); 8] = [
            (1, 3, [1, 2, 3, 4, 5, 6]),
            (2, 3, [3, 2, 1, 6, 5, 4]),
            (3, 3, [6, 5, 4, 3, 2, 1]),
            (4, 3, [4, 5, 6, 1, 2, 3]),
            (5, 2, [1, 4, 2, 5, 3, 6]),
            (6, 2, [4, 1, 5, 2, 6, 3]),
            (7, 2, [6, 3, 5, 2, 4, 1]),
            (8, 2, [3, 6, 2, 5, 1, 4]),
        ];
        for (orientation, width, pixels) in expected {
            let mut to = [0; 18];
            let turned = apply_orientation(&from, size, orientation, &mut to);
            assert_eq!(turned.width, width, "{orientation}");
            let firsts: Vec<u8> = to.iter().step_by(3).copied().collect();
            assert_eq!(firsts, pixels, "{orientation}");
        }
    }
}
