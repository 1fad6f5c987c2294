//! FP32 to FP16 without branches, so that the compiler vectorises it.

/// The FP16 nearest to a value, halves to even; too large is infinite, NaN stays NaN.
pub(super) fn bits(value: f32) -> u16 {
    // Two to the power of 112 and of -110: too large goes to infinity and stays there.
    const TO_INFINITY: f32 = f32::from_bits(239 << 23);
    const TO_ZERO: f32 = f32::from_bits(17 << 23);
    let word = value.to_bits();
    let sign = word & 0x8000_0000;
    let doubled = word << 1;
    // What adding this number shifts out of the mantissa is what FP16 has no bits for, and FP32's
    // addition rounds it away. Subnormals keep fewer bits, so that the number has a least size.
    let bias = (doubled & 0xFF00_0000).max(0x7100_0000);
    let rounding = f32::from_bits((bias >> 1) + 0x0780_0000);
    let rounded = (value.abs() * TO_INFINITY * TO_ZERO + rounding).to_bits();
    let exponent = rounded >> 13 & 0x7C00;
    let mantissa = rounded & 0x0FFF;
    let number = if doubled > 0xFF00_0000 {
        0x7E00
    } else {
        exponent + mantissa
    };
    (sign >> 16 | number) as u16
}

#[cfg(test)]
mod tests {
    use super::bits;

    /// The value of an FP16 by the definition of the format.
    fn value(bits: u16) -> f64 {
        let exponent = i32::from(bits >> 10 & 31);
        let mantissa = f64::from(bits & 1023);
        let size = match exponent {
            0 => mantissa * 2_f64.powi(-24),
            // One beyond the largest number, as rounding sees infinity.
            31 => 65536.0,
            _ => (1024.0 + mantissa) * 2_f64.powi(exponent - 25),
        };
        if bits >> 15 == 1 { -size } else { size }
    }

    #[test]
    fn every_number_between_two_halves_goes_to_the_nearer_one() {
        for lower in 0..0x7C00_u16 {
            let (below, above) = (value(lower), value(lower + 1));
            let middle = (below + above) / 2.0;
            let even = if lower % 2 == 0 { lower } else { lower + 1 };
            let (before, after) = ((middle as f32).next_down(), (middle as f32).next_up());
            for (number, expected) in [
                (below as f32, lower),
                (before, lower),
                (middle as f32, even),
                (after, lower + 1),
            ] {
                assert_eq!(bits(number), expected, "{number}");
                assert_eq!(bits(-number), expected | 0x8000, "-{number}");
            }
        }
        assert_eq!(bits(f32::MAX), 0x7C00);
        assert_eq!(bits(f32::NEG_INFINITY), 0xFC00);
        assert_eq!(bits(f32::from_bits(1)), 0);
        assert_eq!(bits(f32::NAN) & 0x7FFF, 0x7E00);
    }
}
