//! Changes to bytes, none of them clever: what is left of a sound input reaches far enough.

/// Numbers without pattern, the same for the same seed (xorshift).
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        let mut numbers = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        numbers.next();
        numbers
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `limit`, or 0.
    pub fn below(&mut self, limit: usize) -> usize {
        ((self.next() >> 11) % limit.max(1) as u64) as usize
    }

    /// One of these.
    pub fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }

    /// A range within `length`, mostly short.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = *self.of(&[4, 16, 64, length]);
        let end = (start + self.below(most + 1)).min(length);
        start..end
    }
}

/// Longer inputs are cut.
const MAX_BYTES: usize = 1 << 16;

/// Values at which arithmetic breaks.
const EDGES: [u64; 14] = [
    0,
    1,
    7,
    16,
    64,
    127,
    128,
    255,
    256,
    0x7FFF,
    0xFFFF,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
];

/// Changes `input` in one to a dozen places; `other` is what may be spliced in, `words` what may be
/// inserted.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], words: &[&[u8]], numbers: &mut Numbers) {
    let most = *numbers.of(&[1, 2, 4, 12]);
    let rounds = 1 + numbers.below(most);
    for _ in 0..rounds {
        once(input, other, words, numbers);
    }
    input.truncate(MAX_BYTES);
}

fn once(input: &mut Vec<u8>, other: &[u8], words: &[&[u8]], numbers: &mut Numbers) {
    let length = input.len();
    let at = numbers.below(length);
    match numbers.below(14) {
        0..=1 if length > 0 => input[at] ^= 1 << numbers.below(8),
        2 if length > 0 => input[at] = numbers.byte(),
        3 if length > 0 => {
            let step = numbers.byte() % 16;
            input[at] = if numbers.below(2) == 0 {
                input[at].wrapping_add(step)
            } else {
                input[at].wrapping_sub(step)
            };
        }
        // A number of one to eight bytes at an edge.
        4..=5 if length > 0 => {
            let value = *numbers.of(&EDGES);
            let width = *numbers.of(&[1, 2, 4, 8]).min(&(length - at));
            let little = value.to_le_bytes();
            let mut bytes = little[..width].to_vec();
            if numbers.below(2) == 0 {
                bytes.reverse();
            }
            input[at..at + width].copy_from_slice(&bytes);
        }
        6 => drop(input.drain(numbers.range(length))),
        7 => {
            let copied = input[numbers.range(length)].to_vec();
            let copied = copied.repeat(1 + numbers.below(3));
            input.splice(at..at, copied);
        }
        8 => {
            let count = numbers.below(9);
            let bytes: Vec<u8> = (0..count).map(|_| numbers.byte()).collect();
            input.splice(at..at, bytes);
        }
        9 => {
            let byte = *numbers.of(&[0, 0xFF, 0x80, b' ', numbers_byte(input, at)]);
            let range = numbers.range(length);
            input[range].fill(byte);
        }
        // A piece of another input, in the place of one here.
        10 => {
            let piece = other[numbers.range(other.len())].to_vec();
            input.splice(numbers.range(length), piece);
        }
        // The end of another input.
        11 => {
            let from = numbers.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        12 if numbers.below(4) == 0 => input.truncate(at),
        _ if !words.is_empty() => {
            let word = numbers.of(words).to_vec();
            let end = if numbers.below(2) == 0 {
                at
            } else {
                (at + word.len()).min(length)
            };
            input.splice(at..end, word);
        }
        _ => input.push(numbers.byte()),
    }
}

fn numbers_byte(input: &[u8], at: usize) -> u8 {
    input.get(at).copied().unwrap_or_default()
}
