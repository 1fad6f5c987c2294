//! Which scans a file has: groups of components, bands of coefficients and bits.

use super::tokens::{BandCoder, Token, coefficient, difference};
use super::{Block, Component, Generator};

impl Generator {
    /// Splits the components into scans, each of at most ten blocks per MCU.
    pub(super) fn groups(
        &mut self,
        components: &[Component],
        always_whole: bool,
    ) -> Vec<Vec<usize>> {
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

    pub(super) fn restart_interval(&mut self) -> usize {
        let interval = self.numbers.of(&[0, 0, 0, 1, 2, 3, 7, 20]);
        self.segment(0xDD, &(interval as u16).to_be_bytes());
        interval
    }

    pub(super) fn sequential(&mut self, components: &[Component], mcus: [usize; 2]) {
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

    pub(super) fn progressive(&mut self, components: &[Component], mcus: [usize; 2]) {
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

    pub(super) fn dc_scan(
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

    pub(super) fn ac_scan(
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
