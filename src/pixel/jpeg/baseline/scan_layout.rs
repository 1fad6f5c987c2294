//! What the segments before the scan say, if it is a file for this decoder.

use super::huffman::Definition;
use crate::pixel::jpeg::header::Header;

/// Where in a block each coefficient of the scan belongs.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Where a coefficient belongs, and its factor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) factor: u16,
    pub(super) at: u16,
}

/// The places in the order of the scan. A run of zeros in a damaged file can lead beyond the 64,
/// to places of no meaning.
#[derive(Clone, Debug)]
pub(super) struct Scaled(pub(super) [Scale; 128]);

/// One component.
#[derive(Clone, Debug)]
pub(super) struct Component {
    /// Blocks per MCU.
    pub(super) h: usize,
    pub(super) v: usize,
    pub(super) scaled: Scaled,
    /// Numbers of its Huffman tables.
    pub(super) dc: usize,
    pub(super) ac: usize,
}

/// All that decoding needs to know.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) components: Vec<Component>,
    /// Samples of the first component for each of the others.
    pub(super) h: usize,
    pub(super) v: usize,
    /// MCUs between restart markers; 0 if there are none.
    pub(super) restart: u32,
    pub(super) dc: [Option<Definition<'a>>; 4],
    pub(super) ac: [Option<Definition<'a>>; 4],
}

impl<'a> Plan<'a> {
    /// Reads the segments; `None` if the file is not for this decoder, or in doubt.
    pub(super) fn read(header: &Header<'a>) -> Option<Self> {
        let [scan] = header.scans.as_slice() else {
            return None;
        };
        // Where more segments come before the scan than are kept, the scan's is not the last.
        let [tables @ .., (0xDA, scan_header)] = header.segments.as_slice() else {
            return None;
        };
        // After the scan nothing but the end marker: libjpeg looks at more, and can refuse it.
        if scan.end + 2 != header.end {
            return None;
        }
        let mut quantisation = [None; 4];
        let (mut dc, mut ac) = ([None; 4], [None; 4]);
        let mut restart = 0;
        let mut frame = None;
        for &(marker, body) in tables {
            match marker {
                0xC0 | 0xC1 => frame = Some(body.get(6..)?),
                0xC4 => huffman(body, &mut dc, &mut ac)?,
                0xDB => quantisation_tables(body, &mut quantisation)?,
                0xDD => restart = u32::from(u16::from_be_bytes(body.try_into().ok()?)),
                _ => return None,
            }
        }
        let frame = frame?.as_chunks::<3>().0;
        let [count, selectors @ .., 0, 63, 0] = scan_header else {
            return None;
        };
        let (selectors, []) = selectors.as_chunks::<2>() else {
            return None;
        };
        if usize::from(*count) != frame.len() || selectors.len() != frame.len() {
            return None;
        }
        let (h, v) = match frame {
            // A component alone has one block per MCU, whatever its factors are.
            [[_, factors, _]] if valid(*factors) => (1, 1),
            [[a, luma, _], [b, 0x11, _], [c, 0x11, _]] if a != b && b != c && a != c => {
                match luma {
                    0x11 => (1, 1),
                    0x12 => (1, 2),
                    0x21 => (2, 1),
                    0x22 => (2, 2),
                    _ => return None,
                }
            }
            _ => return None,
        };
        let mut components = Vec::with_capacity(3);
        for ([id, _, table], [selected, tables]) in frame.iter().zip(selectors) {
            if id != selected {
                return None;
            }
            let first = components.is_empty();
            components.push(Component {
                h: if first { h } else { 1 },
                v: if first { v } else { 1 },
                scaled: quantisation.get(usize::from(*table))?.as_ref()?.scaled()?,
                dc: usize::from(tables >> 4),
                ac: usize::from(tables & 15),
            });
        }
        Some(Self {
            components,
            h,
            v,
            restart,
            dc,
            ac,
        })
    }
}

fn valid(factors: u8) -> bool {
    (1..=4).contains(&(factors >> 4)) && (1..=4).contains(&(factors & 15))
}

/// The tables of a DHT segment.
fn huffman<'a>(
    mut body: &'a [u8],
    dc: &mut [Option<Definition<'a>>; 4],
    ac: &mut [Option<Definition<'a>>; 4],
) -> Option<()> {
    while let Some((class, rest)) = body.split_first() {
        let (counts, rest) = rest.split_first_chunk::<16>()?;
        let total = counts
            .iter()
            .map(|count| usize::from(*count))
            .sum::<usize>();
        let (symbols, rest) = rest.split_at_checked(total)?;
        let tables = match class >> 4 {
            0 => &mut *dc,
            1 => &mut *ac,
            _ => return None,
        };
        if total > 256 {
            return None;
        }
        *tables.get_mut(usize::from(class & 15))? = Some(Definition {
            counts,
            symbols,
            dc: class >> 4 == 0,
        });
        body = rest;
    }
    Some(())
}

/// The factors of a quantisation table, of one or two bytes each.
#[derive(Clone, Copy)]
enum Factors<'a> {
    Bytes(&'a [u8; 64]),
    Words(&'a [u8; 128]),
}

impl Factors<'_> {
    /// With their places; `None` if one has more than 8 bits, or is zero and would hide how large a
    /// coefficient is.
    fn scaled(self) -> Option<Scaled> {
        let mut places = [Scale { factor: 1, at: 0 }; 128];
        for (k, (place, at)) in places.iter_mut().zip(ZIGZAG).enumerate() {
            let factor = match self {
                Self::Bytes(bytes) => u16::from(bytes[k & 63]),
                Self::Words(words) => u16::from_be_bytes(words.as_chunks().0[k & 63]),
            };
            if !(1..=255).contains(&factor) {
                return None;
            }
            *place = Scale {
                factor,
                at: u16::from(at),
            };
        }
        Some(Scaled(places))
    }
}

/// The tables of a DQT segment.
fn quantisation_tables<'a>(
    mut body: &'a [u8],
    tables: &mut [Option<Factors<'a>>; 4],
) -> Option<()> {
    while let Some((kind, rest)) = body.split_first() {
        let (factors, rest) = match kind >> 4 {
            0 => {
                let (factors, rest) = rest.split_first_chunk()?;
                (Factors::Bytes(factors), rest)
            }
            1 => {
                let (factors, rest) = rest.split_first_chunk()?;
                (Factors::Words(factors), rest)
            }
            _ => return None,
        };
        *tables.get_mut(usize::from(kind & 15))? = Some(factors);
        body = rest;
    }
    Some(())
}
