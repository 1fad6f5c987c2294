//! The aligned crop: a face turned, scaled and moved so that its landmarks lie where face models
//! expect them.

use super::SIDE;
use crate::pixel::{Affine, Image, ImageBuf};

/// Where the eyes, the nose and the corners of the mouth lie in an image of 112 × 112: the template of
/// ArcFace and InsightFace.
const TEMPLATE: [[f64; 2]; 5] = [
    [38.2946, 51.6963],
    [73.5318, 51.5014],
    [56.0252, 71.7366],
    [41.5493, 92.3655],
    [70.7299, 92.2041],
];

/// The crop of a face with these landmarks (as [`Detection`](super::Detection) has them), 112 × 112;
/// black where the photo ends. `None` when the landmarks give no direction, such as five equal ones.
pub fn align(photo: Image<'_>, landmarks: &[[f32; 2]; 5]) -> Option<ImageBuf> {
    let transform = similarity(landmarks)?;
    let mut rgb = vec![0; SIDE * SIDE * 3];
    photo.warp_affine(&transform, SIDE, [0; 3], &mut rgb);
    ImageBuf::new(rgb, SIDE, SIDE)
}

/// The rotation, scale and shift that bring the landmarks nearest to the template, by the least sum of
/// squares: Umeyama's, which in the plane needs no decomposition and never mirrors.
fn similarity(landmarks: &[[f32; 2]; 5]) -> Option<Affine> {
    let points = landmarks.map(|point| point.map(f64::from));
    let (from, to) = (mean(&points), mean(&TEMPLATE));
    let (mut cosine, mut sine, mut spread) = (0.0, 0.0, 0.0);
    for (point, target) in points.iter().zip(&TEMPLATE) {
        let [x, y] = [point[0] - from[0], point[1] - from[1]];
        let [u, v] = [target[0] - to[0], target[1] - to[1]];
        cosine += x * u + y * v;
        sine += x * v - y * u;
        spread += x * x + y * y;
    }
    let (a, b) = (cosine / spread, sine / spread);
    let shift = [
        to[0] - (a * from[0] - b * from[1]),
        to[1] - (b * from[0] + a * from[1]),
    ];
    let sound = (a * a + b * b).is_normal() && shift.iter().all(|shift| shift.is_finite());
    sound.then_some(Affine([[a, -b, shift[0]], [b, a, shift[1]]]))
}

fn mean(points: &[[f64; 2]; 5]) -> [f64; 2] {
    [0, 1].map(|axis| points.iter().map(|point| point[axis]).sum::<f64>() / 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn landmarks_moved_from_the_template_are_moved_back() {
        let moved = Affine([[1.2, -0.9, 40.0], [0.9, 1.2, -15.0]]);
        let landmarks = TEMPLATE.map(|point| moved.apply(point).map(|at| at as f32));
        let back = similarity(&landmarks).unwrap();
        for (point, target) in landmarks.iter().zip(&TEMPLATE) {
            let [x, y] = back.apply(point.map(f64::from));
            assert!((x - target[0]).abs() < 1e-4 && (y - target[1]).abs() < 1e-4);
        }
    }

    #[test]
    fn a_photo_that_lies_on_the_template_is_cut_unchanged() {
        let rgb: Vec<u8> = (0..SIDE * SIDE * 3).map(|v| (v % 251) as u8).collect();
        let photo = ImageBuf::new(rgb.clone(), SIDE, SIDE).unwrap();
        let landmarks = TEMPLATE.map(|point| point.map(|at| at as f32));
        let crop = align(photo.image(), &landmarks).unwrap();
        let rows = (0..SIDE).flat_map(|y| crop.image().row(y).to_vec());
        assert!(rows.eq(rgb));
    }

    #[test]
    fn landmarks_without_a_direction_give_no_crop() {
        let photo = ImageBuf::new(vec![0; 12], 2, 2).unwrap();
        for landmarks in [[[3.0; 2]; 5], [[f32::NAN; 2]; 5], [[f32::INFINITY; 2]; 5]] {
            assert!(align(photo.image(), &landmarks).is_none());
        }
    }
}
