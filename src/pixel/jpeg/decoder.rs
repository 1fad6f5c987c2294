//! A file from its segments to its pixels: in one pass, or by way of its coefficients.

use super::entropy::bit_reader::Window;
use super::entropy::huffman::Table;
use super::entropy::lanes::Lanes;
use super::entropy::progressive::{self, Progress};
use super::entropy::scan::{ScanDecoder, ScanLayout};
use super::entropy::sequential::{self, BlockTables, McuGroups};
use super::entropy::store::ComponentStore;
use super::fault::{FORMAT, Fault, damaged};
use super::frame::{Frame, LANES, MAX_COMPONENTS};
use super::header::{self, Header, Segment};
use super::samples::idct::QuantTable;
use super::samples::output::{Output, QuantTables};
use super::tables::Tables;
use crate::pixel::buffer::{Buffers, Decoded, KeptRows, Rows, Size, sized};
use crate::pixel::error::Error;
use crate::pixel::options::Options;
use crate::pixel::orientation;

/// Tables and buffers, kept from image to image.
#[derive(Debug, Default)]
pub(in crate::pixel) struct Decoder {
    window: Box<Window>,
    dc: [Box<Table>; 4],
    ac: [Box<Table>; 4],
    groups: Box<Groups>,
    lanes: Lanes,
    store: [ComponentStore; MAX_COMPONENTS],
    output: Output,
}

/// The coefficients of a batch of MCUs.
#[derive(Debug)]
struct Groups(McuGroups);

impl Default for Groups {
    fn default() -> Self {
        Self([[0; 64 * LANES]; _])
    }
}

impl Decoder {
    /// Decodes the rows that are looked at into `buffers.pixels`. Pixels of columns that are not have
    /// any value.
    pub(in crate::pixel) fn decode(
        &mut self,
        image: &[u8],
        options: &Options,
        rows: Rows,
        buffers: &mut Buffers,
    ) -> Result<Decoded, Error> {
        let header = header::read(image)?;
        let size = Size::check(FORMAT, header.width.into(), header.height.into(), options)?;
        let frame = Frame::new(&header, size)?;
        let orientation = header.exif.map_or(1, orientation::orientation);
        // The rows of an image that is turned are not the rows that are read.
        let rows = if options.turns(orientation) {
            Rows::All
        } else {
            rows
        };
        buffers.rows.keep(size, rows);
        let rgb = sized(&mut buffers.pixels, buffers.rows.kept() * size.width * 3);
        self.pixels(&header, &frame, &buffers.rows, rgb)?;
        Ok(Decoded { size, orientation })
    }

    /// Gives back what a large image took.
    pub(in crate::pixel) fn shrink(&mut self) {
        self.store.iter_mut().for_each(ComponentStore::shrink);
        self.output.shrink();
    }

