//! Tokens to a scan: Huffman codes, the scan's header, and its bits.

use super::tokens::Token;
use super::{Component, Generator};

impl Generator {
    /// Writes the tables that the tokens need, the scan's header and its data.
    pub(super) fn scan(
        &mut self,
        components: &[Component],
        group: &[usize],
        tables: &[[usize; 2]],
        band: [u8; 3],
        tokens: &[Token],
    ) {
        let mut codes: Vec<[(u32, u32); 256]> = vec![[(0, 0); 256]; 8];
        for (table, codes) in codes.iter_mut().enumerate() {
            let mut used = [false; 256];
            for token in tokens {
                if let Token::Symbol {
                    table: of, symbol, ..
                } = token
                    && *of == table
                {
                    used[usize::from(*symbol)] = true;
                }
            }
            let is_named = tables.iter().flatten().any(|named| *named == table);
            let mut symbols: Vec<u8> = (0..=255).filter(|s| used[usize::from(*s)]).collect();
            if symbols.is_empty() && is_named {
                symbols.push(0);
            }
            if symbols.is_empty() {
                continue;
            }
            let (counts, symbols) = self.code(symbols);
            let mut code = 0;
            let mut listed = symbols.iter();
            for (length, count) in (1..).zip(counts) {
                for symbol in listed.by_ref().take(usize::from(count)) {
                    codes[usize::from(*symbol)] = (code, length);
                    code += 1;
                }
                code <<= 1;
            }
            let class = if table < 4 { table } else { 0x10 | (table - 4) };
            let body = [&[class as u8][..], &counts, &symbols].concat();
            self.segment(0xC4, &body);
        }
        let mut header = vec![group.len() as u8];
        for (index, [dc, ac]) in group.iter().zip(tables) {
            header.extend([
                components[*index].id,
                (dc << 4 | ac.saturating_sub(4)) as u8,
            ]);
        }
        header.extend(band);
        self.untidy();
        self.segment(0xDA, &header);
        let mut bits = BitWriter {
            out: &mut self.out,
            buffer: 0,
            count: 0,
        };
        let mut restart = 0;
        for token in tokens {
            match *token {
                Token::Symbol {
                    table,
                    symbol,
                    bits: more,
                    count,
                } => {
                    let (code, length) = codes[table][usize::from(symbol)];
                    bits.write(code, length);
                    bits.write(more, count);
                }
                Token::Bits { bits: more, count } => bits.write(more, count),
                Token::Restart => {
                    bits.pad();
                    bits.out.extend([0xFF, 0xD0 | restart]);
                    restart = (restart + 1) & 7;
                }
            }
        }
        bits.pad();
    }

    /// A Huffman code for some symbols: how many there are of each length, and their order. The code
    /// of ones alone stays free.
    fn code(&mut self, mut symbols: Vec<u8>) -> ([u8; 16], Vec<u8>) {
        let mut lengths = vec![0_u32];
        while lengths.len() < symbols.len() + 1 {
            let at = if self.numbers.one_in(3) {
                lengths.len() - 1
            } else {
                self.numbers.below(lengths.len())
            };
            if lengths[at] < 16 {
                lengths[at] += 1;
                lengths.push(lengths[at]);
            }
        }
        lengths.sort_unstable();
        lengths.pop();
        for at in 0..symbols.len() {
            let other = self.numbers.below(symbols.len());
            symbols.swap(at, other);
        }
        let mut counts = [0; 16];
        for length in lengths {
            counts[length.max(1) as usize - 1] += 1;
        }
        (counts, symbols)
    }
}

struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    buffer: u64,
    count: u32,
}

impl BitWriter<'_> {
    fn write(&mut self, bits: u32, count: u32) {
        self.buffer = self.buffer << count | u64::from(bits);
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.buffer >> self.count) as u8;
            self.out.push(byte);
            if byte == 0xFF {
                self.out.push(0);
            }
        }
    }

    fn pad(&mut self) {
        if self.count > 0 {
            self.write(0x7F, 7);
            self.count = 0;
        }
        self.buffer = 0;
    }
}
