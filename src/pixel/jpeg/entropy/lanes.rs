//! Which blocks of a row of MCUs become samples, and side by side with which others: those that the
//! pixels that are read are made of, eight at a time. The others are decoded only to get past them.
//!
//! ```text
//! a resize reads two pixels of every 36:
//!
//! blocks of luma       0   1   2   3   4   5   6   7   8   9  10  11  12  13
//! read                     ×               ×   ×               ×           ×
//! lane                     0               1   2               3           4
//! ```
//!
//! MCUs are taken in batches of which every component has at most as many such blocks as its groups
//! have lanes: eight MCUs where all pixels are read, more where columns are left out.

use std::ops::Range;

use crate::pixel::jpeg::frame::{Frame, LANES, MAX_COMPONENTS};

/// The lane of a block that is not read.
pub(super) const LEFT_OUT: u8 = u8::MAX;

/// The batches and lanes of an image, the same in each of its rows.
#[derive(Debug, Default)]
pub(in crate::pixel::jpeg) struct Lanes {
    components: [ComponentLanes; MAX_COMPONENTS],
    batches: Vec<Batch>,
}

/// Neighbouring MCUs that are decoded together.
#[derive(Clone, Debug)]
pub(in crate::pixel::jpeg) struct Batch {
    pub(super) mcus: Range<usize>,
    /// Of each component which of its `read` blocks are the batch's.
    read: [Range<usize>; MAX_COMPONENTS],
}

#[derive(Debug, Default)]
struct ComponentLanes {
    /// For each block across its lane, counted through the groups of the component's row of blocks.
    lanes: Vec<u8>,
    /// The numbers of those that are read.
    read: Vec<u16>,
}

impl Lanes {
    /// Makes batches for the columns of pixels that are read.
    pub(in crate::pixel::jpeg) fn shape(&mut self, frame: &Frame, columns: &[bool]) {
        self.batches.clear();
        for lanes in &mut self.components {
            lanes.lanes.clear();
            lanes.read.clear();
        }
        let mut first = 0;
        let mut starts = [0; MAX_COMPONENTS];
        for mcu in 0..frame.mcus_across {
            let components = self.components.iter_mut().zip(&frame.components);
            let mut fits = true;
            for ((lanes, component), start) in components.zip(&starts) {
                for block in mcu * component.h_samp..(mcu + 1) * component.h_samp {
                    if frame.has_column(component, block, columns) {
                        lanes.read.push(block as u16);
                    }
                }
                fits &= lanes.read.len() - start <= LANES * component.h_samp;
            }
            if !fits {
                starts = self.close(frame, first..mcu, starts);
                first = mcu;
            }
        }
        self.close(frame, first..frame.mcus_across, starts);
    }

    /// Ends a batch, whose blocks that are read start at these places. Says where the next one's do.
    fn close(
        &mut self,
        frame: &Frame,
        mcus: Range<usize>,
        starts: [usize; MAX_COMPONENTS],
    ) -> [usize; MAX_COMPONENTS] {
        let mut read = starts.map(|start| start..start);
        let components = self.components.iter_mut().zip(&frame.components);
        for ((lanes, component), read) in components.zip(&mut read) {
            let end = mcus.end * component.h_samp;
            let of_batch = &lanes.read[read.start..];
            read.end += of_batch.partition_point(|block| usize::from(*block) < end);
            lanes.lanes.resize(end, LEFT_OUT);
            for (lane, block) in (0..).zip(&lanes.read[read.clone()]) {
                lanes.lanes[usize::from(*block)] = lane;
            }
        }
        let next = read.clone().map(|read| read.end);
        self.batches.push(Batch { mcus, read });
        next
    }

    /// The batches of a row of MCUs, from the left.
    pub(in crate::pixel::jpeg) fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// The lanes of a component's blocks in one MCU, of which it has `h` across.
    #[inline(always)]
    pub(super) fn of_mcu(&self, component: usize, mcu: usize, h: usize) -> &[u8] {
        let lanes = self.components[component].lanes.get(mcu * h..);
        lanes.and_then(|lanes| lanes.get(..h)).unwrap_or_default()
    }

