//! OpenCV's `resize` with `INTER_LINEAR` on 8-bit RGB, to the last bit.
//!
//! OpenCV works in fixed point: weights in 1/2048, a horizontal pass kept to 4 fewer bits, a
//! vertical pass that rounds once more. The same steps in the same order give the same bytes, on
//! OpenCV 4.5 to 5.0. Exactly half the size in both axes is a mean of four pixels there, and here.
//!
//! Rows come out as three planes, since the model wants planes and the compiler vectorises them.

use multiversion::multiversion;

use super::picture::Picture;

/// Pixels per step of the vectorised loops; buffers are whole multiples of it.
const LANES: usize = 16;

/// Two neighbouring RGB pixels.
type Pair = [u8; 6];

/// Tables and rows of one resize, kept from picture to picture.
#[derive(Debug, Default)]
pub struct Resizer {
    columns: Columns,
    /// The two source rows last resized horizontally: three planes each, with their row number.
    rows: [Row; 2],
    /// One output row: three planes of bytes.
    out: Vec<u8>,
    /// A picture one pixel wide, doubled so that every pixel has a neighbour.
    doubled: Vec<u8>,
}

#[derive(Debug, Default)]
struct Columns {
    /// Byte offset of the left pixel of each output pixel.
    offsets: Vec<u32>,
    /// Weights of the left and right pixel, in 1/2048.
    left: Vec<i32>,
    right: Vec<i32>,
}

#[derive(Debug, Default)]
struct Row {
    y: Option<usize>,
    planes: Vec<i16>,
}

/// Resizes `picture` into `rgb`, which must have room for `width` × `height` × 3 bytes, rows of
/// RGB pixels as OpenCV would store them after BGR → RGB.
pub fn resize(
    picture: Picture<'_>,
    width: usize,
    height: usize,
    resizer: &mut Resizer,
    rgb: &mut [u8],
) {
    let mut out = rgb.chunks_exact_mut(width * 3);
    resizer.rows(picture, width, height, |[red, green, blue]| {
        let Some(out) = out.next() else { return };
        for (((pixel, r), g), b) in out
            .as_chunks_mut::<3>()
            .0
            .iter_mut()
            .zip(red)
            .zip(green)
            .zip(blue)
        {
            *pixel = [*r, *g, *b];
        }
    });
}

impl Resizer {
    /// Calls `sink` with the red, green and blue bytes of each of the `height` output rows, from
    /// the top; `width` bytes each.
    pub fn rows(
        &mut self,
        picture: Picture<'_>,
        width: usize,
        height: usize,
        mut sink: impl FnMut([&[u8]; 3]),
    ) {
        if width == 0 || height == 0 {
            return;
        }
        let padded = width.next_multiple_of(LANES);
        self.out.resize(padded * 3, 0);
        let same = picture.width() == width && picture.height() == height;
        let half = picture.width() == width * 2 && picture.height() == height * 2;
        if same || half {
            for y in 0..height {
                if same {
                    split_planes(picture.row(y), padded, &mut self.out);
                } else {
                    mean_of_four(
                        picture.row(2 * y),
                        picture.row(2 * y + 1),
                        padded,
                        &mut self.out,
                    );
                }
                sink(planes(&self.out, padded, width));
            }
        } else if picture.width() == 1 {
            let mut doubled = std::mem::take(&mut self.doubled);
            doubled.clear();
            for y in 0..picture.height() {
                doubled.extend_from_slice(picture.row(y));
                doubled.extend_from_slice(picture.row(y));
            }
            if let Some(twice) = Picture::new(&doubled, 2, picture.height()) {
                self.columns.constant(width);
                self.linear(twice, width, height, sink);
            }
            self.doubled = doubled;
        } else {
            self.columns.fill(picture.width(), width);
            self.linear(picture, width, height, sink);
        }
    }

