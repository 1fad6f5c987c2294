//! The inverse DCT of libjpeg's "islow": 13-bit fixed point, first down the columns and then along
//! the rows, with two more bits between them.
//!
//! Eight blocks go through it side by side, so every step is the same arithmetic on neighbouring
//! values, which the compiler turns into vectors, and nothing is transposed. Sums that
//! libjpeg-turbo's vector code makes in 16 bits are made so here, and between the passes values are
//! clamped to 16 bits as it does.

use multiversion::multiversion;

use crate::pixel::jpeg::fault::Fault;
use crate::pixel::jpeg::frame::{BlockGroup, LANES};

/// The factors of a quantisation table, each once per lane, and the largest coefficients that they
/// take.
#[derive(Clone, Debug)]
pub(in crate::pixel::jpeg) struct QuantTable {
    factors: BlockGroup,
    limits: BlockGroup,
}

/// The largest magnitude of a coefficient times its factor: three times what eight bits per sample
/// can need. Beyond, 16-bit arithmetic can overflow, and what then comes out depends on its order.
const LIMIT: u16 = 4095;

impl QuantTable {
    /// For the factors of a block, row by row.
    pub(in crate::pixel::jpeg) fn new(factors: &[u16; 64]) -> Self {
        let spread = |of: fn(u16) -> i16| {
            let mut group = [0; 64 * LANES];
            for (lanes, factor) in group.chunks_exact_mut(LANES).zip(factors) {
                lanes.fill(of(*factor));
            }
            group
        };
        Self {
            // A factor beyond 15 bits takes no coefficient but zero.
            factors: spread(|factor| factor as i16),
            limits: spread(|factor| {
                LIMIT
                    .checked_div(factor)
                    .map_or(i16::MAX, |limit| limit as i16)
            }),
        }
    }

    /// Whether all coefficients are within the limits.
    #[inline(always)]
    fn takes(&self, group: &BlockGroup) -> bool {
        let pairs = group.iter().zip(&self.limits);
        let beyond = pairs.fold(0, |beyond, (coefficient, limit)| {
            let magnitude = (*coefficient).max(0_i16.saturating_sub(*coefficient));
            beyond | i16::from(magnitude > *limit)
        });
        beyond == 0
    }
}

/// Factors are 1/8192.
const CONST_BITS: i32 = 13;
/// Bits that the first pass adds.
const PASS1_BITS: i32 = 2;

const FIX_0_298631336: i32 = 2446;
const FIX_0_390180644: i32 = 3196;
const FIX_0_541196100: i32 = 4433;
const FIX_0_765366865: i32 = 6270;
const FIX_0_899976223: i32 = 7373;
const FIX_1_175875602: i32 = 9633;
const FIX_1_501321110: i32 = 12_299;
const FIX_1_847759065: i32 = 15_137;
const FIX_1_961570560: i32 = 16_069;
const FIX_2_053119869: i32 = 16_819;
const FIX_2_562915447: i32 = 20_995;
const FIX_3_072711026: i32 = 25_172;

/// Eight values to eight, not yet scaled down. With inputs of 16 bits nothing overflows 32.
#[inline(always)]
fn idct_1d(x: [i16; 8]) -> [i32; 8] {
    // Even part.
    let (x2, x6) = (i32::from(x[2]), i32::from(x[6]));
    let even2 = x2 * FIX_0_541196100 + x6 * (FIX_0_541196100 - FIX_1_847759065);
    let even3 = x2 * (FIX_0_541196100 + FIX_0_765366865) + x6 * FIX_0_541196100;
    let even0 = i32::from(x[0].wrapping_add(x[4])) << CONST_BITS;
    let even1 = i32::from(x[0].wrapping_sub(x[4])) << CONST_BITS;
    let even = [even0 + even3, even1 + even2, even1 - even2, even0 - even3];
    // Odd part.
    let (x1, x3) = (i32::from(x[1]), i32::from(x[3]));
    let (x5, x7) = (i32::from(x[5]), i32::from(x[7]));
    let z3 = i32::from(x[7].wrapping_add(x[3]));
    let z4 = i32::from(x[5].wrapping_add(x[1]));
    let odd3 = z3 * (FIX_1_175875602 - FIX_1_961570560) + z4 * FIX_1_175875602;
    let odd4 = z3 * FIX_1_175875602 + z4 * (FIX_1_175875602 - FIX_0_390180644);
    let odd = [
        x1 * (FIX_1_501321110 - FIX_0_899976223) - x7 * FIX_0_899976223 + odd4,
        x3 * (FIX_3_072711026 - FIX_2_562915447) - x5 * FIX_2_562915447 + odd3,
        x5 * (FIX_2_053119869 - FIX_2_562915447) - x3 * FIX_2_562915447 + odd4,
        x7 * (FIX_0_298631336 - FIX_0_899976223) - x1 * FIX_0_899976223 + odd3,
    ];
    [
        even[0] + odd[0],
        even[1] + odd[1],
        even[2] + odd[2],
        even[3] + odd[3],
        even[3] - odd[3],
        even[2] - odd[2],
        even[1] - odd[1],
        even[0] - odd[0],
    ]
}

