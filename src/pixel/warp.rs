//! OpenCV's `warpAffine` with `INTER_LINEAR` and `BORDER_CONSTANT` on 8-bit RGB, to the last bit of
//! OpenCV 4.5 to 4.14 on x86-64.
//!
//! Positions are fixed-point: 1/1024 pixel per step, rounded to 1/32 where a pixel is read, so that
//! there are 32 × 32 sets of four weights. OpenCV 5 computes positions in floating point and gives
//! other bytes (by up to 6 on noise, in one of twenty).

use super::image::Image;

/// `INTER_BITS`: a position is rounded to 1/32 pixel.
const INTER_BITS: u32 = 5;
const INTER_TAB_SIZE: i32 = 1 << INTER_BITS;

/// `AB_BITS`: steps along a row are rounded to 1/1024 pixel.
const AB_BITS: u32 = 10;
const AB_SCALE: f64 = (1 << AB_BITS) as f64;

/// Added before a position is cut to 1/32 pixel, so that it is rounded.
const ROUND_DELTA: i32 = 1 << (AB_BITS - INTER_BITS - 1);

/// A transform of the plane: `[x', y'] = [[a, b, c], [d, e, f]] · [x, y, 1]`, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine(pub [[f64; 3]; 2]);

impl Affine {
    /// Where a point goes.
    pub fn apply(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        self.0.map(|[a, b, c]| a * x + b * y + c)
    }

    /// The way back, in the steps of OpenCV. A transform that flattens the plane has none; the result
    /// then sends everything to one point.
    fn inverse(&self) -> [[f64; 3]; 2] {
        let [[a, b, c], [d, e, f]] = self.0;
        let determinant = a * e - b * d;
        let factor = if determinant == 0.0 {
            0.0
        } else {
            1.0 / determinant
        };
        let (a, b, d, e) = (e * factor, b * -factor, d * -factor, a * factor);
        [[a, b, -a * c - b * f], [d, e, -d * c - e * f]]
    }
}

impl Image<'_> {
    /// Sends each pixel to where `transform` says, into RGB rows of `width` pixels: `rgb` is as many
    /// rows as fit. What lies outside the image has the colour `border`.
    ///
    /// OpenCV refuses images of 32,767 pixels or more a side; here they are taken.
    pub fn warp_affine(self, transform: &Affine, width: usize, border: [u8; 3], rgb: &mut [u8]) {
        let [[a, b, c], [d, e, f]] = transform.inverse();
        let steps: Vec<[i32; 2]> = (0..width)
            .map(|x| [a, d].map(|step| round(step * x as f64 * AB_SCALE)))
            .collect();
        for (y, row) in rgb.chunks_exact_mut((width * 3).max(1)).enumerate() {
            let y = y as f64;
            let start = [b * y + c, e * y + f].map(|at| round(at * AB_SCALE));
            for (pixel, step) in row.as_chunks_mut::<3>().0.iter_mut().zip(&steps) {
                let [x, y] = [0, 1].map(|axis| {
                    let at = start[axis].wrapping_add(ROUND_DELTA);
                    at.wrapping_add(step[axis]) >> (AB_BITS - INTER_BITS)
                });
                *pixel = self.between(x, y, border);
            }
        }
    }

    /// The colour at a position in 1/32 pixel: the mean of four pixels, by how near they are.
    fn between(self, x: i32, y: i32, border: [u8; 3]) -> [u8; 3] {
        let [left, upper] = [x, y].map(|at| i64::from(at >> INTER_BITS));
        let [right_weight, lower_weight] = [x, y].map(|at| at & (INTER_TAB_SIZE - 1));
        let near = |weight| INTER_TAB_SIZE - weight;
        let pixel = |x: i64, y: i64| {
            let inside =
                (0..self.width() as i64).contains(&x) && (0..self.height() as i64).contains(&y);
            if !inside {
                return border;
            }
            let at = &self.row(y as usize)[x as usize * 3..];
            [at[0], at[1], at[2]]
        };
        let corners = [
            (pixel(left, upper), near(right_weight) * near(lower_weight)),
            (pixel(left + 1, upper), right_weight * near(lower_weight)),
            (pixel(left, upper + 1), near(right_weight) * lower_weight),
            (pixel(left + 1, upper + 1), right_weight * lower_weight),
        ];
        // OpenCV's weights are these times 32, and shifted out again.
        [0, 1, 2].map(|colour| {
            let sum = corners
                .iter()
                .map(|(pixel, weight)| i32::from(pixel[colour]) * weight);
            let half = INTER_TAB_SIZE * INTER_TAB_SIZE / 2;
            ((sum.sum::<i32>() + half) >> (2 * INTER_BITS)) as u8
        })
    }
}

/// The nearest whole number, halves to even; as x86 has it, `i32::MIN` stands for what is too large.
fn round(value: f64) -> i32 {
    let whole = value.round_ties_even();
    if (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&whole) {
        whole as i32
    } else {
        i32::MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BORDER: [u8; 3] = [1, 2, 3];

    fn warped(image: Image<'_>, transform: [[f64; 3]; 2], [width, height]: [usize; 2]) -> Vec<u8> {
        let mut rgb = vec![0; width * height * 3];
        image.warp_affine(&Affine(transform), width, BORDER, &mut rgb);
        rgb
    }

    #[test]
    fn whole_steps_and_flips_move_pixels_unchanged() {
        let rgb: Vec<u8> = (10..10 + 4 * 3 * 3).collect();
        let image = Image::new(&rgb, 4, 3).unwrap();
        let same = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]];
        assert_eq!(warped(image, same, [4, 3]), rgb);
        let moved = warped(image, [[1.0, 0.0, 1.0], [0.0, 1.0, -1.0]], [4, 3]);
        assert_eq!(moved[..3], BORDER);
        assert_eq!(moved[3..12], rgb[12..21]);
        assert_eq!(moved[24..].as_chunks::<3>().0, [BORDER; 4]);
        let flipped = warped(image, [[-1.0, 0.0, 3.0], [0.0, 1.0, 0.0]], [4, 1]);
        let reversed: Vec<u8> = rgb[..12]
            .as_chunks::<3>()
            .0
            .iter()
            .rev()
            .copied()
            .flatten()
            .collect();
        assert_eq!(flipped, reversed);
    }

    #[test]
    fn the_edge_fades_into_the_border() {
        let image = Image::new(&[101, 102, 103], 1, 1).unwrap();
        let half = warped(image, [[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]], [2, 1]);
        assert_eq!(half, [51, 52, 53, 51, 52, 53]);
    }

    #[test]
    fn any_transform_ends() {
        let image = Image::new(&[9; 12], 2, 2).unwrap();
        for value in [0.0, 1e300, -1e300, f64::NAN, f64::INFINITY, 1e-300] {
            let transform = [[value, 0.0, value], [1.0, value, 0.0]];
            assert_eq!(warped(image, transform, [3, 2]).len(), 18);
        }
        // Everything is where the origin's pixel is.
        assert_eq!(warped(image, [[0.0; 3]; 2], [1, 1]), [9; 3]);
        assert!(warped(image, [[1.0; 3]; 2], [0, 4]).is_empty());
    }

    #[test]
    fn a_transform_and_its_inverse_meet() {
        let there = Affine([[1.5, -0.5, 7.0], [0.5, 1.5, -3.0]]);
        let back = Affine(there.inverse());
        let [x, y] = back.apply(there.apply([11.0, 13.0]));
        assert!((x - 11.0).abs() < 1e-12 && (y - 13.0).abs() < 1e-12);
    }
}
