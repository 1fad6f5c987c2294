//! Bytes 0–255 to a model's values: (x − mean) × scale, in FP32 or rounded to FP16, little-endian.

use multiversion::multiversion;

use super::half;

/// What is taken from each byte, and what the difference is multiplied by: per colour, in the order
/// red, green, blue. Both steps are FP32, as in OpenCV's `blobFromImage`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalize {
    /// Taken away.
    pub mean: [f32; 3],
    /// Multiplied by.
    pub scale: [f32; 3],
}

impl Normalize {
    /// The bytes as they are, 0–255.
    pub const NONE: Self = Self::same(0.0, 1.0);

    /// (x − 127.5) / 128. Exact: neither step rounds.
    pub const CENTERED: Self = Self::same(127.5, 1.0 / 128.0);

    /// The same for each colour.
    pub const fn same(mean: f32, scale: f32) -> Self {
        Self {
            mean: [mean; 3],
            scale: [scale; 3],
        }
    }

    /// The value of a byte of a colour (0 red, 1 green, 2 blue): the rule that tests go by.
    #[cfg(test)]
    pub(super) fn value(&self, colour: usize, sample: u8) -> f32 {
        (f32::from(sample) - self.mean[colour]) * self.scale[colour]
    }

    /// The byte of a colour whose value is nearest to this one.
    pub(super) fn sample(&self, colour: usize, value: f32) -> u8 {
        // A number beyond the bytes is the last of them.
        (value / self.scale[colour] + self.mean[colour]).round() as u8
    }

    /// The FP32 values of one colour's bytes, to the four bytes at their places.
    pub(super) fn fp32(&self, colour: usize, samples: &[u8], values: &mut [u8]) {
        fp32(samples, self.mean[colour], self.scale[colour], values);
    }

    /// The FP16 values of one colour's bytes, to the two bytes at their places.
    pub(super) fn fp16(&self, colour: usize, samples: &[u8], values: &mut [u8]) {
        fp16(samples, self.mean[colour], self.scale[colour], values);
    }
}

/// Writes (x − 127.5) / 128 for each of `samples` to the four bytes at its place in `values`.
pub fn normalize(samples: &[u8], values: &mut [u8]) {
    Normalize::CENTERED.fp32(0, samples, values);
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn fp32(samples: &[u8], mean: f32, scale: f32, values: &mut [u8]) {
    for (value, &sample) in values.as_chunks_mut::<4>().0.iter_mut().zip(samples) {
        *value = ((f32::from(sample) - mean) * scale).to_le_bytes();
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn fp16(samples: &[u8], mean: f32, scale: f32, values: &mut [u8]) {
    for (value, &sample) in values.as_chunks_mut::<2>().0.iter_mut().zip(samples) {
        *value = half::bits((f32::from(sample) - mean) * scale).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_becomes_the_quotient() {
        let samples: Vec<u8> = (0..=255).collect();
        let mut values = vec![0; 1024];
        normalize(&samples, &mut values);
        for (value, &sample) in values.as_chunks::<4>().0.iter().zip(&samples) {
            let expected = (f32::from(sample) - 127.5) / 128.0;
            assert_eq!(
                f32::from_le_bytes(*value).to_bits(),
                expected.to_bits(),
                "{sample}"
            );
        }
    }

    #[test]
    fn each_colour_has_its_mean_and_scale() {
        let normalize = Normalize {
            mean: [123.675, 116.28, 103.53],
            scale: [1.0 / 58.395, 1.0 / 57.12, 1.0 / 57.375],
        };
        let samples: Vec<u8> = (0..=255).collect();
        for colour in 0..3 {
            let (mut wide, mut narrow) = (vec![0; 1024], vec![0; 512]);
            normalize.fp32(colour, &samples, &mut wide);
            normalize.fp16(colour, &samples, &mut narrow);
            for &sample in &samples {
                let value = normalize.value(colour, sample);
                let at = usize::from(sample);
                assert_eq!(wide[at * 4..][..4], value.to_le_bytes());
                assert_eq!(narrow[at * 2..][..2], half::bits(value).to_le_bytes());
                assert_eq!(normalize.sample(colour, value), sample);
            }
        }
    }
}