/// Scales down by `BITS`, rounding half up.
#[inline(always)]
fn descale<const BITS: i32>(value: i32) -> i32 {
    (value + (1 << (BITS - 1))) >> BITS
}

/// Where the samples of a group go.
#[derive(Debug)]
pub(super) struct SampleRows<'a> {
    /// Rows of samples, the blocks' first one at the start.
    pub(super) samples: &'a mut [u8],
    /// Samples from one row to the next.
    pub(super) stride: usize,
    /// Which block of the row is in each lane, in order. Lanes behind these have none.
    pub(super) blocks: &'a [u16],
}

impl SampleRows<'_> {
    /// Whether all eight are neighbours, so that a row of theirs is one store.
    #[inline(always)]
    fn are_neighbours(&self) -> bool {
        match self.blocks {
            [first, .., last] if self.blocks.len() == LANES => last - first == LANES as u16 - 1,
            _ => false,
        }
    }
}

/// Makes the samples of eight blocks of their coefficients.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(super) fn inverse_dct(
    group: &BlockGroup,
    quant: &QuantTable,
    out: SampleRows<'_>,
) -> Result<(), Fault> {
    if !quant.takes(group) {
        return Err(Fault::OutOfRange);
    }
    let x = |at: usize| group[at].wrapping_mul(quant.factors[at]);
    let mut columns = [0; 64 * LANES];
    for at in 0..64 {
        // Loops over the eight values would keep the compiler from making vectors.
        let y = idct_1d([
            x(at),
            x(at + 64),
            x(at + 128),
            x(at + 192),
            x(at + 256),
            x(at + 320),
            x(at + 384),
            x(at + 448),
        ]);
        columns[at] = to_second_pass(y[0]);
        columns[at + 64] = to_second_pass(y[1]);
        columns[at + 128] = to_second_pass(y[2]);
        columns[at + 192] = to_second_pass(y[3]);
        columns[at + 256] = to_second_pass(y[4]);
        columns[at + 320] = to_second_pass(y[5]);
        columns[at + 384] = to_second_pass(y[6]);
        columns[at + 448] = to_second_pass(y[7]);
    }
    let neighbours = out.are_neighbours();
    let rows = out.samples.chunks_exact_mut(out.stride);
    for (row, samples) in columns.as_chunks::<64>().0.iter().zip(rows) {
        // Samples 0 to 3 and 4 to 7 of each block's row.
        let (mut left, mut right) = ([0_u32; LANES], [0_u32; LANES]);
        for at in 0..LANES {
            let y = idct_1d([
                row[at],
                row[at + 8],
                row[at + 16],
                row[at + 24],
                row[at + 32],
                row[at + 40],
                row[at + 48],
                row[at + 56],
            ]);
            left[at] = sample(y[0]) | sample(y[1]) << 8 | sample(y[2]) << 16 | sample(y[3]) << 24;
            right[at] = sample(y[4]) | sample(y[5]) << 8 | sample(y[6]) << 16 | sample(y[7]) << 24;
        }
        let samples = samples.as_chunks_mut::<8>().0;
        let of_lanes = left.iter().zip(&right);
        let of_lanes = of_lanes.map(|(left, right)| u64::from(*right) << 32 | u64::from(*left));
        if neighbours {
            let samples = samples.get_mut(usize::from(out.blocks[0])..);
            let samples = samples.and_then(<[_]>::first_chunk_mut::<LANES>);
            for (samples, eight) in samples.into_iter().flatten().zip(of_lanes) {
                *samples = eight.to_le_bytes();
            }
        } else {
            for (block, eight) in out.blocks.iter().zip(of_lanes) {
                if let Some(samples) = samples.get_mut(usize::from(*block)) {
                    *samples = eight.to_le_bytes();
                }
            }
        }
    }
    Ok(())
}

