//! Upsampling as libjpeg does it. Twice the samples are made by its "fancy" triangle filter, where each new sample is three parts
//! of the nearest old one and one part of the next. Halves are rounded up and down by turns.
//!
//! Rows are taken and given longer than they are, up to a whole number of vectors; what is beyond
//! `valid` samples has no meaning, and does not count as a neighbour.

/// Buffers of a row, kept from row to row.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// The row before it is upsampled across, with its ends repeated.
    pub(super) sums: Vec<u16>,
    /// Upsampled rows of the components.
    pub(super) out: [Vec<u8>; 4],
    /// Red, green and blue.
    pub(super) planes: [Vec<u8>; 3],
}

/// Samples of a row that are kept between images.
const KEPT_SAMPLES: usize = 1 << 14;

impl Rows {
    /// Gives back what a wide image took.
    pub(super) fn shrink(&mut self) {
        if self.sums.capacity() > KEPT_SAMPLES || self.planes[0].capacity() > KEPT_SAMPLES {
            *self = Self::default();
        }
    }
}

/// Twice as many rows; `far` is the row below or the one above.
#[inline(always)]
pub(super) fn h1v2_fancy(near: &[u8], far: &[u8], below: bool, out: &mut Vec<u8>) {
    out.resize(near.len(), 0);
    let round = 1 + u16::from(below);
    for ((out, near), far) in out.iter_mut().zip(near).zip(far) {
        *out = ((3 * u16::from(*near) + u16::from(*far) + round) >> 2) as u8;
    }
}

/// Twice as many columns.
#[inline(always)]
pub(super) fn h2v1_fancy(row: &[u8], valid: usize, sums: &mut Vec<u16>, out: &mut Vec<u8>) {
    let fill = |sums: &mut [u16]| {
        for (sum, sample) in sums.iter_mut().zip(row) {
            *sum = u16::from(*sample);
        }
    };
    filter::<1, 2, 2>(row.len(), valid, sums, fill, out);
}

/// Twice as many of both; only the result is rounded.
#[inline(always)]
pub(super) fn h2v2_fancy(
    near: &[u8],
    far: &[u8],
    valid: usize,
    sums: &mut Vec<u16>,
    out: &mut Vec<u8>,
) {
    let fill = |sums: &mut [u16]| {
        for ((sum, near), far) in sums.iter_mut().zip(near).zip(far) {
            *sum = 3 * u16::from(*near) + u16::from(*far);
        }
    };
    filter::<8, 7, 4>(near.len(), valid, sums, fill, out);
}

/// Two samples for each of the `len` values that `fill` fills in.
#[inline(always)]
fn filter<const LEFT: u16, const RIGHT: u16, const BITS: u16>(
    len: usize,
    valid: usize,
    sums: &mut Vec<u16>,
    fill: impl FnOnce(&mut [u16]),
    out: &mut Vec<u8>,
) {
    sums.resize(len + 2, 0);
    out.resize(len * 2, 0);
    let [first, row @ .., _] = sums.as_mut_slice() else {
        return;
    };
    fill(row);
    *first = row.first().copied().unwrap_or(0);
    // The first and the last have themselves for a neighbour.
    let last = sums.get(valid).copied().unwrap_or(0);
    if let Some(after) = sums.get_mut(valid + 1) {
        *after = last;
    }
    let (Some(middle), Some(after)) = (sums.get(1..), sums.get(2..)) else {
        return;
    };
    let pairs = out.as_chunks_mut::<2>().0.iter_mut();
    for (((pair, before), this), after) in pairs.zip(&*sums).zip(middle).zip(after) {
        *pair = [
            ((3 * this + before + LEFT) >> BITS) as u8,
            ((3 * this + after + RIGHT) >> BITS) as u8,
        ];
    }
}

/// Every sample `times` times: what libjpeg does for other ratios, and where a row has one or two
/// samples only.
#[inline(always)]
pub(super) fn replicate(row: &[u8], times: usize, out: &mut Vec<u8>) {
    out.clear();
    match times {
        2 => out.extend(row.iter().flat_map(|sample| [*sample; 2])),
        3 => out.extend(row.iter().flat_map(|sample| [*sample; 3])),
        4 => out.extend(row.iter().flat_map(|sample| [*sample; 4])),
        _ => out.extend_from_slice(row),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h2v1_is_three_parts_and_one() {
        let (mut sums, mut out) = (Vec::new(), Vec::new());
        // The 99 is beyond the row.
        h2v1_fancy(&[0, 10, 100, 99], 3, &mut sums, &mut out);
        // 0; (0 + 10 + 2) / 4; (30 + 0 + 1) / 4; (30 + 100 + 2) / 4; (300 + 10 + 1) / 4; 100.
        assert_eq!(out[..6], [0, 3, 7, 33, 77, 100]);
    }

    #[test]
    fn h1v2_rounds_by_the_side_it_is_on() {
        let mut out = Vec::new();
        h1v2_fancy(&[10, 7], &[11, 4], false, &mut out);
        // (30 + 11 + 1) / 4, (21 + 4 + 1) / 4.
        assert_eq!(out, [10, 6]);
        h1v2_fancy(&[10, 7], &[12, 5], true, &mut out);
        // (30 + 12 + 2) / 4, (21 + 5 + 2) / 4.
        assert_eq!(out, [11, 7]);
    }

    #[test]
    fn h2v2_rounds_once() {
        let (mut sums, mut out) = (Vec::new(), Vec::new());
        h2v2_fancy(&[10, 20, 30, 77], &[11, 22, 33, 77], 3, &mut sums, &mut out);
        // Sums 41, 82, 123: (4 * 41 + 8) / 16, (3 * 41 + 82 + 7) / 16, and so on.
        assert_eq!(out[..6], [10, 13, 18, 23, 28, 31]);
        replicate(&[1, 2], 2, &mut out);
        assert_eq!(out, [1, 1, 2, 2]);
        replicate(&[1, 2], 3, &mut out);
        assert_eq!(out, [1, 1, 1, 2, 2, 2]);
    }
}
