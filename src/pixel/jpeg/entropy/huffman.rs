//! Huffman tables.
//!
//! One look at the next bits tells most coefficients whole: the zeros before it, its value, and how
//! many bits both take. Few instructions and few branches per coefficient are what counts here.

/// Bits that are looked at.
const LOOKUP_BITS: u32 = 11;

/// The largest length of a value that is in the table.
const SHORT: u32 = 7;

/// What the next bits spell. Bits 0–5 are the length of code and value together, bits 6–9 the
/// zeros before it, bits 16–31 the value if [`HAS_VALUE`] is set, and else bits 10–13 its length. With
/// [`END`] bits 6–9 are the number of bits that follow and say how many blocks end; sequential scans
/// have none of these.
pub(super) type Entry = u32;

/// The value is in the entry.
pub(super) const HAS_VALUE: Entry = 1 << 15;

/// No coefficient but the end of the block.
pub(super) const END: Entry = 1 << 14;

/// No code, or a longer one.
pub(super) const UNKNOWN: Entry = 0;

/// A Huffman table as a segment has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pixel::jpeg) struct Definition<'a> {
    /// How many codes there are of each length from 1 to 16.
    pub(in crate::pixel::jpeg) counts: &'a [u8; 16],
    /// Their symbols, from the shortest code.
    pub(in crate::pixel::jpeg) symbols: &'a [u8],
    /// Whether the symbols are lengths of a DC difference, not zeros and length of a coefficient.
    pub(in crate::pixel::jpeg) dc: bool,
}

/// A table made for decoding. It stays from image to image, since most have the same ones.
#[derive(Debug)]
pub(in crate::pixel::jpeg) struct Table {
    lookup: [Entry; 1 << LOOKUP_BITS],
    /// For each length, the end of its codes, as the highest of 16 bits.
    ends: [u32; 17],
    /// For each length, what makes a code an index into `entries`.
    offsets: [i32; 17],
    /// The entries of all codes in their order.
    entries: Vec<Entry>,
    counts: [u8; 16],
    symbols: Vec<u8>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            lookup: [UNKNOWN; 1 << LOOKUP_BITS],
            ends: [0; 17],
            offsets: [0; 17],
            entries: Vec::new(),
            counts: [0; 16],
            symbols: Vec::new(),
        }
    }
}

/// The entry of a symbol whose code has `length` bits.
fn entry(symbol: u8, length: u32, dc: bool) -> Option<Entry> {
    let (run, size) = (Entry::from(symbol >> 4), Entry::from(symbol & 15));
    match (run, size) {
        (1.., _) if dc => None,
        // In sequential scans they are reserved but for no zeros; libjpeg takes all for the end.
        (0..15, 0) if !dc => Some(END | run << 6 | length),
        // Of 15 and 0 there is a coefficient of no bits after the fifteen zeros.
        _ => Some(size << 10 | run << 6 | (length + size)),
    }
}

/// The entry for the bits `look`, with the value if that is among them.
fn with_value(entry: Entry, look: u32) -> Entry {
    let (bits, size) = (entry & 63, entry >> 10 & 15);
    if entry & END != 0 || bits > LOOKUP_BITS || size > SHORT {
        return entry;
    }
    let value = value(u64::from(look) << (64 - LOOKUP_BITS), entry);
    (value << 16) as Entry | HAS_VALUE | entry & 0x3FF
}

/// The value that an entry without it has, at the start of `bits`: the upper half of the numbers
/// of its length stand for themselves, the lower half for negative ones.
#[inline(always)]
pub(super) fn value(bits: u64, entry: Entry) -> i32 {
    let mask = (1_i32 << (entry >> 10 & 15)) - 1;
    let number = (bits >> (entry.wrapping_neg() & 63)) as i32 & mask;
    if number > mask >> 1 {
        number
    } else {
        number - mask
    }
}

impl Table {
    /// Makes the table, unless it is the one already there; fails if its codes are invalid.
    pub(in crate::pixel::jpeg) fn define(&mut self, definition: &Definition<'_>) -> Option<()> {
        let Definition {
            counts,
            symbols,
            dc,
        } = *definition;
        // An empty one is never valid, so a new table is not mistaken for a defined one.
        if !self.symbols.is_empty() && self.counts == *counts && self.symbols == symbols {
            return Some(());
        }
        self.symbols.clear();
        self.entries.clear();
        self.lookup.fill(UNKNOWN);
        let mut code = 0_u32;
        let mut left = symbols;
        for (length, count) in (1_u32..).zip(counts) {
            let (these, others) = left.split_at_checked(usize::from(*count))?;
            left = others;
            *self.offsets.get_mut(length as usize)? = self.entries.len() as i32 - code as i32;
            for symbol in these {
                let entry = entry(*symbol, length, dc)?;
                self.entries.push(entry);
                if length <= LOOKUP_BITS {
                    let first = code << (LOOKUP_BITS - length);
                    let all = first..first + (1 << (LOOKUP_BITS - length));
                    for (at, look) in all
                        .clone()
                        .zip(self.lookup.get_mut(all.start as usize..all.end as usize)?)
                    {
                        *look = with_value(entry, at);
                    }
                }
                code += 1;
            }
            // No code may be all ones.
            if !these.is_empty() && code >= 1 << length {
                return None;
            }
            *self.ends.get_mut(length as usize)? = code << (16 - length);
            code <<= 1;
        }
        if !left.is_empty() || symbols.is_empty() {
            return None;
        }
        self.counts = *counts;
        self.symbols.extend_from_slice(symbols);
        Some(())
    }

    /// The entry for the next bits.
    #[inline(always)]
    pub(super) fn lookup(&self, bits: u64) -> Entry {
        self.lookup[(bits >> (64 - LOOKUP_BITS)) as usize]
    }

    /// The entry of a code longer than [`LOOKUP_BITS`] bits.
    #[inline(never)]
    pub(super) fn lookup_long(&self, bits: u64) -> Option<Entry> {
        let code = (bits >> 48) as u32;
        let length = (LOOKUP_BITS + 1..=16).find(|length| code < self.ends[*length as usize])?;
        let at = (code >> (16 - length)) as i32 + self.offsets[length as usize];
        self.entries.get(usize::try_from(at).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(counts: &[u8; 16], symbols: &[u8], dc: bool) -> Option<Table> {
        let mut table = Table::default();
        table.define(&Definition {
            counts,
            symbols,
            dc,
        })?;
        Some(table)
    }

    #[test]
    fn tables_must_be_codes() {
        let one = |length: usize, count| {
            let mut counts = [0; 16];
            counts[length - 1] = count;
            counts
        };
        assert!(table(&one(1, 1), &[5], false).is_some());
        // All ones; more than there are; fewer symbols, none, one too many; too long a difference.
        assert!(table(&one(1, 2), &[5, 6], false).is_none());
        assert!(table(&one(2, 9), &[0; 9], false).is_none());
        assert!(table(&one(2, 2), &[0], false).is_none());
        assert!(table(&one(2, 0), &[], false).is_none());
        assert!(table(&one(2, 2), &[0; 3], false).is_none());
        assert!(table(&one(2, 1), &[16], true).is_none());
        // A table that failed is not mistaken for a defined one.
        let mut table = Table::default();
        let counts = &one(1, 2);
        let definition = Definition {
            counts,
            symbols: &[5, 6],
            dc: false,
        };
        assert_eq!(table.define(&definition), None);
        assert_eq!(table.define(&definition), None);
    }
}
