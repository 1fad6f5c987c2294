//! Rows of MCUs to samples, and rows of samples to RGB, each compiled for several instruction sets.

use multiversion::multiversion;

use super::bit_reader::Bits;
use super::huffman::Table;
use super::idct::{self, Blocks, SIDE_BY_SIDE};
use super::scan_layout::Component;
use super::upsample::{self, Rows};
use super::{Plane, block, colour};
use crate::pixel::jpeg::header::Colours;

/// Where decoding stands between two rows of MCUs.
#[derive(Debug)]
pub(super) struct McuRow<'a> {
    pub(super) bits: Bits<'a>,
    pub(super) components: &'a [Component],
    pub(super) dc: &'a [Box<Table>; 4],
    pub(super) ac: &'a [Box<Table>; 4],
    pub(super) predictions: [i32; 3],
    /// MCUs between restart markers, or 0; and how many are left to the next.
    pub(super) restart: u32,
    pub(super) until_restart: u32,
    pub(super) next_restart: u8,
}

impl McuRow<'_> {
    fn restart(&mut self) -> Option<()> {
        self.bits.restart(self.next_restart)?;
        self.next_restart = 0xD0 | (self.next_restart + 1) & 7;
        self.predictions = [0; 3];
        self.until_restart = self.restart;
        Some(())
    }
}

/// The most lots of eight blocks that eight MCUs have: four of luma, two of chroma.
const LOTS: usize = 6;

/// MCUs that are decoded before they are transformed: so many that every component has a whole
/// number of lots of blocks.
pub(super) const MCUS: usize = SIDE_BY_SIDE;

/// The coefficients of eight MCUs.
pub(super) type Coefficients = [Blocks; LOTS];

/// Which lots of row `y` of MCUs have samples that a row of `wanted` pixels is made of.
pub(super) fn needed(
    components: &[Component],
    v: usize,
    y: usize,
    wanted: &[bool],
) -> [bool; LOTS] {
    let mut needed = [false; LOTS];
    let mut lots = needed.iter_mut();
    for component in components {
        // Where samples are upsampled vertically, pixels take some from the next row, too.
        let rows = 8 * v / component.v;
        let beyond = usize::from(component.v < v);
        for block in 0..component.v {
            let first = (y * component.v + block) * rows;
            let from = first.saturating_sub(beyond).min(wanted.len());
            let to = (first + rows + beyond).min(wanted.len());
            let any = wanted[from..to].contains(&true);
            lots.by_ref().take(component.h).for_each(|lot| *lot = any);
        }
    }
    needed
}

/// Decodes a row of `across` MCUs into the planes, whose rows must have room for a multiple of
/// eight MCUs. The samples of lots that are not needed are left as they were.
pub(super) fn decode(
    row: &mut McuRow<'_>,
    across: usize,
    needed: [bool; LOTS],
    coefficients: &mut Coefficients,
    planes: &mut [Plane; 3],
) -> Option<()> {
    for start in (0..across).step_by(MCUS) {
        read(row, (across - start).min(MCUS), needed, coefficients)?;
        let mut lots = coefficients.iter().zip(needed);
        for (component, plane) in row.components.iter().zip(&mut *planes) {
            for y in 0..component.v {
                for x in 0..component.h {
                    let (blocks, needed) = lots.next()?;
                    if !needed {
                        continue;
                    }
                    let left = (start * component.h + x * SIDE_BY_SIDE) * 8;
                    let rows = plane.samples.chunks_exact_mut(plane.stride).skip(1 + y * 8);
                    let out = rows.filter_map(|row| row.get_mut(left..)?.first_chunk_mut());
                    if !idct::within_limit(blocks) {
                        return None;
                    }
                    idct::eight_blocks(blocks, out);
                }
            }
        }
    }
    Some(())
}

/// Reads the coefficients of up to eight MCUs. Those of lots that are not needed are left mixed
/// with older ones.
#[multiversion(targets("x86_64+bmi1+bmi2+avx2"))]
fn read(
    row: &mut McuRow<'_>,
    mcus: usize,
    needed: [bool; LOTS],
    coefficients: &mut Coefficients,
) -> Option<()> {
    for (blocks, _) in coefficients.iter_mut().zip(needed).filter(|lot| lot.1) {
        blocks.0.fill(0);
    }
    for mcu in 0..mcus {
        if row.restart > 0 {
            if row.until_restart == 0 {
                row.restart()?;
            }
            row.until_restart -= 1;
        }
        row.bits.prepare()?;
        let mut lots = coefficients.as_mut_slice();
        for (component, prediction) in row.components.iter().zip(&mut row.predictions) {
            let dc = row.dc.get(component.dc)?;
            let ac = row.ac.get(component.ac)?;
            for _ in 0..component.v {
                let (these, others) = lots.split_at_mut_checked(component.h)?;
                for x in 0..component.h {
                    let x = mcu * component.h + x;
                    let blocks = these.get_mut(x / SIDE_BY_SIDE)?;
                    let lane = x % SIDE_BY_SIDE;
                    block::read(
                        &mut row.bits,
                        [dc, ac],
                        &component.scaled,
                        prediction,
                        lane,
                        blocks,
                    )?;
                }
                lots = others;
            }
        }
    }
    Some(())
}

/// Pixels in a vector, or in several.
const VECTOR: usize = 64;

/// How samples become pixels.
#[derive(Debug)]
pub(super) struct Sampling {
    pub(super) colours: Colours,
    /// Samples of the first component for each of the others.
    pub(super) h: usize,
    pub(super) v: usize,
    /// Of the image, in pixels.
    pub(super) width: usize,
}

/// Makes a row of pixels of a row of the first component and, of each other one, the nearest row
/// and the second nearest, which is `below` or above.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512vl+bmi1+bmi2",
    "x86_64+avx2+bmi1+bmi2",
    "aarch64+neon"
))]
pub(super) fn emit<'a>(
    sampling: &Sampling,
    luma: &[u8],
    chroma: [[&'a [u8]; 2]; 2],
    below: bool,
    rows: &mut Rows,
    rgb: &mut [u8],
) {
    let (h, v) = (sampling.h, sampling.v);
    // All planes have room for a whole number of vectors.
    let padded = sampling.width.next_multiple_of(VECTOR);
    let luma = luma.get(..padded).unwrap_or_default();
    if sampling.colours == Colours::Grey {
        return colour::grey(luma, rgb);
    }
    let cut = |row: &'a [u8]| row.get(..padded / h).unwrap_or_default();
    let [[cb, cb_far], [cr, cr_far]] = chroma;
    let chroma = [[cut(cb), cut(cb_far)], [cut(cr), cut(cr_far)]];
    let real = sampling.width.div_ceil(h);
    let Rows { sums, out, planes } = rows;
    let [cb, cr] = if h == 1 && v == 1 {
        [chroma[0][0], chroma[1][0]]
    } else {
        for (out, [near, far]) in out.iter_mut().zip(chroma) {
            match (h, v) {
                (1, _) => upsample::down(near, far, below, out),
                _ if real <= 2 => upsample::replicate(near, out),
                (_, 1) => upsample::across(near, real, sums, out),
                _ => upsample::both(near, far, real, sums, out),
            }
        }
        let [cb, cr] = out;
        [cb.as_slice(), cr.as_slice()]
    };
    match sampling.colours {
        Colours::Rgb => colour::rgb(luma, cb, cr, rgb),
        _ => colour::ycc(luma, cb, cr, planes, rgb),
    }
}
