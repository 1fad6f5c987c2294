//! What every scan has: its header, and the walk over its MCUs with restart markers between them.

use super::bit_reader::{BitReader, Window};
use super::store::ComponentStore;
use crate::pixel::error::Error;
use crate::pixel::jpeg::fault::{Fault, damaged};
use crate::pixel::jpeg::frame::{BlockGroup, Frame, MAX_COMPONENTS};
use crate::pixel::jpeg::marker::RST0;

/// A component of a scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::pixel::jpeg) struct ScanComponent {
    /// Which one of the frame.
    pub(in crate::pixel::jpeg) index: usize,
    /// Numbers of its Huffman tables.
    pub(in crate::pixel::jpeg) dc: usize,
    pub(in crate::pixel::jpeg) ac: usize,
    /// Blocks per MCU of this scan.
    pub(super) h: usize,
    pub(super) v: usize,
}

/// The geometry and parameters of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pixel::jpeg) struct ScanLayout {
    pub(in crate::pixel::jpeg) components: Vec<ScanComponent>,
    pub(super) mcus_across: usize,
    pub(super) mcus_down: usize,
    /// The first and last coefficient (Ss, Se).
    pub(in crate::pixel::jpeg) band: [u8; 2],
    /// The bit that a scan before this one ended with, or 0 (Ah); and the bit that this one ends with (Al).
    pub(in crate::pixel::jpeg) high: u8,
    pub(in crate::pixel::jpeg) low: u8,
}

/// The most blocks of an MCU.
pub(super) const MAX_MCU_BLOCKS: usize = 10;

impl ScanLayout {
    /// Reads the body of an SOS segment, by libjpeg's rules.
    pub(in crate::pixel::jpeg) fn read(body: &[u8], frame: &Frame) -> Result<Self, Error> {
        Self::parse(body, frame).ok_or(damaged("a scan header is invalid"))
    }

    fn parse(body: &[u8], frame: &Frame) -> Option<Self> {
        let (count, rest) = body.split_first()?;
        let (selectors, &[first, last, approximation]) = rest.split_last_chunk()?;
        let (selectors, []) = selectors.as_chunks::<2>() else {
            return None;
        };
        if usize::from(*count) != selectors.len()
            || !(1..=MAX_COMPONENTS).contains(&selectors.len())
        {
            return None;
        }
        let alone = selectors.len() == 1;
        let mut components = Vec::with_capacity(selectors.len());
        let mut next = 0;
        for (place, [id, tables]) in selectors.iter().enumerate() {
            // Identifiers may repeat: of those at or behind its own place the first one counts.
            let of_frame = frame.components.iter().enumerate().skip(place);
            let (index, component) = of_frame
                .into_iter()
                .find(|(_, component)| component.id == *id)?;
            // In the frame's order, and each once.
            if index < next {
                return None;
            }
            next = index + 1;
            components.push(ScanComponent {
                index,
                dc: usize::from(tables >> 4),
                ac: usize::from(tables & 15),
                h: if alone { 1 } else { component.h_samp },
                v: if alone { 1 } else { component.v_samp },
            });
        }
        let blocks: usize = components
            .iter()
            .map(|component| component.h * component.v)
            .sum();
        if blocks > MAX_MCU_BLOCKS {
            return None;
        }
        let (mcus_across, mcus_down) = match components.as_slice() {
            [only] => {
                let component = &frame.components[only.index];
                (component.width_in_blocks, component.height_in_blocks)
            }
            _ => (frame.mcus_across, frame.mcus_down),
        };
        Some(Self {
            components,
            mcus_across,
            mcus_down,
            band: [first, last],
            high: approximation >> 4,
            low: approximation & 15,
        })
    }
}

/// Where decoding of a scan stands.
#[derive(Debug)]
pub(in crate::pixel::jpeg) struct ScanDecoder<'a> {
    pub(super) bits: BitReader<'a>,
    /// The last DC value of each component of the scan.
    pub(super) predictions: [i32; MAX_COMPONENTS],
    /// Blocks, this one included, whose bands of a progressive scan have ended.
    pub(super) eob_run: u32,
    /// MCUs between restart markers, or 0; and how many are left to the next.
    restart_interval: u32,
    until_restart: u32,
    next_restart: u8,
}

impl<'a> ScanDecoder<'a> {
    pub(in crate::pixel::jpeg) fn new(
        data: &'a [u8],
        restart_interval: u32,
        window: &'a mut Window,
    ) -> Self {
        Self {
            bits: BitReader::new(data, window),
            predictions: [0; MAX_COMPONENTS],
            eob_run: 0,
            restart_interval,
            until_restart: restart_interval,
            next_restart: RST0,
        }
    }

    /// Reads the restart marker if one is due, and makes sure that an MCU can be read.
    #[inline(always)]
    pub(super) fn start_mcu(&mut self) -> Result<(), Fault> {
        if self.restart_interval > 0 {
            if self.until_restart == 0 {
                self.restart()?;
            }
            self.until_restart -= 1;
        }
        self.bits.ensure_mcu()
    }

    #[cold]
    #[inline(never)]
    fn restart(&mut self) -> Result<(), Fault> {
        self.bits.restart(self.next_restart)?;
        self.next_restart = RST0 | (self.next_restart + 1) & 7;
        self.predictions = [0; MAX_COMPONENTS];
        self.eob_run = 0;
        self.until_restart = self.restart_interval;
        Ok(())
    }

    /// What became of the scan, whose decoding ended with `result`: without data bits have no
    /// meaning, so that a code that is invalid may be data that is missing.
    pub(in crate::pixel::jpeg) fn finish(&self, result: Result<(), Fault>) -> Result<(), Fault> {
        self.bits.check_end()?;
        result
    }

    /// Calls `block` for each block of the scan, with its component's place in the scan, and its group
    /// and lane if it is kept.
    #[inline(always)]
    pub(super) fn for_each_block(
        &mut self,
        layout: &ScanLayout,
        store: &mut [ComponentStore],
        mut block: impl FnMut(&mut Self, usize, Option<(&mut BlockGroup, usize)>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        for mcu_y in 0..layout.mcus_down {
            for mcu_x in 0..layout.mcus_across {
                self.start_mcu()?;
                for (place, component) in layout.components.iter().enumerate() {
                    let Some(store) = store.get_mut(component.index) else {
                        continue;
                    };
                    for y in 0..component.v {
                        for x in 0..component.h {
                            let row = mcu_y * component.v + y;
                            let column = mcu_x * component.h + x;
                            block(self, place, store.block(row, column))?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