    /// The general way: `self.columns` says which pixels, each row of output needs two of input.
    fn linear(
        &mut self,
        picture: Picture<'_>,
        width: usize,
        height: usize,
        mut sink: impl FnMut([&[u8]; 3]),
    ) {
        let padded = width.next_multiple_of(LANES);
        for row in &mut self.rows {
            row.y = None;
            row.planes.resize(padded * 3, 0);
        }
        let scale = scale(picture.height(), height);
        let last = picture.height() as i64 - 1;
        for y in 0..height {
            // Unlike the columns, a row beyond the edge keeps its weights: only its number is
            // clamped, and that changes the rounding.
            let (upper, fraction) = source(y, scale);
            let (above, below) = weights(fraction);
            let first = upper.clamp(0, last) as usize;
            let second = (upper + 1).clamp(0, last) as usize;
            if self.rows[1].y == Some(first) {
                self.rows.swap(0, 1);
            }
            for (row, y) in self.rows.iter_mut().zip([first, second]) {
                if row.y != Some(y) {
                    self.columns.across(picture.row(y), padded, &mut row.planes);
                    row.y = Some(y);
                }
            }
            down(
                &self.rows[0].planes,
                &self.rows[1].planes,
                above as i16,
                below as i16,
                &mut self.out,
            );
            sink(planes(&self.out, padded, width));
        }
    }
}

impl Columns {
    fn clear(&mut self) {
        self.offsets.clear();
        self.left.clear();
        self.right.clear();
    }

    fn push(&mut self, x: usize, left: i32, right: i32) {
        self.offsets.push((x * 3) as u32);
        self.left.push(left);
        self.right.push(right);
    }

    /// Fills the tables up to a whole number of lanes with the last column.
    fn pad(&mut self) {
        let padded = self.offsets.len().next_multiple_of(LANES);
        let last = self.offsets.last().copied().unwrap_or(0);
        self.offsets.resize(padded, last);
        self.left.resize(padded, 0);
        self.right.resize(padded, 0);
    }

    /// The columns of a picture `from` ≥ 2 pixels wide, for an output `to` pixels wide.
    fn fill(&mut self, from: usize, to: usize) {
        self.clear();
        let scale = scale(from, to);
        for x in 0..to {
            let (left, fraction) = source(x, scale);
            if left < 0 {
                self.push(0, 2048, 0);
            } else if left >= from as i64 - 1 {
                // The last pixel alone, named as the right one of its pair, which lies inside.
                self.push(from - 2, 0, 2048);
            } else {
                let (left_weight, right_weight) = weights(fraction);
                self.push(left as usize, left_weight, right_weight);
            }
        }
        self.pad();
    }

    /// Every output pixel is the first of the row.
    fn constant(&mut self, to: usize) {
        self.clear();
        for _ in 0..to {
            self.push(0, 2048, 0);
        }
        self.pad();
    }

    fn across(&self, row: &[u8], padded: usize, planes: &mut [i16]) {
        across(row, &self.offsets, &self.left, &self.right, padded, planes);
    }
}

/// Source pixels per output pixel, as OpenCV computes it (the reciprocal of a rounded quotient).
fn scale(from: usize, to: usize) -> f64 {
    1.0 / (to as f64 / from as f64)
}

/// The source pixel left of (above) output pixel `d`, and how far `d` is beyond it, in FP32.
fn source(d: usize, scale: f64) -> (i64, f32) {
    let position = ((d as f64 + 0.5) * scale - 0.5) as f32;
    let whole = position.floor();
    (whole as i64, position - whole)
}

/// Weights of the two neighbours in 1/2048.
fn weights(fraction: f32) -> (i32, i32) {
    let near = ((1.0 - fraction) * 2048.0).round_ties_even();
    let far = (fraction * 2048.0).round_ties_even();
    (near as i32, far as i32)
}

