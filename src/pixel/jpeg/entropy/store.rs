//! The coefficients of files that have several scans, until all of them are read.
//!
//! Only of rows of blocks that pixels are made of. Of the others a sequential scan needs nothing,
//! and a progressive one must know which coefficients are not zero, since a later scan has a bit for
//! each of those: eight bytes in place of 128.

use crate::pixel::jpeg::frame::{BlockGroup, Frame, LANES};

/// Bytes of coefficients that are kept between images.
const KEPT_BYTES: usize = 1 << 20;

/// The coefficients of one component.
#[derive(Debug, Default)]
pub(in crate::pixel::jpeg) struct ComponentStore {
    /// For each row of blocks its place among those that are kept, or `u32::MAX`.
    rows: Vec<u32>,
    groups_across: usize,
    coefficients: Vec<i16>,
    nonzero: Vec<u64>,
}

impl ComponentStore {
    /// Makes room for component `index` of the frame, of which no coefficient is known yet.
    pub(in crate::pixel::jpeg) fn shape(&mut self, frame: &Frame, index: usize, wanted: &[bool]) {
        let component = &frame.components[index];
        self.groups_across = (frame.mcus_across * component.h_samp).div_ceil(LANES);
        // With the rows that only fill up the last MCUs.
        let rows_down = frame.mcus_down * component.v_samp;
        self.rows.clear();
        let mut kept = 0;
        for row in 0..rows_down {
            let needed = frame.is_needed(component, row, wanted);
            self.rows.push(if needed { kept } else { u32::MAX });
            kept += u32::from(needed);
        }
        self.coefficients.clear();
        let groups = kept as usize * self.groups_across;
        self.coefficients.resize(groups * 64 * LANES, 0);
        self.nonzero.clear();
        if frame.progressive {
            self.nonzero
                .resize(rows_down * self.groups_across * LANES, 0);
        }
    }

    /// Gives back what a large image took.
    pub(in crate::pixel::jpeg) fn shrink(&mut self) {
        if self.coefficients.capacity() * 2 > KEPT_BYTES {
            self.coefficients = Vec::new();
        }
        if self.nonzero.capacity() * 8 > KEPT_BYTES {
            self.nonzero = Vec::new();
        }
    }

    #[cfg(test)]
    pub(in crate::pixel::jpeg) fn kept_bytes(&self) -> usize {
        self.coefficients.capacity() * 2 + self.nonzero.capacity() * 8
    }

    /// The groups of a row of blocks; none if they are not kept.
    #[inline(always)]
    pub(in crate::pixel::jpeg) fn row(&mut self, row: usize) -> Option<&mut [BlockGroup]> {
        let place = *self.rows.get(row)? as usize;
        let groups = self.coefficients.as_chunks_mut().0;
        groups
            .get_mut(place.checked_mul(self.groups_across)?..)?
            .get_mut(..self.groups_across)
    }

    /// A row of blocks: the groups, if they are kept, and the coefficients that are not zero.
    #[inline(always)]
    pub(super) fn row_and_nonzero(
        &mut self,
        row: usize,
    ) -> (Option<&mut [BlockGroup]>, &mut [u64]) {
        let across = self.groups_across;
        let groups = self.coefficients.as_chunks_mut().0;
        let place = self.rows.get(row).copied().unwrap_or(u32::MAX) as usize;
        let start = place.checked_mul(across);
        let kept = start.and_then(|start| groups.get_mut(start..)?.get_mut(..across));
        let blocks = across * LANES;
        let nonzero = self.nonzero.get_mut(row * blocks..);
        (
            kept,
            nonzero
                .and_then(|rest| rest.get_mut(..blocks))
                .unwrap_or_default(),
        )
    }

    /// The group of a block and its lane there, if it is kept.
    #[inline(always)]
    pub(super) fn block(&mut self, row: usize, column: usize) -> Option<(&mut BlockGroup, usize)> {
        let group = self.row(row)?.get_mut(column / LANES)?;
        Some((group, column % LANES))
    }
}
