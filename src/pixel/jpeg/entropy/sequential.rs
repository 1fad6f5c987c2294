//! Sequential scans: every block has all of its coefficients.

use multiversion::multiversion;

use super::bit_reader::{BitCursor, BitReader, Window};
use super::huffman::{END, HAS_VALUE, Table, UNKNOWN, value};
use super::lanes::{Batch, LEFT_OUT, Lanes};
use super::scan::{MAX_MCU_BLOCKS, ScanDecoder, ScanLayout};
use super::store::ComponentStore;
use crate::pixel::jpeg::fault::Fault;
use crate::pixel::jpeg::frame::{BlockGroup, Frame, LANES};
use crate::pixel::jpeg::zigzag::ZIGZAG;

/// The Huffman tables of a component.
#[derive(Clone, Copy, Debug)]
pub(in crate::pixel::jpeg) struct BlockTables<'a> {
    pub(in crate::pixel::jpeg) dc: &'a Table,
    pub(in crate::pixel::jpeg) ac: &'a Table,
}

/// Where in a group each coefficient of the file's order belongs, in lane 0. A run of zeros in a
/// damaged file can lead beyond the 64, to places of no meaning.
const PLACES: [u16; 128] = {
    let mut places = [0; 128];
    let mut k = 0;
    while k < 64 {
        places[k] = ZIGZAG[k] as u16 * LANES as u16;
        k += 1;
    }
    places
};

/// The place in a group of coefficient `k` of the block in `lane`.
#[inline(always)]
pub(super) fn place(k: usize, lane: usize) -> usize {
    (usize::from(PLACES[k & 127]) + lane) % (64 * LANES)
}

/// Decodes the DC difference at the cursor.
#[inline(always)]
pub(super) fn dc_difference(cursor: &mut BitCursor, dc: &Table) -> Result<i32, Fault> {
    let mut entry = dc.lookup(cursor.peek());
    if entry == UNKNOWN {
        entry = dc.lookup_long(cursor.peek()).ok_or(Fault::BadCode)?;
    }
    let difference = if entry & HAS_VALUE != 0 {
        entry as i32 >> 16
    } else {
        value(cursor.peek(), entry)
    };
    cursor.skip(entry);
    Ok(difference)
}

/// Decodes the AC coefficient at the cursor after its zeros, and stores it unless `group` is `None`.
/// Says whether another one follows.
#[inline(always)]
fn ac_coefficient(
    cursor: &mut BitCursor,
    ac: &Table,
    k: &mut usize,
    group: &mut Option<(&mut BlockGroup, usize)>,
) -> Result<bool, Fault> {
    let mut entry = ac.lookup(cursor.peek());
    let coefficient = if entry & HAS_VALUE != 0 {
        entry as i32 >> 16
    } else {
        if entry == UNKNOWN {
            entry = ac.lookup_long(cursor.peek()).ok_or(Fault::BadCode)?;
        }
        if entry & END != 0 {
            cursor.skip(entry);
            return Ok(false);
        }
        value(cursor.peek(), entry)
    };
    cursor.skip(entry);
    *k += (entry >> 6 & 15) as usize;
    if let Some((group, lane)) = group {
        // A value has at most 15 bits.
        group[place(*k, *lane)] = coefficient as i16;
    }
    *k += 1;
    Ok(*k < 64)
}

/// Decodes a block; into a lane of a group, where all of its coefficients are zero before, or past
/// it if nobody needs it.
#[inline(always)]
fn block(
    bits: &mut BitReader<'_>,
    tables: BlockTables<'_>,
    prediction: &mut i32,
    mut group: Option<(&mut BlockGroup, usize)>,
) -> Result<(), Fault> {
    let (window, mut cursor): (&Window, _) = bits.cursor();
    cursor.refill(window);
    *prediction += dc_difference(&mut cursor, tables.dc)?;
    let dc = i16::try_from(*prediction).map_err(|_| Fault::OutOfRange)?;
    if let Some((group, lane)) = &mut group {
        group[place(0, *lane)] = dc;
    }
    let mut k = 1;
    // Two at a time: bits for the first are always fetched, so that nothing is to be predicted,
    // and those for the second are nearly always there.
    loop {
        cursor.refill(window);
        if !ac_coefficient(&mut cursor, tables.ac, &mut k, &mut group)? {
            break;
        }
        cursor.refill_for_one(window);
        if !ac_coefficient(&mut cursor, tables.ac, &mut k, &mut group)? {
            break;
        }
    }
    bits.resume(cursor);
    if k > 64 { Err(Fault::BadCode) } else { Ok(()) }
}

