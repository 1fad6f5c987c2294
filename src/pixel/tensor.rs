//! An image as a model's input: the order of the axes and colours, and what a byte becomes. Resized
//! with OpenCV's bits and written in place, row by row.

use bytes::BytesMut;

use super::image::Image;
use super::normalize::Normalize;
use super::resize::Resizer;

/// The order of the axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Three planes: colour, row, column.
    Nchw,
    /// Row, column, colour.
    Nhwc,
}

/// The order of the colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// Red first.
    Rgb,
    /// Blue first, as OpenCV has them.
    Bgr,
}

/// What a byte becomes; numbers are little-endian.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Values {
    /// Itself.
    Uint8,
    /// A half, rounded from the FP32 value.
    Fp16(Normalize),
    /// (x − mean) × scale.
    Fp32(Normalize),
}

/// How a model takes an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorFormat {
    /// The order of the axes.
    pub layout: Layout,
    /// The order of the colours.
    pub colours: Colours,
    /// What a byte becomes.
    pub values: Values,
}

impl TensorFormat {
    /// RGB planes of FP32.
    pub const fn planes(normalize: Normalize) -> Self {
        Self {
            layout: Layout::Nchw,
            colours: Colours::Rgb,
            values: Values::Fp32(normalize),
        }
    }

    /// Bytes of an image of this width and height.
    pub const fn byte_len(&self, [width, height]: [usize; 2]) -> usize {
        width * height * 3 * self.value_bytes()
    }

    /// The pixels that were written, row by row, red, green and blue: the byte whose value is nearest.
    pub fn pixels(&self, tensor: &[u8]) -> Vec<u8> {
        let count = tensor.len() / (3 * self.value_bytes());
        let mut rgb = vec![0; 3 * count];
        for (at, value) in tensor.chunks_exact(self.value_bytes()).enumerate() {
            let (pixel, place) = match self.layout {
                Layout::Nchw => (at % count, at / count),
                Layout::Nhwc => (at / 3, at % 3),
            };
            let colour = match self.colours {
                Colours::Rgb => place,
                Colours::Bgr => 2 - place,
            };
            rgb[3 * pixel + colour] = self.values.sample(colour, value);
        }
        rgb
    }

    const fn value_bytes(&self) -> usize {
        match self.values {
            Values::Uint8 => 1,
            Values::Fp16(_) => 2,
            Values::Fp32(_) => 4,
        }
    }

    /// Writes red, green and blue samples to row `y` of a tensor of width and height `size`, from
    /// column `x`.
    pub(super) fn put(
        &self,
        samples: [&[u8]; 3],
        [x, y]: [usize; 2],
        [width, height]: [usize; 2],
        tensor: &mut [u8],
    ) {
        let bytes = self.value_bytes();
        let columns = samples[0].len();
        debug_assert!(x + columns <= width && y < height);
        for (colour, samples) in samples.into_iter().enumerate() {
            let place = match self.colours {
                Colours::Rgb => colour,
                Colours::Bgr => 2 - colour,
            };
            match self.layout {
                Layout::Nchw => {
                    let start = ((place * height + y) * width + x) * bytes;
                    let row = &mut tensor[start..][..columns * bytes];
                    self.values.write(colour, samples, row);
                }
                Layout::Nhwc => {
                    let start = (y * width + x) * 3 * bytes;
                    let row = &mut tensor[start..][..columns * 3 * bytes];
                    match bytes {
                        1 => self.values.interleave::<1>(colour, samples, place, row),
                        2 => self.values.interleave::<2>(colour, samples, place, row),
                        _ => self.values.interleave::<4>(colour, samples, place, row),
                    }
                }
            }
        }
    }
}

impl Values {
    /// Writes the values of one colour's bytes one behind the other.
    fn write(&self, colour: usize, samples: &[u8], values: &mut [u8]) {
        match self {
            Self::Uint8 => values[..samples.len()].copy_from_slice(samples),
            Self::Fp16(normalize) => normalize.fp16(colour, samples, values),
            Self::Fp32(normalize) => normalize.fp32(colour, samples, values),
        }
    }

    /// The byte of a colour whose value this is.
    fn sample(&self, colour: usize, value: &[u8]) -> u8 {
        match (self, value) {
            (Self::Fp16(normalize), &[a, b]) => {
                let value = ::half::f16::from_le_bytes([a, b]).to_f32();
                normalize.sample(colour, value)
            }
            (Self::Fp32(normalize), &[a, b, c, d]) => {
                normalize.sample(colour, f32::from_le_bytes([a, b, c, d]))
            }
            _ => value.first().copied().unwrap_or_default(),
        }
    }

    /// Writes the values of one colour's bytes, of `N` bytes each, to their place in each pixel of a
    /// row.
    fn interleave<const N: usize>(
        &self,
        colour: usize,
        samples: &[u8],
        place: usize,
        row: &mut [u8],
    ) {
        // Many values at once are made faster than one.
        const STEP: usize = 64;
        let mut values = [[0; N]; STEP];
        let pixels = row.as_chunks_mut::<N>().0.chunks_mut(3 * STEP);
        for (samples, pixels) in samples.chunks(STEP).zip(pixels) {
            self.write(colour, samples, values.as_flattened_mut());
            for (pixel, value) in pixels.as_chunks_mut::<3>().0.iter_mut().zip(&values) {
                pixel[place] = *value;
            }
        }
    }
}

