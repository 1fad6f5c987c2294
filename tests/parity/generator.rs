//! JPEG files that no encoder writes: random coefficients, quantisers, Huffman codes of up to 16 bits,
//! sampling factors, scan scripts and restart intervals. Every file is valid and complete.

/// Where in a block each coefficient belongs.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Numbers without pattern, the same for the same seed (xorshift).
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % limit as u64) as usize
    }

    pub(super) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn between(&mut self, from: i32, to: i32) -> i32 {
        from + self.below((to - from + 1) as usize) as i32
    }
}

/// Quantised coefficients of a block, in the order of the file.
type Block = [i32; 64];

struct Component {
    id: u8,
    h: usize,
    v: usize,
    quant: u8,
    /// Blocks of the image, and of whole MCUs.
    width: usize,
    height: usize,
    stride: usize,
    blocks: Vec<Block>,
}

/// A symbol of a Huffman code and the bits after it, or bits alone, or the end of a restart interval.
#[derive(Clone, Copy)]
enum Token {
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

/// One file.
pub(super) fn file(seed: u64) -> Vec<u8> {
    Generator {
        numbers: Numbers::new(seed),
        out: vec![0xFF, 0xD8],
    }
    .file()
}

struct Generator {
    numbers: Numbers,
    out: Vec<u8>,
}

impl Generator {
    fn file(mut self) -> Vec<u8> {
        let n = &mut self.numbers;
        let count = n.of(&[1, 3, 3, 3, 3, 4]);
        let largest = n.of(&[8, 24, 64, 112]);
        let (width, height) = (1 + n.below(largest), 1 + n.below(largest));
        let factors = sampling(n, count);
        let max_h = factors.iter().map(|f| f[0]).max().unwrap();
        let max_v = factors.iter().map(|f| f[1]).max().unwrap();
        let quants: Vec<[u16; 64]> = (0..4).map(|_| quantiser(n)).collect();
        let ids = n.of(&[[1, 2, 3, 4], [0, 1, 2, 3], *b"RGBA", [7, 200, 13, 99]]);
        let style = n.below(4);
        let mut components = Vec::new();
        for (index, &[h, v]) in factors.iter().enumerate() {
            let quant = n.below(4);
            let alone = count == 1;
            let blocks_of = |size: usize, samp: usize, max: usize| (size * samp).div_ceil(max * 8);
            let (across, down) = (width.div_ceil(8 * max_h), height.div_ceil(8 * max_v));
            let (width, height) = (blocks_of(width, h, max_h), blocks_of(height, v, max_v));
            let (stride, rows) = if alone {
                (width, height)
            } else {
                (across * h, down * v)
            };
            let blocks = (0..stride * rows)
                .map(|_| block(n, style, &quants[quant]))
                .collect();
            components.push(Component {
                id: ids[index],
                h,
                v,
                quant: quant as u8,
                width,
                height,
                stride,
                blocks,
            });
        }
        let progressive = n.one_in(2);
        match self.numbers.below(4) {
            0 => self.segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"),
            1 => {
                let transform = self.numbers.below(3) as u8;
                self.segment(
                    0xEE,
                    &[b"Adobe\0d\0\0\0\0".as_slice(), &[transform]].concat(),
                );
            }
            _ => {}
        }
        for (number, quant) in quants.iter().enumerate() {
            let wide = quant.iter().any(|factor| *factor > 255) || self.numbers.one_in(4);
            let mut body = vec![number as u8 | if wide { 0x10 } else { 0 }];
            for at in ZIGZAG {
                let factor = quant[usize::from(at)];
                if wide {
                    body.extend(factor.to_be_bytes());
                } else {
                    body.push(factor as u8);
                }
            }
            self.segment(0xDB, &body);
        }
        let mut frame = vec![8];
        frame.extend((height as u16).to_be_bytes());
        frame.extend((width as u16).to_be_bytes());
        frame.push(count as u8);
        for component in &components {
            frame.extend([
                component.id,
                (component.h << 4 | component.v) as u8,
                component.quant,
            ]);
        }
        self.untidy();
        let marker = if progressive {
            0xC2
        } else {
            0xC0 + self.numbers.below(2) as u8
        };
        self.segment(marker, &frame);
        let mcus = [width.div_ceil(8 * max_h), height.div_ceil(8 * max_v)];
        if progressive {
            self.progressive(&components, mcus);
        } else {
            self.sequential(&components, mcus);
        }
        self.untidy();
        self.out.extend([0xFF, 0xD9]);
        self.out
    }

