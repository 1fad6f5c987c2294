//! An image fitted into a frame of another shape: resized until its longer side fits, with a border
//! around it.

use super::image::Image;
use super::resize::Resizer;
use super::tensor::TensorFormat;

/// Where an image lies in its frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Letterbox {
    /// The frame's width and height.
    pub frame: [usize; 2],
    /// The image's width and height inside.
    pub size: [usize; 2],
    /// The image's upper left corner inside.
    pub at: [usize; 2],
    /// The size inside, divided by the image's own, of width and height.
    pub scale: [f32; 2],
}

impl Letterbox {
    /// Fits an image of width and height `image` into the middle of `frame`; no side is 0.
    pub fn new(image: [usize; 2], frame: [usize; 2]) -> Self {
        let ratio = |axis: usize| frame[axis] as f64 / image[axis] as f64;
        let fit = ratio(0).min(ratio(1));
        let side =
            |axis: usize| ((image[axis] as f64 * fit).round() as usize).clamp(1, frame[axis]);
        let size = [side(0), side(1)];
        Self {
            frame,
            size,
            at: [(frame[0] - size[0]) / 2, (frame[1] - size[1]) / 2],
            scale: [0, 1].map(|axis| size[axis] as f32 / image[axis] as f32),
        }
    }

    /// A point of the frame, as a point of the image.
    pub fn to_image(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        [
            (x - self.at[0] as f32) / self.scale[0],
            (y - self.at[1] as f32) / self.scale[1],
        ]
    }
}

impl Image<'_> {
    /// Fits the image into a frame of width and height `frame`, and writes both to `tensor`. The border
    /// has the colour `border` (RGB).
    ///
    /// # Panics
    ///
    /// When `tensor` has not [`TensorFormat::byte_len`] bytes.
    pub fn write_letterbox(
        self,
        frame: [usize; 2],
        border: [u8; 3],
        format: &TensorFormat,
        resizer: &mut Resizer,
        tensor: &mut [u8],
    ) -> Letterbox {
        assert_eq!(tensor.len(), format.byte_len(frame), "the tensor's bytes");
        let place = Letterbox::new([self.width(), self.height()], frame);
        let [right, below] = [0, 1].map(|axis| place.at[axis] + place.size[axis]);
        for y in 0..frame[1] {
            let beside = (place.at[1]..below).contains(&y);
            let columns = if beside {
                [0..place.at[0], right..frame[0]]
            } else {
                [0..frame[0], 0..0]
            };
            for columns in columns {
                let samples = border.map(|sample| vec![sample; columns.len()]);
                let samples = samples.each_ref().map(Vec::as_slice);
                format.put(samples, [columns.start, y], frame, tensor);
            }
        }
        self.write_part(place.size, place.at, frame, format, resizer, tensor);
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixel::{Colours, Layout, Values, resize};

    #[test]
    fn the_image_lies_in_the_middle_and_the_border_around_it() {
        let rgb: Vec<u8> = (0..10 * 6 * 3).collect();
        let image = Image::new(&rgb, 10, 6).unwrap();
        let mut resizer = Resizer::default();
        let format = TensorFormat {
            layout: Layout::Nhwc,
            colours: Colours::Rgb,
            values: Values::Uint8,
        };
        for (frame, size, at) in [
            ([20, 20], [20, 12], [0, 4]),
            ([30, 6], [10, 6], [10, 0]),
            ([5, 4], [5, 3], [0, 0]),
            ([1, 9], [1, 1], [0, 4]),
        ] {
            let mut tensor = vec![0; format.byte_len(frame)];
            let place = image.write_letterbox(frame, [7, 8, 9], &format, &mut resizer, &mut tensor);
            assert_eq!((place.size, place.at), (size, at), "{frame:?}");
            let mut inner = vec![0; size[0] * size[1] * 3];
            resize(image, size[0], size[1], &mut resizer, &mut inner);
            for (index, pixel) in tensor.as_chunks::<3>().0.iter().enumerate() {
                let (x, y) = (index % frame[0], index / frame[0]);
                let (x, y) = (x.wrapping_sub(at[0]), y.wrapping_sub(at[1]));
                let expected = if x < size[0] && y < size[1] {
                    *inner[(y * size[0] + x) * 3..].first_chunk().unwrap()
                } else {
                    [7, 8, 9]
                };
                assert_eq!(*pixel, expected, "{frame:?} {index}");
            }
        }
        let place = Letterbox::new([10, 6], [20, 20]);
        assert_eq!(place.to_image([10.0, 8.0]), [5.0, 2.0]);
    }
}
