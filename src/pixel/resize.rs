//! OpenCV's `resize` with `INTER_LINEAR` on 8-bit RGB, to the last bit.
//!
//! OpenCV works in fixed point: weights in 1/2048, a horizontal pass kept to 4 fewer bits, a
//! vertical pass that rounds once more. The same steps in the same order give the same bytes, on
//! OpenCV 4.5 to 5.0. Exactly half the size in both axes is a mean of four pixels there, and here.
//!
//! Rows come out as three planes, since the model wants planes and the compiler vectorises them.

use multiversion::multiversion;

use super::image::Image;

/// Pixels per step of the vectorised loops; buffers are whole multiples of it.
const LANES: usize = 16;

/// Tables and rows of one resize, kept from image to image.
#[derive(Debug, Default)]
pub struct Resizer {
    columns: Columns,
    /// The two source rows last resized horizontally: three planes each, with their row number.
    rows: [Row; 2],
    /// One output row: three planes of bytes.
    out: Vec<u8>,
}

#[derive(Debug, Default)]
struct Columns {
    /// Byte offset of the left pixel of each output pixel.
    offsets: Vec<u32>,
    /// Weights of the left and right pixel, in 1/2048.
    left: Vec<i32>,
    right: Vec<i32>,
    /// The two pixels of each column, of the row at hand: bytes 0–2 of `near` are the left one,
    /// bytes 1–3 of `far` the right one.
    near: Vec<u32>,
    far: Vec<u32>,
}

#[derive(Debug, Default)]
struct Row {
    y: Option<usize>,
    planes: Vec<i16>,
}