    fn segment(&mut self, marker: u8, body: &[u8]) {
        self.out.extend([0xFF, marker]);
        self.out.extend((body.len() as u16 + 2).to_be_bytes());
        self.out.extend(body);
    }

    /// What may stand between segments.
    fn untidy(&mut self) {
        match self.numbers.below(20) {
            0 => self.out.extend([0xFF, 0xFF]),
            1 => self.out.extend([1, 2, 3]),
            2 => self.out.extend([0xFF, 0]),
            3 => self.segment(0xFE, b"a comment"),
            4 => self.segment(0xED, b"application data"),
            _ => {}
        }
    }

    /// Splits the components into scans, each of at most ten blocks per MCU.
    fn groups(&mut self, components: &[Component], always_whole: bool) -> Vec<Vec<usize>> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for index in 0..components.len() {
            let blocks = |group: &[usize]| -> usize {
                group
                    .iter()
                    .map(|i| components[*i].h * components[*i].v)
                    .sum()
            };
            let together = always_whole || self.numbers.one_in(2);
            match groups.last_mut() {
                Some(last) if together && blocks(last) + blocks(&[index]) <= 10 => last.push(index),
                _ => groups.push(vec![index]),
            }
        }
        if self.numbers.one_in(2) {
            groups.reverse();
        }
        groups
    }

    fn restart_interval(&mut self) -> usize {
        let interval = self.numbers.of(&[0, 0, 0, 1, 2, 3, 7, 20]);
        self.segment(0xDD, &(interval as u16).to_be_bytes());
        interval
    }

    fn sequential(&mut self, components: &[Component], mcus: [usize; 2]) {
        let always_whole = self.numbers.below(3) > 0;
        for group in self.groups(components, always_whole) {
            let interval = self.restart_interval();
            let mut tokens = Vec::new();
            let tables: Vec<[usize; 2]> = group
                .iter()
                .map(|_| [self.numbers.below(4), 4 + self.numbers.below(4)])
                .collect();
            let mut last = [0; 4];
            for_each_block(
                components,
                &group,
                mcus,
                interval,
                &mut tokens,
                |tokens, place, block| {
                    let Some(block) = block else {
                        last = [0; 4];
                        return;
                    };
                    let [dc, ac] = tables[place];
                    difference(tokens, dc, block[0] - last[place]);
                    last[place] = block[0];
                    let mut run = 0;
                    for &value in &block[1..] {
                        if value == 0 {
                            run += 1;
                            continue;
                        }
                        while run > 15 {
                            tokens.push(Token::Symbol {
                                table: ac,
                                symbol: 0xF0,
                                bits: 0,
                                count: 0,
                            });
                            run -= 16;
                        }
                        coefficient(tokens, ac, run, value);
                        run = 0;
                    }
                    if run > 0 {
                        tokens.push(Token::Symbol {
                            table: ac,
                            symbol: 0,
                            bits: 0,
                            count: 0,
                        });
                    }
                },
            );
            // Ignored in sequential files, but for a warning.
            let band = self
                .numbers
                .of(&[[0, 63, 0], [0, 63, 0], [0, 0, 0], [0, 63, 1]]);
            self.scan(components, &group, &tables, band, &tokens);
        }
    }

