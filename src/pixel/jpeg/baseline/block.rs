//! Blocks of coefficients, read from the bits of a scan.

use super::bit_reader::{Bits, Place};
use super::huffman::{END, Table, UNKNOWN, WHOLE, value};
use super::idct::{self, Blocks, SIDE_BY_SIDE};
use super::scan_layout::{Scale, Scaled};

/// A block that is being decoded.
struct Block<'a> {
    /// It is number `lane` of these.
    blocks: &'a mut Blocks,
    lane: usize,
    scaled: &'a Scaled,
    /// Index of the next coefficient.
    k: usize,
    /// The magnitudes of the coefficients with long values, or-ed.
    magnitudes: u32,
}

impl Block<'_> {
    /// Scales and stores the coefficient at `k`.
    #[inline(always)]
    fn store(&mut self, value: i32) -> i32 {
        let Scale { factor, at } = self.scaled.0[self.k & 127];
        let coefficient = value * i32::from(factor);
        let at = (usize::from(at) * SIDE_BY_SIDE + self.lane) % (64 * SIDE_BY_SIDE);
        self.blocks.0[at] = coefficient as i16;
        self.k += 1;
        coefficient
    }

    /// Decodes one coefficient but the first, and says whether another follows.
    #[inline(always)]
    fn next(&mut self, place: &mut Place, ac: &Table) -> Option<bool> {
        let mut entry = ac.look(place.peek());
        if entry & WHOLE != 0 {
            place.skip(entry);
            self.k += (entry >> 6 & 15) as usize;
            self.store(entry as i32 >> 16);
            return Some(self.k < 64);
        }
        if entry == UNKNOWN {
            entry = ac.long(place.peek())?;
        }
        let value = value(place.peek(), entry);
        place.skip(entry);
        if entry & END != 0 {
            return Some(false);
        }
        self.k += (entry >> 6 & 15) as usize;
        self.magnitudes |= self.store(value).unsigned_abs();
        Some(self.k < 64)
    }
}

/// Decodes a block into number `lane` of eight, where all coefficients are zero before.
/// Coefficients of up to 16 bits can come out of it.
#[inline(always)]
pub(super) fn read(
    bits: &mut Bits<'_>,
    [dc, ac]: [&Table; 2],
    scaled: &Scaled,
    prediction: &mut i32,
    lane: usize,
    blocks: &mut Blocks,
) -> Option<()> {
    let (window, mut place) = bits.place();
    place.refill(window);
    let mut entry = dc.look(place.peek());
    if entry == UNKNOWN {
        entry = dc.long(place.peek())?;
    }
    *prediction += if entry & WHOLE != 0 {
        entry as i32 >> 16
    } else {
        value(place.peek(), entry)
    };
    place.skip(entry);
    let mut block = Block {
        blocks,
        lane,
        scaled,
        k: 0,
        magnitudes: 0,
    };
    block.magnitudes = block.store(*prediction).unsigned_abs();
    // Two at a time: bits for the first are always fetched, so that nothing is to be predicted,
    // and those for the second are nearly always there.
    loop {
        place.refill(window);
        if !block.next(&mut place, ac)? {
            break;
        }
        place.refill_for_one(window);
        if !block.next(&mut place, ac)? {
            break;
        }
    }
    let Block { k, magnitudes, .. } = block;
    bits.resume(place);
    (k <= 64 && magnitudes <= idct::LIMIT).then_some(())
}

#[cfg(test)]
mod tests {
    use super::super::bit_reader::Window;
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

    /// Decodes one block, of a quantisation table of threes, and says which coefficients it has.
    fn decode(bits: &[&str]) -> Option<Vec<(usize, i16)>> {
        let dc = table(&DC.0, &DC.1, true);
        let ac = table(&AC.0, &AC.1, false);
        let mut scan = Vec::new();
        for byte in bits.concat().as_bytes().chunks(8) {
            let byte = byte.iter().fold(0, |byte, bit| byte << 1 | (bit & 1)) << (8 - byte.len());
            scan.push(byte);
            if byte == 0xFF {
                scan.push(0);
            }
        }
        let scaled = Scaled(std::array::from_fn(|k| Scale {
            factor: 3,
            at: k as u16 & 63,
        }));
        let mut window = Window::default();
        let mut reader = Bits::new(&scan, &mut window);
        reader.prepare()?;
        let mut blocks = Blocks::default();
        read(&mut reader, [&dc, &ac], &scaled, &mut 7, 2, &mut blocks)?;
        reader.finish()?;
        let lane = (0..64).map(|k| (k, blocks.0[k * SIDE_BY_SIDE + 2]));
        Some(lane.filter(|(_, value)| *value != 0).collect())
    }

    #[test]
    fn values_are_of_either_sign_and_follow_their_zeros() {
        // The prediction is 7.
        assert_eq!(decode(&["0", "10"]), Some(vec![(0, 21)]));
        assert_eq!(decode(&["10", "101", "10"]), Some(vec![(0, 36)]));
        assert_eq!(decode(&["10", "000", "10"]), Some(vec![]));
        let coefficients = decode(&["10", "011", "01", "00", ZEROS, LONG, "1000000001", "10"]);
        assert_eq!(
            coefficients,
            Some(vec![(0, 9), (1, 3), (2, -3), (24, 1539)])
        );
        let coefficients = decode(&["0", LONG, "0000000000", "10"]);
        assert_eq!(coefficients, Some(vec![(0, 21), (6, -3069)]));
    }

    #[test]
    fn a_full_block_has_no_end() {
        let full = vec!["01"; 63];
        let all = decode(&[&["0"][..], &full].concat()).unwrap();
        assert_eq!(all.len(), 64);
        let run = vec!["01"; 62];
        assert_eq!(
            decode(&[&["0"][..], &run, &["10"]].concat()).unwrap().len(),
            63
        );
        // Zeros that lead beyond the last one.
        assert_eq!(decode(&[&["0"][..], &run, &[ZEROS, "10"]].concat()), None);
    }

    #[test]
    fn what_is_no_code_or_too_large_is_in_doubt() {
        assert_eq!(decode(&["0", "1111111111111111"]), None);
        assert_eq!(decode(&["111", "10"]), None);
        // 3 * (7 + 2047) is beyond the limit.
        assert_eq!(decode(&["110", "11111111111", "10"]), None);
        // libjpeg takes reserved ones for the end.
        assert_eq!(decode(&["0", RESERVED]), Some(vec![(0, 21)]));
    }
}