    /// For each group of a component in a batch the numbers of the blocks in its lanes. Behind
    /// those that are read there may be groups without any.
    pub(in crate::pixel::jpeg) fn groups(
        &self,
        component: usize,
        batch: &Batch,
    ) -> impl Iterator<Item = &[u16]> {
        let read = &self.components[component].read[batch.read[component].clone()];
        read.chunks(LANES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixel::buffer::Size;
    use crate::pixel::jpeg::header;

    /// A frame of 4:2:0 this wide.
    fn frame(width: usize) -> Frame {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pixels/");
        let file = std::fs::read(format!("{folder}jpeg-cv-420-97x117.jpg")).unwrap();
        let header = header::read(&file).unwrap();
        Frame::new(&header, Size { width, height: 8 }).unwrap()
    }

    #[test]
    fn all_columns_are_batches_of_eight_mcus() {
        let mut lanes = Lanes::default();
        let frame = frame(300);
        lanes.shape(&frame, &[true; 300]);
        let mcus: Vec<_> = lanes
            .batches()
            .iter()
            .map(|batch| batch.mcus.clone())
            .collect();
        assert_eq!(mcus, [0..8, 8..16, 16..19]);
        let groups = |component, batch: usize| -> Vec<Vec<u16>> {
            let groups = lanes.groups(component, &lanes.batches()[batch]);
            groups.map(<[u16]>::to_vec).collect()
        };
        assert_eq!(
            groups(0, 1),
            [Vec::from_iter(16..24), Vec::from_iter(24..32)]
        );
        assert_eq!(groups(1, 1), [Vec::from_iter(8..16)]);
        // Pixels end within block 37 of luma, which the last MCU has no more of.
        assert_eq!(groups(0, 2), [Vec::from_iter(32..38)]);
        assert_eq!(lanes.of_mcu(0, 9, 2), [2, 3]);
        assert_eq!(lanes.of_mcu(2, 9, 1), [1]);
    }

    #[test]
    fn columns_that_are_left_out_have_no_lane() {
        let mut lanes = Lanes::default();
        let frame = frame(4000);
        let mut columns = vec![false; 4000];
        for x in (15..4000).step_by(36) {
            columns[x..x + 2].fill(true);
        }
        lanes.shape(&frame, &columns);
        // 15 and 16 are of luma's blocks 1 and 2, and of chroma's 0 and 1, since each is blended with
        // the other's samples.
        let of_mcu = |component, mcu, h| lanes.of_mcu(component, mcu, h).to_vec();
        assert_eq!(
            [of_mcu(0, 0, 2), of_mcu(0, 1, 2)],
            [[LEFT_OUT, 0], [1, LEFT_OUT]]
        );
        assert_eq!([of_mcu(2, 0, 1), of_mcu(2, 1, 1)], [[0], [1]]);
        // 51 and 52 are of luma's block 6 and chroma's 3.
        assert_eq!(
            [of_mcu(0, 2, 2), of_mcu(0, 3, 2)],
            [[LEFT_OUT; 2], [2, LEFT_OUT]]
        );
        assert_eq!([of_mcu(1, 2, 1), of_mcu(1, 3, 1)], [[LEFT_OUT], [2]]);
        // Every MCU once, and the batches are as full as they can be.
        let mut next = 0;
        for (number, batch) in lanes.batches().iter().enumerate() {
            assert_eq!(batch.mcus.start, next);
            next = batch.mcus.end;
            let counts = [0, 1, 2].map(|component| {
                lanes
                    .groups(component, batch)
                    .map(<[u16]>::len)
                    .sum::<usize>()
            });
            assert!(
                counts[0] <= 16 && counts[1] <= 8 && counts[2] <= 8,
                "{counts:?}"
            );
            let is_last = number + 1 == lanes.batches().len();
            assert!(is_last || counts[1] >= 7 || counts[0] >= 15, "{counts:?}");
        }
        assert_eq!(next, 250);
        assert!(lanes.batches().len() < 25, "{}", lanes.batches().len());
    }
}
