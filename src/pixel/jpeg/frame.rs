//! The geometry of an image: components, blocks, MCUs, and how samples become pixels.
//!
//! ```text
//! a frame of 4:2:0                    one MCU of an interleaved scan
//!
//! ┌────┬────┬────┬─ ─                 Y, h_samp 2, v_samp 2    Cb, 1 × 1   Cr, 1 × 1
//! │MCU │MCU │MCU │     row of MCUs    ┌───┬───┐                ┌───┐       ┌───┐
//! ├────┼────┼────┼─ ─                 │ 0 │ 1 │ row of blocks  │ 4 │       │ 5 │
//! │MCU │MCU │MCU │                    ├───┼───┤                └───┘       └───┘
//! ├────┼────┼────┼─ ─                 │ 2 │ 3 │ row of blocks
//!                                     └───┴───┘                block: 8 × 8 samples
//!
//! a group of blocks: eight of one row, whose coefficients lie side by side, so that each step of
//! the inverse DCT is one vector: group[place × 8 + lane]
//!
//! ┌───┬───┬───┬───┬───┬───┬───┬───┐
//! │ 0 │ 1 │ 2 │ 3 │ 4 │ 5 │ 6 │ 7 │  lanes
//! └───┴───┴───┴───┴───┴───┴───┴───┘
//! ```
//!
//! In a scan of one component an MCU is one block, whatever its factors are, and the blocks that
//! only fill up the last MCUs are left out.

use super::fault::{damaged, unsupported};
use super::header::{Colours, ComponentHeader, Header};
use crate::pixel::buffer::Size;
use crate::pixel::error::Error;

/// The most components that are decoded.
pub(super) const MAX_COMPONENTS: usize = 4;

/// Blocks that lie side by side in a group.
pub(super) const LANES: usize = 8;

/// The coefficients of eight blocks by their place: the first of each, the second of each, and so on.
pub(super) type BlockGroup = [i16; 64 * LANES];

/// How a component gets as many samples as the image has pixels, as libjpeg chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upsampling {
    /// It has them.
    Full,
    /// Twice the columns, by a triangle filter.
    H2v1Fancy,
    /// Twice the rows.
    H1v2Fancy,
    /// Twice both.
    H2v2Fancy,
    /// Each sample that many times, across and down.
    Replicate(usize, usize),
}

/// A component of the frame.
#[derive(Clone, Debug)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Blocks per MCU of an interleaved scan.
    pub(super) h_samp: usize,
    pub(super) v_samp: usize,
    /// Number of its quantisation table.
    pub(super) quant: usize,
    pub(super) width_in_blocks: usize,
    pub(super) height_in_blocks: usize,
    /// Samples per row and column that are the image's; the others fill blocks up.
    pub(super) valid_width: usize,
    pub(super) valid_height: usize,
    pub(super) upsampling: Upsampling,
    /// Columns of pixels for one column of samples.
    h_ratio: usize,
    /// Rows of pixels for one row of samples.
    pub(super) v_ratio: usize,
}

impl Component {
    /// Whether pixels take part of their value from the row of samples above or below.
    pub(super) fn blends_rows(&self) -> bool {
        matches!(
            self.upsampling,
            Upsampling::H1v2Fancy | Upsampling::H2v2Fancy
        )
    }

    /// Whether pixels take part of their value from the column of samples to the left or right.
    fn blends_columns(&self) -> bool {
        matches!(
            self.upsampling,
            Upsampling::H2v1Fancy | Upsampling::H2v2Fancy
        )
    }
}

/// An image's components and MCUs.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) size: Size,
    pub(super) colours: Colours,
    pub(super) progressive: bool,
    /// Rows of blocks per MCU of the component that has most.
    pub(super) max_v_samp: usize,
    /// MCUs of an interleaved scan.
    pub(super) mcus_across: usize,
    pub(super) mcus_down: usize,
    pub(super) components: Vec<Component>,
}

impl Frame {
    pub(super) fn new(header: &Header<'_>, size: Size) -> Result<Self, Error> {
        let is_single = header.components.len() == 1;
        let factors = |component: &ComponentHeader| {
            if is_single {
                // In the scans of a component alone an MCU is one block.
                [1, 1]
            } else {
                [component.h_samp.into(), component.v_samp.into()]
            }
        };
        let all = || header.components.iter().map(factors);
        let max_h_samp: usize = all().map(|[h_samp, _]| h_samp).max().unwrap_or(1);
        let max_v_samp: usize = all().map(|[_, v_samp]| v_samp).max().unwrap_or(1);
        let mut components = Vec::with_capacity(header.components.len());
        for component in &header.components {
            let [h_samp, v_samp] = factors(component);
            let valid_width = (size.width * h_samp).div_ceil(max_h_samp);
            let valid_height = (size.height * v_samp).div_ceil(max_v_samp);
            if !max_h_samp.is_multiple_of(h_samp) || !max_v_samp.is_multiple_of(v_samp) {
                return Err(unsupported("sampling factors that are not whole multiples"));
            }
            let (h_ratio, v_ratio) = (max_h_samp / h_samp, max_v_samp / v_samp);
            if usize::from(component.quant) >= 4 {
                return Err(damaged("a quantisation table is missing"));
            }
            components.push(Component {
                id: component.id,
                h_samp,
                v_samp,
                quant: component.quant.into(),
                width_in_blocks: valid_width.div_ceil(8),
                height_in_blocks: valid_height.div_ceil(8),
                valid_width,
                valid_height,
                upsampling: match (h_ratio, v_ratio) {
                    (1, 1) => Upsampling::Full,
                    (1, 2) => Upsampling::H1v2Fancy,
                    (2, 1) if valid_width > 2 => Upsampling::H2v1Fancy,
                    (2, 2) if valid_width > 2 => Upsampling::H2v2Fancy,
                    (h, v) => Upsampling::Replicate(h, v),
                },
                h_ratio,
                v_ratio,
            });
        }
        debug_assert!(components.len() <= MAX_COMPONENTS);
        Ok(Self {
            size,
            colours: header.colours,
            progressive: header.progressive,
            max_v_samp,
            mcus_across: size.width.div_ceil(8 * max_h_samp),
            mcus_down: size.height.div_ceil(8 * max_v_samp),
            components,
        })
    }

    /// Whether row `row` of a component's blocks has samples that a row of `wanted` pixels is made of.
    pub(super) fn is_needed(&self, component: &Component, row: usize, wanted: &[bool]) -> bool {
        any_of_block(row, component.v_ratio, component.blends_rows(), wanted)
    }

    /// The same of column `column` of its blocks, and columns of pixels.
    pub(super) fn has_column(&self, component: &Component, column: usize, wanted: &[bool]) -> bool {
        any_of_block(
            column,
            component.h_ratio,
            component.blends_columns(),
            wanted,
        )
    }
}

/// Whether a line of `wanted` pixels is made of samples of line `block` of blocks, where `ratio` lines
/// of pixels are one of samples.
fn any_of_block(block: usize, ratio: usize, blends: bool, wanted: &[bool]) -> bool {
    let lines = 8 * ratio;
    // Where lines are blended the pixels next to a block take some of its samples, too.
    let beyond = usize::from(blends);
    let from = (block * lines).saturating_sub(beyond).min(wanted.len());
    let to = ((block + 1) * lines + beyond).min(wanted.len());
    wanted[from..to].contains(&true)
}
