//! What a scan is made of before its Huffman codes are known, and how values become that.

/// A symbol of a Huffman code and the bits after it, or bits alone, or the end of a restart interval.
#[derive(Clone, Copy)]
pub(super) enum Token {
    Symbol {
        table: usize,
        symbol: u8,
        bits: u32,
        count: u32,
    },
    Bits {
        bits: u32,
        count: u32,
    },
    Restart,
}

/// The length of a value, and its bits.
fn bits_of(value: i32) -> (u32, u32) {
    let size = 32 - value.unsigned_abs().leading_zeros();
    let bits = if value < 0 { value - 1 } else { value };
    (size, bits as u32 & ((1 << size) - 1))
}

pub(super) fn difference(tokens: &mut Vec<Token>, table: usize, value: i32) {
    let (count, bits) = bits_of(value);
    tokens.push(Token::Symbol {
        table,
        symbol: count as u8,
        bits,
        count,
    });
}

pub(super) fn coefficient(tokens: &mut Vec<Token>, table: usize, run: u32, value: i32) {
    let (count, bits) = bits_of(value);
    let symbol = (run << 4 | count) as u8;
    tokens.push(Token::Symbol {
        table,
        symbol,
        bits,
        count,
    });
}

/// Codes a band of AC coefficients.
pub(super) struct BandCoder {
    pub(super) tokens: Vec<Token>,
    pub(super) table: usize,
    /// Blocks whose bands have ended and that no code says yet.
    pub(super) eob_run: u32,
    /// Correction bits of those blocks.
    pub(super) pending: Vec<u32>,
}

impl BandCoder {
    pub(super) fn end_run(&mut self) {
        if self.eob_run > 0 {
            let count = 31 - self.eob_run.leading_zeros();
            let bits = self.eob_run - (1 << count);
            let symbol = (count << 4) as u8;
            self.tokens.push(Token::Symbol {
                table: self.table,
                symbol,
                bits,
                count,
            });
            self.eob_run = 0;
        }
        for bits in std::mem::take(&mut self.pending) {
            self.tokens.push(Token::Bits { bits, count: 1 });
        }
    }

    fn zeros(&mut self) {
        let (table, symbol) = (self.table, 0xF0);
        self.tokens.push(Token::Symbol {
            table,
            symbol,
            bits: 0,
            count: 0,
        });
    }

    /// The magnitude moved, as AC coefficients are.
    fn scaled(value: i32, low: u32) -> i32 {
        (value.abs() >> low) * value.signum()
    }

    pub(super) fn first(&mut self, band: &[i32], low: u32) {
        let mut run = 0;
        for value in band.iter().map(|value| Self::scaled(*value, low)) {
            if value == 0 {
                run += 1;
                continue;
            }
            self.end_run();
            while run > 15 {
                self.zeros();
                run -= 16;
            }
            coefficient(&mut self.tokens, self.table, run, value);
            run = 0;
        }
        self.eob_run += u32::from(run > 0);
    }

    pub(super) fn refine(&mut self, band: &[i32], low: u32) {
        let scaled: Vec<i32> = band.iter().map(|value| Self::scaled(*value, low)).collect();
        let last_new = scaled.iter().rposition(|value| value.abs() == 1);
        let mut run = 0;
        let mut corrections = Vec::new();
        for (at, &value) in scaled.iter().enumerate() {
            if value == 0 {
                run += 1;
                continue;
            }
            while run > 15 && last_new.is_some_and(|last| at <= last) {
                self.end_run();
                self.zeros();
                run -= 16;
                for bits in std::mem::take(&mut corrections) {
                    self.tokens.push(Token::Bits { bits, count: 1 });
                }
            }
            if value.abs() > 1 {
                corrections.push((value.abs() & 1) as u32);
                continue;
            }
            self.end_run();
            let (bits, symbol) = (u32::from(value > 0), (run << 4 | 1) as u8);
            let table = self.table;
            self.tokens.push(Token::Symbol {
                table,
                symbol,
                bits,
                count: 1,
            });
            for bits in std::mem::take(&mut corrections) {
                self.tokens.push(Token::Bits { bits, count: 1 });
            }
            run = 0;
        }
        if run > 0 || !corrections.is_empty() {
            self.eob_run += 1;
            self.pending.append(&mut corrections);
        }
    }
}