    /// Bytes of the buffers that grow with an image.
    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        let stores = self.store.iter().map(ComponentStore::kept_bytes);
        stores.sum::<usize>() + self.output.kept_bytes()
    }

    fn pixels(
        &mut self,
        header: &Header<'_>,
        frame: &Frame,
        rows: &KeptRows,
        rgb: &mut [u8],
    ) -> Result<(), Error> {
        let wanted = rows.wanted();
        let mut lines = rgb.chunks_exact_mut(frame.size.width * 3);
        self.output.shape(frame);
        let mut tables = Tables::default();
        let mut quants = QuantTables::default();
        let mut progress = Progress::new();
        let mut scans = 0;
        // A sequential scan had all components, so that all pixels are written.
        let mut is_done = false;
        for segment in &header.segments {
            let (body, data) = match *segment {
                Segment::QuantTables(body) => {
                    tables.define_quant(body)?;
                    continue;
                }
                Segment::HuffmanTables(body) => {
                    tables.define_huffman(body)?;
                    continue;
                }
                Segment::RestartInterval(interval) => {
                    tables.restart_interval = interval.into();
                    continue;
                }
                Segment::Scan { header, data } => (header, data),
            };
            let layout = ScanLayout::read(body, frame)?;
            latch_quant_tables(&layout, frame, &tables, &mut quants)?;
            let has_all = layout.components.len() == frame.components.len();
            if frame.progressive {
                progress.add(&layout)?;
            } else {
                if scans == 0 {
                    tables.default_huffman();
                }
                progress.add_whole(&layout)?;
            }
            self.define_huffman(&layout, frame.progressive, &tables)?;
            let scan = Scan {
                layout,
                data,
                restart_interval: tables.restart_interval,
            };
            if has_all && !frame.progressive {
                self.one_pass(scan, frame, &quants, rows, &mut lines)?;
                is_done = true;
            } else {
                if scans == 0 {
                    let stores = self.store.iter_mut().take(frame.components.len());
                    for (index, store) in stores.enumerate() {
                        store.shape(frame, index, wanted);
                    }
                }
                self.store_scan(scan, frame)?;
            }
            scans += 1;
        }
        if !is_done {
            progress.check_complete(frame.components.len())?;
            self.write_store(frame, &quants, wanted, &mut lines)?;
        }
        Ok(())
    }

    /// Makes the Huffman tables that a scan uses.
    fn define_huffman(
        &mut self,
        layout: &ScanLayout,
        progressive: bool,
        tables: &Tables<'_>,
    ) -> Result<(), Error> {
        let invalid = || damaged("a Huffman table is missing or invalid");
        let is_dc = layout.band[0] == 0;
        for component in &layout.components {
            if !progressive || is_dc && layout.high == 0 {
                let defined = tables
                    .dc
                    .get(component.dc)
                    .copied()
                    .flatten()
                    .ok_or_else(invalid)?;
                let table = self.dc.get_mut(component.dc).ok_or_else(invalid)?;
                table.define(&defined).ok_or_else(invalid)?;
            }
            if !progressive || !is_dc {
                let defined = tables
                    .ac
                    .get(component.ac)
                    .copied()
                    .flatten()
                    .ok_or_else(invalid)?;
                let table = self.ac.get_mut(component.ac).ok_or_else(invalid)?;
                table.define(&defined).ok_or_else(invalid)?;
            }
        }
        Ok(())
    }

    /// Decodes the only scan of a file to pixels, a row of MCUs at a time.
    fn one_pass<'a>(
        &mut self,
        scan: Scan<'_>,
        frame: &Frame,
        quants: &QuantTables,
        rows: &KeptRows,
        lines: &mut impl Iterator<Item = &'a mut [u8]>,
    ) -> Result<(), Error> {
        let layout = &scan.layout;
        let wanted = rows.wanted();
        self.lanes.shape(frame, rows.columns());
        let tables: Vec<_> = block_tables(layout, &self.dc, &self.ac).collect();
        let mut decoder = ScanDecoder::new(scan.data, scan.restart_interval, &mut self.window);
        let (groups, lanes, output) = (&mut self.groups.0, &self.lanes, &mut self.output);
        let result = (0..frame.mcus_down).try_for_each(|mcu_y| {
            let needed = sequential::needed_groups(frame, mcu_y, wanted);
            for batch in lanes.batches() {
                sequential::read_mcus(
                    &mut decoder,
                    layout,
                    &tables,
                    lanes,
                    batch,
                    &needed,
                    groups,
                )?;
                output.write_mcus(frame, lanes, batch, &needed, groups, quants)?;
            }
            output.emit(frame, mcu_y, wanted, lines);
            Ok(())
        });
        Ok(decoder.finish(result)?)
    }

    /// Decodes one of several scans of a file into the store.
    fn store_scan(&mut self, scan: Scan<'_>, frame: &Frame) -> Result<(), Error> {
        let layout = &scan.layout;
        let decoder = &mut ScanDecoder::new(scan.data, scan.restart_interval, &mut self.window);
        let store = &mut self.store;
        let tables: Vec<_> = block_tables(layout, &self.dc, &self.ac).collect();
        let result = match (layout.components.as_slice(), tables.as_slice()) {
            _ if !frame.progressive => sequential::read_scan(decoder, layout, &tables, store),
            _ if layout.band[0] == 0 && layout.high == 0 => {
                progressive::dc_first(decoder, layout, &tables, store)
            }
            _ if layout.band[0] == 0 => progressive::dc_refine(decoder, layout, store),
            ([component], [tables]) => {
                let store = &mut store[component.index];
                if layout.high == 0 {
                    progressive::ac_first(decoder, layout, tables.ac, store)
                } else {
                    progressive::ac_refine(decoder, layout, tables.ac, store)
                }
            }
            // An AC scan has one component, as was checked.
            _ => Err(Fault::BadCode),
        };
        Ok(decoder.finish(result)?)
    }

    /// Makes pixels of the coefficients in the store.
    fn write_store<'a>(
        &mut self,
        frame: &Frame,
        quants: &QuantTables,
        wanted: &[bool],
        lines: &mut impl Iterator<Item = &'a mut [u8]>,
    ) -> Result<(), Error> {
        for mcu_y in 0..frame.mcus_down {
            for (index, component) in frame.components.iter().enumerate() {
                for row in 0..component.v_samp {
                    if let Some(groups) = self.store[index].row(mcu_y * component.v_samp + row) {
                        self.output.write_row(index, row, groups, quants)?;
                    }
                }
            }
            self.output.emit(frame, mcu_y, wanted, lines);
        }
        Ok(())
    }
}

/// A scan that is about to be decoded.
struct Scan<'a> {
    layout: ScanLayout,
    data: &'a [u8],
    restart_interval: u32,
}

/// The Huffman tables of a scan's components. Tables that a progressive scan does not use are any.
fn block_tables<'a>(
    layout: &ScanLayout,
    dc: &'a [Box<Table>; 4],
    ac: &'a [Box<Table>; 4],
) -> impl Iterator<Item = BlockTables<'a>> {
    layout.components.iter().map(|component| BlockTables {
        dc: &dc[component.dc & 3],
        ac: &ac[component.ac & 3],
    })
}

/// Takes for each component of its first scan the quantisation table as it stands there, as libjpeg
/// does.
fn latch_quant_tables(
    layout: &ScanLayout,
    frame: &Frame,
    tables: &Tables<'_>,
    quants: &mut QuantTables,
) -> Result<(), Error> {
    for component in &layout.components {
        let number = frame.components[component.index].quant;
        let quant = &mut quants[component.index];
        if quant.is_none() {
            let factors = tables.quant.get(number).copied().flatten();
            let factors = factors.ok_or(damaged("a quantisation table is missing"))?;
            *quant = Some(Box::new(QuantTable::new(&factors.by_place())));
        }
    }
    Ok(())
}
