//! Progressive scans: each has some coefficients of its blocks, and of these some bits.
//!
//! The first scan of a coefficient says all of its bits down to one, each later scan one bit more.
//! A later AC scan has a bit for each coefficient of its band that is not zero yet, between the
//! codes of those that become so; which ones these are is kept as a mask, so that they are counted
//! and not searched for.

use multiversion::multiversion;

use super::bit_reader::{BitCursor, Window};
use super::huffman::{END, Entry, HAS_VALUE, Table, UNKNOWN, value};
use super::scan::{ScanDecoder, ScanLayout};
use super::sequential::{BlockTables, dc_difference, place};
use super::store::ComponentStore;
use crate::pixel::error::Error;
use crate::pixel::jpeg::fault::{Fault, damaged};
use crate::pixel::jpeg::frame::{BlockGroup, LANES, MAX_COMPONENTS};

/// What is known of each component's coefficients, also of sequential files: the lowest bit that a
/// scan had, or [`Progress::NOTHING`].
#[derive(Debug)]
pub(in crate::pixel::jpeg) struct Progress([[u8; 64]; MAX_COMPONENTS]);

impl Progress {
    const NOTHING: u8 = u8::MAX;

    pub(in crate::pixel::jpeg) fn new() -> Self {
        Self([[Self::NOTHING; 64]; MAX_COMPONENTS])
    }

    /// Checks that a scan goes on where those before it ended, and notes what it has.
    pub(in crate::pixel::jpeg) fn add(&mut self, scan: &ScanLayout) -> Result<(), Error> {
        let [first, last] = scan.band.map(usize::from);
        let band_is_valid = match first {
            0 => last == 0,
            _ => last >= first && last < 64 && scan.components.len() == 1,
        };
        let bits_are_valid = match scan.high {
            0 => scan.low <= 13,
            high => scan.low + 1 == high,
        };
        if !band_is_valid || !bits_are_valid {
            return Err(damaged("the parameters of a progressive scan are invalid"));
        }
        let expected = match scan.high {
            0 => Self::NOTHING,
            high => high,
        };
        for component in &scan.components {
            let known = &mut self.0[component.index];
            let follows = known[first..=last].iter().all(|known| *known == expected);
            if !follows || first > 0 && known[0] == Self::NOTHING {
                return Err(damaged("its progressive scans do not follow one another"));
            }
            known[first..=last].fill(scan.low);
        }
        Ok(())
    }

    /// Checks that the components of a sequential scan were in none before.
    pub(in crate::pixel::jpeg) fn add_whole(&mut self, scan: &ScanLayout) -> Result<(), Error> {
        for component in &scan.components {
            let known = &mut self.0[component.index];
            if known[0] != Self::NOTHING {
                return Err(damaged("a component is in two scans"));
            }
            known.fill(0);
        }
        Ok(())
    }

    /// Checks that all bits of all coefficients of the first `components` components were there.
    /// libjpeg guesses those that are not from the blocks around.
    pub(in crate::pixel::jpeg) fn check_complete(&self, components: usize) -> Result<(), Error> {
        let complete = self
            .0
            .iter()
            .take(components)
            .flatten()
            .all(|low| *low == 0);
        complete
            .then_some(())
            .ok_or(damaged("some of its scans are missing"))
    }
}