/// The first `width` bytes of each plane of a row of three planes of `padded` bytes.
fn planes(row: &[u8], padded: usize, width: usize) -> [&[u8]; 3] {
    [0, 1, 2].map(|plane| &row[plane * padded..][..width])
}

/// The horizontal pass over one row, `LANES` output pixels at a time: first their pixel pairs are
/// gathered, then weighed, plane by plane.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn across(
    row: &[u8],
    offsets: &[u32],
    left: &[i32],
    right: &[i32],
    padded: usize,
    planes: &mut [i16],
) {
    let (red, rest) = planes.split_at_mut(padded);
    let (green, blue) = rest.split_at_mut(padded);
    let lanes = offsets
        .as_chunks::<LANES>()
        .0
        .iter()
        .zip(left.as_chunks::<LANES>().0)
        .zip(right.as_chunks::<LANES>().0)
        .zip(red.as_chunks_mut::<LANES>().0)
        .zip(green.as_chunks_mut::<LANES>().0)
        .zip(blue.as_chunks_mut::<LANES>().0);
    for (((((offsets, left), right), red), green), blue) in lanes {
        let mut near = [0_u32; LANES];
        let mut far = [0_u32; LANES];
        for x in 0..LANES {
            let pair: &Pair = match row.get(offsets[x] as usize..).and_then(<[u8]>::first_chunk) {
                Some(pair) => pair,
                None => &[0; 6],
            };
            near[x] = u32::from_le_bytes([pair[0], pair[1], pair[2], pair[3]]);
            far[x] = u32::from_le_bytes([pair[2], pair[3], pair[4], pair[5]]);
        }
        for x in 0..LANES {
            let byte = |word: u32, at: u32| (word >> (8 * at) & 255) as i32;
            red[x] = ((byte(near[x], 0) * left[x] + byte(far[x], 1) * right[x]) >> 4) as i16;
            green[x] = ((byte(near[x], 1) * left[x] + byte(far[x], 2) * right[x]) >> 4) as i16;
            blue[x] = ((byte(near[x], 2) * left[x] + byte(far[x], 3) * right[x]) >> 4) as i16;
        }
    }
}

/// The vertical pass: two rows of planes to one row of bytes.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn down(upper: &[i16], lower: &[i16], above: i16, below: i16, out: &mut [u8]) {
    for ((out, upper), lower) in out.iter_mut().zip(upper).zip(lower) {
        let top = ((i32::from(above) * i32::from(*upper)) >> 16) as i16;
        let bottom = ((i32::from(below) * i32::from(*lower)) >> 16) as i16;
        *out = ((top + bottom + 2) >> 2) as u8;
    }
}

/// The mean of 2 × 2 pixels, rounded half up.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn mean_of_four(upper: &[u8], lower: &[u8], padded: usize, out: &mut [u8]) {
    let (red, rest) = out.split_at_mut(padded);
    let (green, blue) = rest.split_at_mut(padded);
    let pixels = upper
        .as_chunks::<6>()
        .0
        .iter()
        .zip(lower.as_chunks::<6>().0)
        .zip(red)
        .zip(green)
        .zip(blue);
    for ((((upper, lower), red), green), blue) in pixels {
        let mean = |at: usize| {
            let sum = u16::from(upper[at])
                + u16::from(upper[at + 3])
                + u16::from(lower[at])
                + u16::from(lower[at + 3]);
            ((sum + 2) >> 2) as u8
        };
        *red = mean(0);
        *green = mean(1);
        *blue = mean(2);
    }
}

/// A row of RGB pixels as three planes.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn split_planes(row: &[u8], padded: usize, out: &mut [u8]) {
    let (red, rest) = out.split_at_mut(padded);
    let (green, blue) = rest.split_at_mut(padded);
    let pixels = row.as_chunks::<3>().0.iter().zip(red).zip(green).zip(blue);
    for (((pixel, red), green), blue) in pixels {
        [*red, *green, *blue] = *pixel;
    }
}
