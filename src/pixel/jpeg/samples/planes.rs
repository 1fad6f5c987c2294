//! The samples of the row of MCUs at hand.

use super::idct::{QuantTable, inverse_dct};
use crate::pixel::jpeg::fault::Fault;
use crate::pixel::jpeg::frame::{BlockGroup, Frame, LANES};

/// Bytes of samples that are kept between images.
const KEPT_BYTES: usize = 1 << 20;

/// The samples of one component in one row of MCUs, under the last row of samples of the one
/// before.
#[derive(Debug, Default)]
pub(in crate::pixel::jpeg) struct Plane {
    samples: Vec<u8>,
    stride: usize,
}

impl Plane {
    /// Makes room for component `index` of the frame. Nothing is cleared: all is written before it
    /// is read.
    pub(in crate::pixel::jpeg) fn shape(&mut self, frame: &Frame, index: usize) {
        let component = &frame.components[index];
        // Groups of blocks are written whole.
        self.stride = frame.mcus_across.next_multiple_of(LANES) * 8 * component.h_samp;
        self.samples
            .resize(self.stride * (8 * component.v_samp + 1), 0);
    }

    /// Gives back what a large image took.
    pub(in crate::pixel::jpeg) fn shrink(&mut self) {
        if self.samples.capacity() > KEPT_BYTES {
            self.samples = Vec::new();
        }
    }

    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.samples.capacity()
    }

    /// Row `y`, of which -1 is the last row of the MCUs above.
    pub(super) fn row(&self, y: isize) -> &[u8] {
        let start = y.wrapping_add(1).unsigned_abs() * self.stride;
        self.samples
            .get(start..)
            .map_or(&[], |rest| rest.get(..self.stride).unwrap_or_default())
    }

    /// Keeps the last row for the next MCUs.
    pub(in crate::pixel::jpeg) fn carry(&mut self) {
        let last = self.samples.len().saturating_sub(self.stride);
        self.samples.copy_within(last.., 0);
    }

    /// Makes samples of a group of blocks: number `group` of row `row` of blocks in these MCUs.
    #[inline]
    pub(in crate::pixel::jpeg) fn write(
        &mut self,
        row: usize,
        group: usize,
        coefficients: &BlockGroup,
        quant: &QuantTable,
    ) -> Result<(), Fault> {
        let left = group * LANES * 8;
        let rows = self.samples.chunks_exact_mut(self.stride).skip(1 + row * 8);
        let out = rows.filter_map(|row| row.get_mut(left..)?.first_chunk_mut());
        inverse_dct(coefficients, quant, out)
    }
}