/// Decodes the first scan of DC coefficients.
#[multiversion(targets("x86_64+bmi1+bmi2+avx2"))]
pub(in crate::pixel::jpeg) fn dc_first(
    scan: &mut ScanDecoder<'_>,
    layout: &ScanLayout,
    tables: &[BlockTables<'_>],
    store: &mut [ComponentStore],
) -> Result<(), Fault> {
    scan.for_each_block(layout, store, |scan, place, kept| {
        let (window, mut cursor) = scan.bits.cursor();
        cursor.refill(window);
        let table = tables.get(place).ok_or(Fault::BadCode)?;
        let difference = dc_difference(&mut cursor, table.dc)?;
        scan.bits.resume(cursor);
        let prediction = scan.predictions.get_mut(place).ok_or(Fault::BadCode)?;
        *prediction += difference;
        // Two numbers of 16 bits moved by 13 at most: no bit is lost before the check.
        let dc = i16::try_from(*prediction << layout.low).map_err(|_| Fault::OutOfRange)?;
        if let Some((group, lane)) = kept {
            group[lane % LANES] = dc;
        }
        Ok(())
    })
}

/// Decodes a later scan of DC coefficients: a bit for each.
#[multiversion(targets("x86_64+bmi1+bmi2+avx2"))]
pub(in crate::pixel::jpeg) fn dc_refine(
    scan: &mut ScanDecoder<'_>,
    layout: &ScanLayout,
    store: &mut [ComponentStore],
) -> Result<(), Fault> {
    scan.for_each_block(layout, store, |scan, _, kept| {
        let (window, mut cursor) = scan.bits.cursor();
        cursor.refill_for_one(window);
        let bit = cursor.take(1) as i16;
        scan.bits.resume(cursor);
        if let Some((group, lane)) = kept {
            group[lane % LANES] |= bit << layout.low;
        }
        Ok(())
    })
}

/// The coefficients of a block that a scan is about.
#[derive(Clone, Copy, Debug)]
struct Band {
    first: usize,
    last: usize,
    low: u32,
}

/// The mask of coefficients `from` to `to`, both included.
#[inline(always)]
fn mask(from: usize, to: usize) -> u64 {
    debug_assert!(from <= to && to < 64);
    u64::MAX << from & u64::MAX >> (63 - to)
}

/// Decodes the first scan of a band of AC coefficients.
#[multiversion(targets("x86_64+bmi1+bmi2+avx2+popcnt+lzcnt"))]
pub(in crate::pixel::jpeg) fn ac_first(
    scan: &mut ScanDecoder<'_>,
    layout: &ScanLayout,
    table: &Table,
    store: &mut ComponentStore,
) -> Result<(), Fault> {
    let [first, last] = layout.band.map(usize::from);
    let low = layout.low.into();
    let band = Band { first, last, low };
    for row in 0..layout.mcus_down {
        let (mut groups, nonzero) = store.row_and_nonzero(row);
        for (column, nonzero) in nonzero.iter_mut().take(layout.mcus_across).enumerate() {
            scan.start_mcu()?;
            if scan.eob_run > 0 {
                scan.eob_run -= 1;
                continue;
            }
            let (window, mut cursor) = scan.bits.cursor();
            let lane = column % LANES;
            let kept = groups
                .as_mut()
                .and_then(|groups| groups.get_mut(column / LANES));
            scan.eob_run = match kept {
                Some(group) => {
                    first_block(window, &mut cursor, table, band, nonzero, |k, value| {
                        group[place(k, lane)] = value;
                    })
                }
                None => first_block(window, &mut cursor, table, band, nonzero, |_, _| {}),
            }?;
            scan.bits.resume(cursor);
        }
    }
    Ok(())
}

/// Decodes a block of a band's first scan. Returns for how many blocks after it the band has ended.
#[inline(always)]
fn first_block(
    window: &Window,
    cursor: &mut BitCursor,
    table: &Table,
    band: Band,
    nonzero: &mut u64,
    mut store: impl FnMut(usize, i16),
) -> Result<u32, Fault> {
    let mut k = band.first;
    let mut magnitudes = 0;
    let mut eob_run = 0;
    while k <= band.last {
        cursor.refill(window);
        let entry = lookup(cursor, table)?;
        let coefficient = if entry & HAS_VALUE != 0 {
            entry as i32 >> 16
        } else if entry & END != 0 {
            eob_run = end_of_bands(cursor, entry) - 1;
            break;
        } else {
            value(cursor.peek(), entry)
        };
        cursor.skip(entry);
        k += (entry >> 6 & 15) as usize;
        if k > band.last {
            return Err(Fault::BadCode);
        }
        let scaled = coefficient << band.low;
        magnitudes |= scaled.unsigned_abs();
        *nonzero |= u64::from(coefficient != 0) << k;
        store(k, scaled as i16);
        k += 1;
    }
    if magnitudes > i16::MAX as u32 {
        return Err(Fault::OutOfRange);
    }
    Ok(eob_run)
}

#[inline(always)]
fn lookup(cursor: &BitCursor, table: &Table) -> Result<Entry, Fault> {
    match table.lookup(cursor.peek()) {
        UNKNOWN => table.lookup_long(cursor.peek()).ok_or(Fault::BadCode),
        entry => Ok(entry),
    }
}

/// Takes a code of the end of bands, and returns of how many blocks, this one included.
#[inline(always)]
fn end_of_bands(cursor: &mut BitCursor, entry: Entry) -> u32 {
    cursor.skip(entry);
    let more = entry >> 6 & 15;
    (1 << more) + cursor.take(more)
}

/// Decodes a later scan of a band of AC coefficients.
#[multiversion(targets("x86_64+bmi1+bmi2+avx2+popcnt+lzcnt"))]
pub(in crate::pixel::jpeg) fn ac_refine(
    scan: &mut ScanDecoder<'_>,
    layout: &ScanLayout,
    table: &Table,
    store: &mut ComponentStore,
) -> Result<(), Fault> {
    let [first, last] = layout.band.map(usize::from);
    let low = layout.low.into();
    let band = Band { first, last, low };
    for row in 0..layout.mcus_down {
        let (mut groups, nonzero) = store.row_and_nonzero(row);
        for (column, nonzero) in nonzero.iter_mut().take(layout.mcus_across).enumerate() {
            scan.start_mcu()?;
            let (window, mut cursor) = scan.bits.cursor();
            let lane = column % LANES;
            let kept = groups
                .as_mut()
                .and_then(|groups| groups.get_mut(column / LANES));
            let eob_run = &mut scan.eob_run;
            match kept {
                Some(group) => {
                    let group = &mut Refined { group, lane, low };
                    refine_block(window, &mut cursor, table, band, nonzero, eob_run, group)
                }
                None => refine_block(
                    window,
                    &mut cursor,
                    table,
                    band,
                    nonzero,
                    eob_run,
                    &mut Skipped,
                ),
            }?;
            scan.bits.resume(cursor);
        }
    }
    Ok(())
}

/// What a later scan does to the coefficients of a block.
trait Refine {
    /// Adds a bit to the magnitude of those of `coefficients` whose bit is set in `bits`; the first
    /// one's is the highest.
    fn correct(&mut self, coefficients: u64, bits: u64);
    /// A coefficient that was zero becomes 1 or -1.
    fn set(&mut self, k: usize, sign: i32);
}

/// A block that is kept.
struct Refined<'a> {
    group: &'a mut BlockGroup,
    lane: usize,
    low: u32,
}