impl Image<'_> {
    /// Resizes the image to the width and height `size` as OpenCV does with `INTER_LINEAR`, and writes
    /// it to `tensor`.
    ///
    /// # Panics
    ///
    /// When `tensor` has not [`TensorFormat::byte_len`] bytes.
    pub fn write(
        self,
        size: [usize; 2],
        format: &TensorFormat,
        resizer: &mut Resizer,
        tensor: &mut [u8],
    ) {
        assert_eq!(tensor.len(), format.byte_len(size), "the tensor's bytes");
        self.write_part(size, [0, 0], size, format, resizer, tensor);
    }

    /// Resizes the image to the width and height `size` and appends it to `tensor`.
    pub fn append(
        self,
        size: [usize; 2],
        format: &TensorFormat,
        resizer: &mut Resizer,
        tensor: &mut BytesMut,
    ) {
        let start = tensor.len();
        tensor.resize(start + format.byte_len(size), 0);
        self.write(size, format, resizer, &mut tensor[start..]);
    }

    /// Resizes the image to the width and height `size` and appends its red, green and blue plane (FP32)
    /// to `planes`: as [`Image::write`] does with [`TensorFormat::planes`], for memory that nobody has
    /// cleared.
    pub fn append_planes(
        self,
        [width, height]: [usize; 2],
        normalize: &Normalize,
        resizer: &mut Resizer,
        planes: &mut [BytesMut; 3],
    ) {
        for plane in planes.iter_mut() {
            plane.reserve(width * height * 4);
        }
        let mut values = vec![0; width * 4];
        resizer.rows(self, width, height, |samples| {
            for (colour, (plane, samples)) in planes.iter_mut().zip(samples).enumerate() {
                normalize.fp32(colour, samples, &mut values);
                plane.extend_from_slice(&values);
            }
        });
    }

    /// Resizes the image to `size` and writes it to a larger tensor of width and height `whole`, its
    /// upper left corner at `at`.
    pub(super) fn write_part(
        self,
        [width, height]: [usize; 2],
        [x, y]: [usize; 2],
        whole: [usize; 2],
        format: &TensorFormat,
        resizer: &mut Resizer,
        tensor: &mut [u8],
    ) {
        let mut rows = y..;
        resizer.rows(self, width, height, |samples| {
            if let Some(y) = rows.next() {
                format.put(samples, [x, y], whole, tensor);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixel::{Rect, half, resize};

    /// 5 × 4 pixels that differ.
    fn image() -> Vec<u8> {
        (0_u8..60).map(|v| v.wrapping_mul(37)).collect()
    }

    /// The rules, a value at a time.
    fn expected(rgb: &[u8], [width, height]: [usize; 2], format: &TensorFormat) -> Vec<u8> {
        let mut out = Vec::new();
        for at in 0..width * height * 3 {
            let (pixel, place) = match format.layout {
                Layout::Nchw => (at % (width * height), at / (width * height)),
                Layout::Nhwc => (at / 3, at % 3),
            };
            let colour = match format.colours {
                Colours::Rgb => place,
                Colours::Bgr => 2 - place,
            };
            let sample = rgb[pixel * 3 + colour];
            match &format.values {
                Values::Uint8 => out.push(sample),
                Values::Fp16(n) => out.extend(half::bits(n.value(colour, sample)).to_le_bytes()),
                Values::Fp32(n) => out.extend(n.value(colour, sample).to_le_bytes()),
            }
        }
        out
    }

    #[test]
    fn every_format_follows_the_rules() {
        let normalize = Normalize {
            mean: [1.0, 20.0, 300.0],
            scale: [0.5, 0.1, 0.01],
        };
        let rgb = image();
        let image = Image::new(&rgb, 5, 4).unwrap();
        let mut resizer = Resizer::default();
        for size in [[5, 4], [3, 7], [20, 2], [130, 2]] {
            let mut resized = vec![0; size[0] * size[1] * 3];
            resize(image, size[0], size[1], &mut resizer, &mut resized);
            for layout in [Layout::Nchw, Layout::Nhwc] {
                for colours in [Colours::Rgb, Colours::Bgr] {
                    for values in [
                        Values::Uint8,
                        Values::Fp16(normalize),
                        Values::Fp32(normalize),
                    ] {
                        let format = TensorFormat {
                            layout,
                            colours,
                            values,
                        };
                        let mut tensor = vec![0xAA; format.byte_len(size)];
                        image.write(size, &format, &mut resizer, &mut tensor);
                        assert_eq!(tensor, expected(&resized, size, &format), "{format:?}");
                        assert_eq!(format.pixels(&tensor), resized, "{format:?}");
                        let mut behind = BytesMut::from(&b"before"[..]);
                        image.append(size, &format, &mut resizer, &mut behind);
                        assert_eq!(behind[6..], tensor);
                        if format == TensorFormat::planes(normalize) {
                            let mut planes: [BytesMut; 3] = Default::default();
                            image.append_planes(size, &normalize, &mut resizer, &mut planes);
                            assert_eq!(planes.concat(), tensor);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_crop_is_the_image_of_its_pixels() {
        let rgb = image();
        let whole = Image::new(&rgb, 5, 4).unwrap();
        let rect = Rect {
            x: 1,
            y: 1,
            width: 3,
            height: 2,
        };
        let copied: Vec<u8> = (1..3).flat_map(|y| &whole.row(y)[3..12]).copied().collect();
        let format = TensorFormat::planes(Normalize::CENTERED);
        let mut resizer = Resizer::default();
        // The same size and others.
        for size in [[3, 2], [6, 4], [7, 5], [1, 1]] {
            let mut tensors = [0, 1].map(|_| vec![0; format.byte_len(size)]);
            let crop = whole.crop(rect).unwrap();
            crop.write(size, &format, &mut resizer, &mut tensors[0]);
            let copy = Image::new(&copied, 3, 2).unwrap();
            copy.write(size, &format, &mut resizer, &mut tensors[1]);
            assert_eq!(tensors[0], tensors[1], "{size:?}");
        }
    }
}