/// The coefficients of a batch of MCUs: for each row of blocks of each component as many groups as
/// an MCU has blocks there.
pub(in crate::pixel::jpeg) type McuGroups = [BlockGroup; MAX_MCU_BLOCKS];

/// Which groups have samples that a pixel of a wanted row is made of, in row `mcu_y` of MCUs.
pub(in crate::pixel::jpeg) fn needed_groups(
    frame: &Frame,
    mcu_y: usize,
    wanted: &[bool],
) -> [bool; MAX_MCU_BLOCKS] {
    let mut needed = [false; MAX_MCU_BLOCKS];
    let mut groups = needed.iter_mut();
    for component in &frame.components {
        for row in 0..component.v_samp {
            let any = frame.is_needed(component, mcu_y * component.v_samp + row, wanted);
            let row = groups.by_ref().take(component.h_samp);
            row.for_each(|group| *group = any);
        }
    }
    needed
}

/// Decodes a batch of MCUs. The groups that are not `needed` are left as they are.
#[multiversion(targets("x86_64+bmi1+bmi2+avx2"))]
pub(in crate::pixel::jpeg) fn read_mcus(
    scan: &mut ScanDecoder<'_>,
    layout: &ScanLayout,
    tables: &[BlockTables<'_>],
    lanes: &Lanes,
    batch: &Batch,
    needed: &[bool; MAX_MCU_BLOCKS],
    groups: &mut McuGroups,
) -> Result<(), Fault> {
    for (group, _) in groups.iter_mut().zip(needed).filter(|group| *group.1) {
        group.fill(0);
    }
    for mcu in batch.mcus.clone() {
        scan.start_mcu()?;
        let mut rest = groups.as_mut_slice();
        let mut needed = needed.as_slice();
        let components = layout.components.iter().zip(tables);
        for ((component, tables), prediction) in components.zip(&mut scan.predictions) {
            let lanes = lanes.of_mcu(component.index, mcu, component.h);
            for _ in 0..component.v {
                let (these, others) = rest
                    .split_at_mut_checked(component.h)
                    .ok_or(Fault::BadCode)?;
                let keep = needed.first() == Some(&true);
                for lane in lanes {
                    if keep && *lane != LEFT_OUT {
                        let lane = usize::from(*lane);
                        let group = these.get_mut(lane / LANES).ok_or(Fault::BadCode)?;
                        let place = Some((group, lane % LANES));
                        block(&mut scan.bits, *tables, prediction, place)?;
                    } else {
                        block(&mut scan.bits, *tables, prediction, None)?;
                    }
                }
                rest = others;
                needed = needed.get(component.h..).unwrap_or_default();
            }
        }
    }
    Ok(())
}

/// Decodes one of several scans into the store.
#[multiversion(targets("x86_64+bmi1+bmi2+avx2"))]
pub(in crate::pixel::jpeg) fn read_scan(
    scan: &mut ScanDecoder<'_>,
    layout: &ScanLayout,
    tables: &[BlockTables<'_>],
    store: &mut [ComponentStore],
) -> Result<(), Fault> {
    scan.for_each_block(layout, store, |scan, place, kept| {
        let prediction = scan.predictions.get_mut(place).ok_or(Fault::BadCode)?;
        let tables = *tables.get(place).ok_or(Fault::BadCode)?;
        block(&mut scan.bits, tables, prediction, kept)
    })
}

#[cfg(test)]
mod tests {
    use super::super::huffman::Definition;
    use super::*;

    /// DC: lengths 0, 3 and 11. AC: 0 is the coefficient without zeros before it of one bit, 10 the
    /// end of a block, and of 12 and more bits are fifteen zeros and one more, five zeros and a value
    /// of ten bits, and one that is reserved.
    const DC: ([u8; 16], [u8; 3]) = ([1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0, 3, 11]);
    const AC: ([u8; 16], [u8; 5]) = (
        [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1],
        [0x01, 0x00, 0xF0, 0x5A, 0x30],
    );
    const ZEROS: &str = "110000000000";
    const LONG: &str = "1100000000010";
    const RESERVED: &str = "1100000000011000";

    fn table(counts: &[u8; 16], symbols: &[u8], dc: bool) -> Table {
        let mut table = Table::default();
        let defined = table.define(&Definition {
            counts,
            symbols,
            dc,
        });
        assert_eq!(defined, Some(()));
        table
    }

    /// Decodes one block, whose DC prediction is 7, and says which coefficients it has.
    fn decode(bits: &[&str]) -> Result<Vec<(usize, i16)>, Fault> {
        let dc = &table(&DC.0, &DC.1, true);
        let ac = &table(&AC.0, &AC.1, false);
        let mut scan = Vec::new();
        for byte in bits.concat().as_bytes().chunks(8) {
            let byte = byte.iter().fold(0, |byte, bit| byte << 1 | (bit & 1)) << (8 - byte.len());
            scan.push(byte);
            if byte == 0xFF {
                scan.push(0);
            }
        }
        let mut window = Window::default();
        let mut reader = BitReader::new(&scan, &mut window);
        reader.ensure_mcu()?;
        let mut group = [0; 64 * LANES];
        let tables = BlockTables { dc, ac };
        block(&mut reader, tables, &mut 7, Some((&mut group, 2)))?;
        reader.check_end()?;
        // Past a block that is not kept it is the same way.
        let mut window = Window::default();
        let mut other = BitReader::new(&scan, &mut window);
        other.ensure_mcu()?;
        assert_eq!(block(&mut other, tables, &mut 7, None), Ok(()));
        assert_eq!(reader.check_end(), other.check_end());
        let lane = (0..64).map(|k| (k, group[place(k, 2)]));
        Ok(lane.filter(|(_, value)| *value != 0).collect())
    }

    #[test]
    fn values_are_of_either_sign_and_follow_their_zeros() {
        assert_eq!(decode(&["0", "10"]), Ok(vec![(0, 7)]));
        assert_eq!(decode(&["10", "101", "10"]), Ok(vec![(0, 12)]));
        assert_eq!(decode(&["10", "000", "10"]), Ok(vec![]));
        let coefficients = decode(&["10", "011", "01", "00", ZEROS, LONG, "1000000001", "10"]);
        assert_eq!(coefficients, Ok(vec![(0, 3), (1, 1), (2, -1), (24, 513)]));
        let coefficients = decode(&["0", LONG, "0000000000", "10"]);
        assert_eq!(coefficients, Ok(vec![(0, 7), (6, -1023)]));
    }

    #[test]
    fn a_full_block_has_no_end() {
        let full = vec!["01"; 63];
        let all = decode(&[&["0"][..], &full].concat()).unwrap();
        assert_eq!(all.len(), 64);
        let run = vec!["01"; 62];
        let all_but_one = decode(&[&["0"][..], &run, &["10"]].concat()).unwrap();
        assert_eq!(all_but_one.len(), 63);
        // Zeros that lead beyond the last one.
        let beyond = decode(&[&["0"][..], &run, &[ZEROS, "10"]].concat());
        assert_eq!(beyond, Err(Fault::BadCode));
    }

    #[test]
    fn invalid_codes_are_refused_and_reserved_ones_end_the_block() {
        assert_eq!(decode(&["0", "1111111111111111"]), Err(Fault::BadCode));
        assert_eq!(decode(&["111", "10"]), Err(Fault::BadCode));
        assert_eq!(decode(&["0", "01"]), Err(Fault::MissingData));
        // As libjpeg does.
        assert_eq!(decode(&["0", RESERVED]), Ok(vec![(0, 7)]));
    }
}