/// From the first pass to the second.
#[inline(always)]
fn to_second_pass(value: i32) -> i16 {
    descale::<{ CONST_BITS - PASS1_BITS }>(value).clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// From the second pass to a sample.
#[inline(always)]
fn sample(value: i32) -> u32 {
    (descale::<{ CONST_BITS + PASS1_BITS + 3 }>(value) + 128).clamp(0, 255) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of factors that are all the same.
    fn quant(factor: u16) -> QuantTable {
        QuantTable::new(&[factor; 64])
    }

    /// Each block in its lane.
    fn in_order(samples: &mut [u8; 64 * LANES]) -> SampleRows<'_> {
        SampleRows {
            samples,
            stride: 8 * LANES,
            blocks: &[0, 1, 2, 3, 4, 5, 6, 7],
        }
    }

    /// The samples of a block, by rows.
    fn samples(group: &BlockGroup, quant: &QuantTable, lane: usize) -> Vec<u8> {
        let mut samples = [0; 64 * LANES];
        inverse_dct(group, quant, in_order(&mut samples)).unwrap();
        samples
            .chunks_exact(8 * LANES)
            .flat_map(|row| row[lane * 8..][..8].to_vec())
            .collect()
    }

    /// The definition of the inverse DCT.
    fn by_definition(coefficients: &[f64; 64]) -> Vec<f64> {
        let cosine = |x: usize, u: usize| {
            let scale = if u == 0 { 0.5_f64.sqrt() } else { 1.0 };
            scale * ((2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0).cos()
        };
        (0..64)
            .map(|at| {
                let sum: f64 = (0..64)
                    .map(|k| coefficients[k] * cosine(at / 8, k / 8) * cosine(at % 8, k % 8))
                    .sum();
                (sum / 4.0 + 128.0).clamp(0.0, 255.0)
            })
            .collect()
    }

    #[test]
    fn every_lane_is_the_inverse_dct() {
        let mut group = [0; 64 * LANES];
        let mut number = 1_u32;
        for (at, value) in group.iter_mut().enumerate() {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Less in the high frequencies, as in images.
            *value =
                ((number >> 16) as i32 % 200 - 100) as i16 / (1 + (at / 64 + at / 8 % 8) as i16);
        }
        for lane in 0..LANES {
            let coefficients = std::array::from_fn(|k| f64::from(group[k * LANES + lane]) * 3.0);
            let expected = by_definition(&coefficients);
            for (ours, exact) in samples(&group, &quant(3), lane).iter().zip(expected) {
                assert!((f64::from(*ours) - exact).abs() < 1.0, "{ours} {exact}");
            }
        }
    }

    #[test]
    fn samples_go_where_the_blocks_are() {
        let mut group = [0; 64 * LANES];
        (0..)
            .zip(&mut group[..LANES])
            .for_each(|(lane, first)| *first = lane * 8);
        let mut samples = [7; 8 * 80];
        for blocks in [&[1, 2, 9][..], &[0, 7], &[2, 3, 4, 5, 6, 7, 8, 9]] {
            samples.fill(7);
            let out = SampleRows {
                samples: &mut samples,
                stride: 80,
                blocks,
            };
            inverse_dct(&group, &quant(1), out).unwrap();
            for (place, sample) in samples.iter().enumerate() {
                let lane = blocks
                    .iter()
                    .position(|block| usize::from(*block) == place % 80 / 8);
                let expected = lane.map_or(7, |lane| 128 + lane as u8);
                assert_eq!(*sample, expected, "{place} of {blocks:?}");
            }
        }
    }

    #[test]
    fn one_coefficient_rounds_half_up_and_is_clamped() {
        for (first, sample) in [
            (0, 128),
            (3, 128),
            (4, 129),
            (-4, 128),
            (-5, 127),
            (4095, 255),
            (-4095, 0),
        ] {
            let mut group = [0; 64 * LANES];
            group[5] = first;
            assert_eq!(samples(&group, &quant(1), 5), [sample; 64], "{first}");
            assert_eq!(samples(&group, &quant(1), 4), [128; 64]);
        }
    }

    #[test]
    fn the_limit_holds_for_both_signs_and_every_place() {
        for (factor, value, within) in [
            (1, 4095, true),
            (1, 4096, false),
            (1, -4095, true),
            (1, -4096, false),
            (1, i16::MIN, false),
            (45, 91, true),
            (45, -92, false),
            (4096, 1, false),
            (65_535, 1, false),
            (65_535, 0, true),
            (0, i16::MAX, true),
        ] {
            for at in [0, 100, 511] {
                let mut group = [0; 64 * LANES];
                group[at] = value;
                let taken = inverse_dct(&group, &quant(factor), in_order(&mut [0; _]));
                assert_eq!(taken.is_ok(), within, "{factor} {value}");
            }
        }
    }
}