    fn progressive(&mut self, components: &[Component], mcus: [usize; 2]) {
        // What is to be coded: each component's bands with the bits that are left.
        let dc_low = self.numbers.below(4) as u32;
        for group in self.groups(components, false) {
            self.dc_scan(components, &group, mcus, dc_low, None);
        }
        let mut bands = Vec::new();
        for index in 0..components.len() {
            let mut first = 1;
            while first < 64 {
                let last = match self.numbers.below(3) {
                    0 => 63,
                    _ => first + self.numbers.below(64 - first),
                };
                bands.push((index, first, last, None, self.numbers.below(4) as u32));
                first = last + 1;
            }
        }
        let mut dc_left = dc_low;
        while !bands.is_empty() || dc_left > 0 {
            if dc_left > 0 && (bands.is_empty() || self.numbers.one_in(4)) {
                for group in self.groups(components, false) {
                    self.dc_scan(components, &group, mcus, dc_left - 1, Some(dc_left));
                }
                dc_left -= 1;
                continue;
            }
            if bands.is_empty() {
                continue;
            }
            let at = self.numbers.below(bands.len());
            let (index, first, last, high, low) = bands[at];
            self.ac_scan(
                &components[index],
                index,
                components,
                [first, last],
                high,
                low,
            );
            if low == 0 {
                bands.swap_remove(at);
            } else {
                bands[at] = (index, first, last, Some(low), low - 1);
            }
        }
    }

    fn dc_scan(
        &mut self,
        components: &[Component],
        group: &[usize],
        mcus: [usize; 2],
        low: u32,
        high: Option<u32>,
    ) {
        let interval = self.restart_interval();
        let mut tokens = Vec::new();
        let tables: Vec<[usize; 2]> = group
            .iter()
            .map(|_| [self.numbers.below(4), 4 + self.numbers.below(4)])
            .collect();
        let mut last = [0; 4];
        for_each_block(
            components,
            group,
            mcus,
            interval,
            &mut tokens,
            |tokens, place, block| {
                let Some(block) = block else {
                    last = [0; 4];
                    return;
                };
                // Moved as two's complement, so that the later bits can be put in.
                let value = block[0] >> low;
                if high.is_some() {
                    tokens.push(Token::Bits {
                        bits: (value & 1) as u32,
                        count: 1,
                    });
                } else {
                    difference(tokens, tables[place][0], value - last[place]);
                    last[place] = value;
                }
            },
        );
        let approximation = (high.unwrap_or(0) << 4 | low) as u8;
        self.scan(components, group, &tables, [0, 0, approximation], &tokens);
    }

    fn ac_scan(
        &mut self,
        component: &Component,
        index: usize,
        components: &[Component],
        [first, last]: [usize; 2],
        high: Option<u32>,
        low: u32,
    ) {
        let interval = self.restart_interval();
        let table = 4 + self.numbers.below(4);
        let longest_run = self.numbers.of(&[1, 2, 5, 100, 32_767]);
        let mut coder = BandCoder {
            tokens: Vec::new(),
            table,
            eob_run: 0,
            pending: Vec::new(),
        };
        let mut left = interval;
        for y in 0..component.height {
            for x in 0..component.width {
                if interval > 0 {
                    if left == 0 {
                        coder.end_run();
                        coder.tokens.push(Token::Restart);
                        left = interval;
                    }
                    left -= 1;
                }
                let block = &component.blocks[y * component.stride + x];
                let band = &block[first..=last];
                match high {
                    None => coder.first(band, low),
                    Some(_) => coder.refine(band, low),
                }
                if coder.eob_run >= longest_run || coder.pending.len() > 900 {
                    coder.end_run();
                }
            }
        }
        coder.end_run();
        let approximation = (high.unwrap_or(0) << 4 | low) as u8;
        let band = [first as u8, last as u8, approximation];
        self.scan(components, &[index], &[[0, table]], band, &coder.tokens);
    }

