//! Bytes 0–255 to the model's values: (x − 127.5) / 128 as FP32 little-endian.

use multiversion::multiversion;

/// Writes the value of each of `samples` to the four bytes at its place in `values`.
///
/// Exact: both steps have no rounding in FP32, so a product with 1/128 is the division.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub fn normalize(samples: &[u8], values: &mut [u8]) {
    for (value, &sample) in values.as_chunks_mut::<4>().0.iter_mut().zip(samples) {
        *value = ((f32::from(sample) - 127.5) * (1.0 / 128.0)).to_le_bytes();
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
}