impl Refine for Refined<'_> {
    #[inline(always)]
    fn correct(&mut self, mut coefficients: u64, mut bits: u64) {
        while coefficients != 0 && bits != 0 {
            let k = coefficients.trailing_zeros() as usize;
            if bits >> 63 != 0 {
                let coefficient = &mut self.group[place(k, self.lane)];
                *coefficient = coefficient.wrapping_add(coefficient.signum() << self.low);
            }
            coefficients &= coefficients - 1;
            bits <<= 1;
        }
    }

    #[inline(always)]
    fn set(&mut self, k: usize, sign: i32) {
        self.group[place(k, self.lane)] = (sign << self.low) as i16;
    }
}

/// A block that no pixel is made of.
struct Skipped;

impl Refine for Skipped {
    #[inline(always)]
    fn correct(&mut self, _: u64, _: u64) {}

    #[inline(always)]
    fn set(&mut self, _: usize, _: i32) {}
}

/// Decodes a block of a later scan.
#[inline(always)]
fn refine_block(
    window: &Window,
    cursor: &mut BitCursor,
    table: &Table,
    band: Band,
    nonzero: &mut u64,
    eob_run: &mut u32,
    block: &mut impl Refine,
) -> Result<(), Fault> {
    let known = *nonzero;
    let mut k = band.first;
    while *eob_run == 0 && k <= band.last {
        cursor.refill(window);
        let entry = lookup(cursor, table)?;
        if entry & END != 0 {
            *eob_run = end_of_bands(cursor, entry);
            break;
        }
        let sign = if entry & HAS_VALUE != 0 {
            entry as i32 >> 16
        } else {
            value(cursor.peek(), entry)
        };
        if sign.unsigned_abs() > 1 {
            return Err(Fault::BadCode);
        }
        cursor.skip(entry);
        // The place after that many coefficients that are zero up to now.
        let mut zeros = !known & mask(k, band.last);
        for _ in 0..entry >> 6 & 15 {
            zeros &= zeros.wrapping_sub(1);
        }
        if zeros == 0 {
            return Err(Fault::BadCode);
        }
        let at = zeros.trailing_zeros() as usize;
        correct(window, cursor, known & mask(k, at), block);
        if sign != 0 {
            *nonzero |= 1 << at;
            block.set(at, sign);
        }
        k = at + 1;
    }
    if *eob_run > 0 {
        *eob_run -= 1;
        if k <= band.last {
            correct(window, cursor, known & mask(k, band.last), block);
        }
    }
    Ok(())
}

/// Takes a bit for each of `coefficients`.
#[inline(always)]
fn correct(
    window: &Window,
    cursor: &mut BitCursor,
    mut coefficients: u64,
    block: &mut impl Refine,
) {
    let mut count = coefficients.count_ones();
    while count > 0 {
        cursor.refill(window);
        let now = count.min(32);
        let bits = u64::from(cursor.take(now)) << 1 << (63 - now);
        block.correct(coefficients, bits);
        count -= now;
        if count > 0 {
            // Those that had their bits.
            for _ in 0..now {
                coefficients &= coefficients - 1;
            }
        }
    }
}