    /// Writes the tables that the tokens need, the scan's header and its data.
    fn scan(
        &mut self,
        components: &[Component],
        group: &[usize],
        tables: &[[usize; 2]],
        band: [u8; 3],
        tokens: &[Token],
    ) {
        let mut codes: Vec<[(u32, u32); 256]> = vec![[(0, 0); 256]; 8];
        for table in 0..8 {
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
                    codes[table][usize::from(*symbol)] = (code, length);
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

/// Factors whose largest is a multiple of each, as few as libjpeg takes.
fn sampling(numbers: &mut Numbers, count: usize) -> Vec<[usize; 2]> {
    if numbers.one_in(3) {
        let luma = numbers.of(&[[1, 1], [2, 1], [2, 2], [1, 2]]);
        let mut factors = vec![[1, 1]; count];
        factors[0] = luma;
        if count == 4 {
            factors[3] = luma;
        }
        return factors;
    }
    loop {
        let factors: Vec<[usize; 2]> = (0..count)
            .map(|_| [1 + numbers.below(4), 1 + numbers.below(4)])
            .collect();
        let fits = |axis: usize| {
            let largest = factors.iter().map(|factor| factor[axis]).max().unwrap();
            factors
                .iter()
                .all(|factor| largest.is_multiple_of(factor[axis]))
        };
        if fits(0) && fits(1) {
            return factors;
        }
    }
}

fn quantiser(numbers: &mut Numbers) -> [u16; 64] {
    let largest = numbers.of(&[1, 2, 16, 99, 255, 255, 2000]);
    std::array::from_fn(|_| 1 + numbers.below(largest) as u16)
}

/// A block whose coefficients are within what is decoded.
fn block(numbers: &mut Numbers, style: usize, quant: &[u16; 64]) -> Block {
    let mut block = [0; 64];
    let zeros = numbers.of(&[1, 2, 4, 20, 200]);
    for (k, at) in ZIGZAG.iter().enumerate() {
        let limit = 4095 / i32::from(quant[usize::from(*at)]);
        let limit = match style {
            // To the limit; like images; small ones, as progressive scans refine them.
            0 => limit,
            1 => limit.min(3 + 600 / (1 + k * k) as i32),
            _ => limit.min(9),
        };
        if k == 0 || numbers.one_in(zeros) {
            // Of blocks that only fill up an MCU some scans leave out the last bits, which makes
            // negative numbers larger.
            block[k] = numbers.between((8 - limit).min(0), limit);
        }
    }
    block
}

/// Calls `code` for each block of a scan, and with `None` at the start of a restart interval.
fn for_each_block(
    components: &[Component],
    group: &[usize],
    [across, down]: [usize; 2],
    interval: usize,
    tokens: &mut Vec<Token>,
    mut code: impl FnMut(&mut Vec<Token>, usize, Option<&Block>),
) {
    let alone = group.len() == 1;
    let only = &components[group[0]];
    let [across, down] = if alone {
        [only.width, only.height]
    } else {
        [across, down]
    };
    let mut left = interval;
    for (my, mx) in (0..down).flat_map(|y| (0..across).map(move |x| (y, x))) {
        if interval > 0 {
            if left == 0 {
                tokens.push(Token::Restart);
                code(tokens, 0, None);
                left = interval;
            }
            left -= 1;
        }
        for (place, index) in group.iter().enumerate() {
            let component = &components[*index];
            let (h, v) = if alone {
                (1, 1)
            } else {
                (component.h, component.v)
            };
            for (y, x) in (0..v).flat_map(|y| (0..h).map(move |x| (y, x))) {
                let at = (my * v + y) * component.stride + mx * h + x;
                code(tokens, place, Some(&component.blocks[at]));
            }
        }
    }
}

/// The length of a value, and its bits.
fn bits_of(value: i32) -> (u32, u32) {
    let size = 32 - value.unsigned_abs().leading_zeros();
    let bits = if value < 0 { value - 1 } else { value };
    (size, bits as u32 & ((1 << size) - 1))
}

fn difference(tokens: &mut Vec<Token>, table: usize, value: i32) {
    let (count, bits) = bits_of(value);
    tokens.push(Token::Symbol {
        table,
        symbol: count as u8,
        bits,
        count,
    });
}

fn coefficient(tokens: &mut Vec<Token>, table: usize, run: u32, value: i32) {
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
struct BandCoder {
    tokens: Vec<Token>,
    table: usize,
    /// Blocks whose bands have ended and that no code says yet.
    eob_run: u32,
    /// Correction bits of those blocks.
    pending: Vec<u32>,
}

impl BandCoder {
    fn end_run(&mut self) {
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

    fn first(&mut self, band: &[i32], low: u32) {
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

    fn refine(&mut self, band: &[i32], low: u32) {
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