/// Resizes `image` into `rgb`, which must have room for `width` × `height` × 3 bytes, rows of
/// RGB pixels as OpenCV would store them after BGR → RGB.
pub fn resize(
    image: Image<'_>,
    width: usize,
    height: usize,
    resizer: &mut Resizer,
    rgb: &mut [u8],
) {
    let mut out = rgb.chunks_exact_mut(width * 3);
    resizer.rows(image, width, height, |[red, green, blue]| {
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

/// How an image is resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// It has the size already.
    Same,
    /// Exactly half the size in both axes.
    Half,
    /// The general way.
    Linear,
}

impl Method {
    /// From one width and height to another.
    fn of(from: [usize; 2], to: [usize; 2]) -> Self {
        if from == to {
            Self::Same
        } else if from == to.map(|side| side * 2) {
            Self::Half
        } else {
            Self::Linear
        }
    }
}

impl Resizer {
    /// Calls `sink` with the red, green and blue bytes of each of the `height` output rows, from
    /// the top; `width` bytes each.
    pub fn rows(
        &mut self,
        image: Image<'_>,
        width: usize,
        height: usize,
        mut sink: impl FnMut([&[u8]; 3]),
    ) {
        if width == 0 || height == 0 {
            return;
        }
        let padded = width.next_multiple_of(LANES);
        self.out.resize(padded * 3, 0);
        match Method::of([image.width(), image.height()], [width, height]) {
            Method::Same => {
                for y in 0..height {
                    split_planes(image.row(y), padded, &mut self.out);
                    sink(planes(&self.out, padded, width));
                }
            }
            Method::Half => {
                for y in 0..height {
                    let (upper, lower) = (image.row(2 * y), image.row(2 * y + 1));
                    mean_of_four(upper, lower, padded, &mut self.out);
                    sink(planes(&self.out, padded, width));
                }
            }
            Method::Linear => {
                self.columns.fill(image.width(), width);
                self.linear(image, width, height, sink);
            }
        }
    }

    /// The general way: `self.columns` says which pixels, each row of output needs two of input.
    fn linear(
        &mut self,
        image: Image<'_>,
        width: usize,
        height: usize,
        mut sink: impl FnMut([&[u8]; 3]),
    ) {
        let padded = width.next_multiple_of(LANES);
        for row in &mut self.rows {
            row.y = None;
            row.planes.resize(padded * 3, 0);
        }
        for ([first, second], [above, below]) in row_pairs(image.height(), height) {
            if self.rows[1].y == Some(first) {
                self.rows.swap(0, 1);
            }
            for (row, y) in self.rows.iter_mut().zip([first, second]) {
                if row.y != Some(y) {
                    self.columns
                        .horizontal(image.row(y), padded, &mut row.planes);
                    row.y = Some(y);
                }
            }
            vertical(
                &self.rows[0].planes,
                &self.rows[1].planes,
                above,
                below,
                &mut self.out,
            );
            sink(planes(&self.out, padded, width));
        }
    }
}

impl Columns {
    /// Fills the tables up to a whole number of lanes with the last column.
    fn pad(&mut self) {
        let padded = self.offsets.len().next_multiple_of(LANES);
        let last = self.offsets.last().copied().unwrap_or(0);
        self.offsets.resize(padded, last);
        self.left.resize(padded, 0);
        self.right.resize(padded, 0);
        self.near.resize(padded, 0);
        self.far.resize(padded, 0);
    }

    /// The columns of an image `from` pixels wide, for an output `to` pixels wide.
    fn fill(&mut self, from: usize, to: usize) {
        self.offsets.clear();
        self.left.clear();
        self.right.clear();
        for (x, [left, right]) in column_pairs(from, to) {
            self.offsets.push((x * 3) as u32);
            self.left.push(left);
            self.right.push(right);
        }
        self.pad();
    }

    fn horizontal(&mut self, row: &[u8], padded: usize, planes: &mut [i16]) {
        let twice;
        let row = match row {
            // A row of one pixel has no neighbour to read.
            [red, green, blue] => {
                twice = [*red, *green, *blue, *red, *green, *blue];
                &twice
            }
            row => row,
        };
        gather(row, &self.offsets, &mut self.near, &mut self.far);
        let (red, rest) = planes.split_at_mut(padded);
        let (green, blue) = rest.split_at_mut(padded);
        for (plane, at) in [(red, 0), (green, 1), (blue, 2)] {
            weigh(&self.near, &self.far, at, &self.left, &self.right, plane);
        }
    }
}

/// Of each column of output, the left one of the two columns of input that it is made of, and their
/// weights.
fn column_pairs(from: usize, to: usize) -> impl Iterator<Item = (usize, [i32; 2])> {
    let scale = scale(from, to);
    (0..to).map(move |x| {
        let (left, fraction) = source(x, scale);
        if from == 1 || left < 0 {
            (0, [2048, 0])
        } else if left >= from as i64 - 1 {
            // The last pixel alone, named as the right one of its pair, which lies inside.
            (from - 2, [0, 2048])
        } else {
            let (left_weight, right_weight) = weights(fraction);
            (left as usize, [left_weight, right_weight])
        }
    })
}

/// Of each row of output, the two rows of input that it is made of, and their weights.
fn row_pairs(from: usize, to: usize) -> impl Iterator<Item = ([usize; 2], [i16; 2])> {
    let scale = scale(from, to);
    let last = from as i64 - 1;
    (0..to).map(move |y| {
        // Unlike the columns, a row beyond the edge keeps its weights: only its number is clamped,
        // and that changes the rounding.
        let (upper, fraction) = source(y, scale);
        let (above, below) = weights(fraction);
        let row = |y: i64| y.clamp(0, last) as usize;
        ([row(upper), row(upper + 1)], [above as i16, below as i16])
    })
}

/// Marks the columns and rows of an image that [`resize`] reads, from one width and height to another;
/// of a large image these are few.
pub(super) fn lines_read(
    from: [usize; 2],
    to: [usize; 2],
    columns: &mut Vec<bool>,
    rows: &mut Vec<bool>,
) {
    let all = Method::of(from, to) != Method::Linear;
    for (read, side) in [&mut *columns, &mut *rows].into_iter().zip(from) {
        read.clear();
        read.resize(side, all);
    }
    if all {
        return;
    }
    for (left, _) in column_pairs(from[0], to[0]) {
        // The last one when there is one only.
        columns[left..]
            .iter_mut()
            .take(2)
            .for_each(|read| *read = true);
    }
    for ([first, second], _) in row_pairs(from[1], to[1]) {
        rows[first] = true;
        rows[second] = true;
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

/// The first half of the horizontal pass: each column's two neighbouring pixels. Apart from the
/// second half, and not multiversioned, since plain loads are faster than gather instructions.
#[inline(never)]
fn gather(row: &[u8], offsets: &[u32], near: &mut [u32], far: &mut [u32]) {
    for ((offset, near), far) in offsets.iter().zip(near).zip(far) {
        let pair = row
            .get(*offset as usize..)
            .and_then(<[u8]>::first_chunk::<6>);
        // Always there: no column points beyond its row.
        if let Some(pair) = pair
            && let (Some(first), Some(last)) = (pair.first_chunk(), pair.last_chunk())
        {
            // One load each. `copy_from_slice` would be a call where crates are not optimised together.
            *near = u32::from_le_bytes(*first);
            *far = u32::from_le_bytes(*last);
        }
    }
}

/// The second half, for one of the three colours.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn weigh(near: &[u32], far: &[u32], colour: u32, left: &[i32], right: &[i32], plane: &mut [i16]) {
    let columns = near.iter().zip(far).zip(left).zip(right).zip(plane);
    for ((((near, far), left), right), out) in columns {
        let left = (near >> (8 * colour) & 255) as i32 * left;
        let right = (far >> (8 * colour + 8) & 255) as i32 * right;
        *out = ((left + right) >> 4) as i16;
    }
}

/// The vertical pass: two rows of planes to one row of bytes.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn vertical(upper: &[i16], lower: &[i16], above: i16, below: i16, out: &mut [u8]) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules, one output byte at a time.
    fn by_the_rules(image: Image<'_>, width: usize, height: usize) -> Vec<u8> {
        let at = |x: i64, y: i64, colour: usize| {
            let y = y.clamp(0, image.height() as i64 - 1) as usize;
            i32::from(image.row(y)[x as usize * 3 + colour])
        };
        let last = image.width() as i64 - 1;
        let mut out = Vec::new();
        for (y, x, colour) in (0..height)
            .flat_map(|y| (0..width).map(move |x| (y, x)))
            .flat_map(|(y, x)| [(y, x, 0), (y, x, 1), (y, x, 2)])
        {
            let (left, fx) = source(x, scale(image.width(), width));
            let (left, fx) = if left < 0 {
                (0, 0.0)
            } else if left >= last {
                (last, 0.0)
            } else {
                (left, fx)
            };
            let (upper, fy) = source(y, scale(image.height(), height));
            let (a0, a1) = weights(fx);
            let (b0, b1) = weights(fy);
            let row = |y| {
                let right = (left + 1).min(last);
                (at(left, y, colour) * a0 + at(right, y, colour) * a1) >> 4
            };
            let sum = ((b0 * row(upper)) >> 16) + ((b1 * row(upper + 1)) >> 16);
            out.push(((sum + 2) >> 2) as u8);
        }
        out
    }

    #[test]
    fn every_size_follows_the_rules() {
        let mut resizer = Resizer::default();
        let noise: Vec<u8> = (0_u32..90 * 70 * 3)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 21) as u8)
            .collect();
        for (from, to) in [
            ((1, 1), (112, 112)),
            ((1, 9), (5, 4)),
            ((2, 1), (7, 3)),
            ((90, 70), (112, 112)),
            ((90, 70), (45, 70)),
            ((90, 70), (90, 35)),
            ((90, 70), (44, 36)),
            ((33, 17), (1, 1)),
            ((70, 90), (17, 31)),
        ] {
            let image = Image::new(&noise[..from.0 * from.1 * 3], from.0, from.1).unwrap();
            let mut out = vec![0; to.0 * to.1 * 3];
            resize(image, to.0, to.1, &mut resizer, &mut out);
            assert_eq!(out, by_the_rules(image, to.0, to.1), "{from:?} {to:?}");
        }
    }

    #[test]
    fn half_the_size_is_a_mean_and_the_same_size_a_copy() {
        let rgb: Vec<u8> = (0..4 * 2 * 3).map(|v| v * 7).collect();
        let image = Image::new(&rgb, 4, 2).unwrap();
        let mut half = [0; 6];
        resize(image, 2, 1, &mut Resizer::default(), &mut half);
        // (0 + 21 + 84 + 105 + 2) / 4 and so on.
        assert_eq!(half, [53, 60, 67, 95, 102, 109]);
        let mut same = [0; 24];
        resize(image, 4, 2, &mut Resizer::default(), &mut same);
        assert_eq!(same, rgb[..]);
    }
}
