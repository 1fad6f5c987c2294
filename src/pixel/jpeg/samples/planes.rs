//! The samples of the row of MCUs at hand.

use super::idct::{QuantTable, SampleRows, inverse_dct};
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
    /// Makes room for component `index` of the frame. Nothing is cleared: what pixels that are read
    /// are made of is written before.
    pub(in crate::pixel::jpeg) fn shape(&mut self, frame: &Frame, index: usize) {
        let component = &frame.components[index];
        // Rows are upsampled in whole vectors.
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

    /// Makes samples of a group of blocks of row `row` of these MCUs: those of number `blocks`, a lane
    /// for each, and in order.
    #[inline]
    pub(in crate::pixel::jpeg) fn write(
        &mut self,
        row: usize,
        blocks: &[u16],
        coefficients: &BlockGroup,
        quant: &QuantTable,
    ) -> Result<(), Fault> {
        let first = (1 + row * 8) * self.stride;
        let out = SampleRows {
            samples: self.samples.get_mut(first..).unwrap_or_default(),
            stride: self.stride,
            blocks,
        };
        inverse_dct(coefficients, quant, out)
    }
}
