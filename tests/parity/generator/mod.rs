//! JPEG files that no encoder writes: random coefficients, quantisers, Huffman codes of up to 16 bits,
//! sampling factors, scan scripts and restart intervals. Every file is valid and complete.

mod numbers;
mod scans;
mod tokens;
mod writer;

pub(crate) use numbers::Numbers;

/// Where in a block each coefficient belongs.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

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

/// One file.
pub(crate) fn file(seed: u64) -> Vec<u8> {
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
