//! Rows of samples to rows of RGB pixels.

/// Grey to RGB.
#[inline(always)]
pub(super) fn grey(luma: &[u8], rgb: &mut [u8]) {
    for (pixel, y) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(luma) {
        *pixel = [*y; 3];
    }
}

/// Three planes that are RGB already.
#[inline(always)]
pub(super) fn rgb(red: &[u8], green: &[u8], blue: &[u8], rgb: &mut [u8]) {
    let planes = red.iter().zip(green).zip(blue);
    for (pixel, ((red, green), blue)) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(planes) {
        *pixel = [*red, *green, *blue];
    }
}

/// YCbCr to RGB in libjpeg's 16-bit fixed point. By way of `planes`, since the compiler makes
/// vectors of either step but not of both in one. The inputs are as long as one another, a whole
/// number of vectors; `out` may be shorter.
#[inline(always)]
pub(super) fn ycc(luma: &[u8], cb: &[u8], cr: &[u8], planes: &mut [Vec<u8>; 3], out: &mut [u8]) {
    for plane in planes.iter_mut() {
        plane.resize(luma.len(), 0);
    }
    let [red, green, blue] = planes;
    let samples = luma.iter().zip(cb).zip(cr);
    let pixels = red.iter_mut().zip(&mut *green).zip(&mut *blue);
    for (((y, cb), cr), ((red, green), blue)) in samples.zip(pixels) {
        [*red, *green, *blue] = pixel(*y, *cb, *cr);
    }
    rgb(red, green, blue, out);
}

/// Four planes of ink, as all programs write them: inverted. OpenCV takes all for inverted.
#[inline(always)]
pub(super) fn cmyk([cyan, magenta, yellow, black]: [&[u8]; 4], rgb: &mut [u8]) {
    let inks = cyan.iter().zip(magenta).zip(yellow).zip(black);
    for (pixel, (((cyan, magenta), yellow), black)) in
        rgb.as_chunks_mut::<3>().0.iter_mut().zip(inks)
    {
        *pixel = cmyk_to_rgb([*cyan, *magenta, *yellow, *black]);
    }
}

/// As [`cmyk`], of which the first three are YCbCr of the colours that the inks leave.
#[inline(always)]
pub(super) fn ycck([luma, cb, cr, black]: [&[u8]; 4], rgb: &mut [u8]) {
    let samples = luma.iter().zip(cb).zip(cr).zip(black);
    for (out, (((y, cb), cr), black)) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(samples) {
        let [red, green, blue] = pixel(*y, *cb, *cr);
        *out = cmyk_to_rgb([255 - red, 255 - green, 255 - blue, *black]);
    }
}

#[inline(always)]
fn cmyk_to_rgb([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    let k = i32::from(black);
    let colour = |part| (k - (((255 - i32::from(part)) * k) >> 8)) as u8;
    [colour(cyan), colour(magenta), colour(yellow)]
}

/// The factors are 1.402, -0.34414, -0.71414 and 1.772, less their whole numbers so that 16 bits
/// are enough for all but the products.
#[inline(always)]
fn pixel(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i16::from(y), i16::from(cb) - 128, i16::from(cr) - 128);
    let red = y + cr + scaled(cr, 91_881 - (1 << 16));
    let blue = y + 2 * cb + scaled(cb, 116_130 - (2 << 16));
    let both = -22_554 * i32::from(cb) + ((1 << 16) - 46_802) * i32::from(cr);
    let green = y - cr + ((both + (1 << 15)) >> 16) as i16;
    // Written out: `map` of an array is a call per pixel where crates are not optimised together.
    let clamped = |colour: i16| colour.clamp(0, 255) as u8;
    [clamped(red), clamped(green), clamped(blue)]
}

/// The product by `factor` / 65536, rounded half up, by way of the upper half of twice that.
#[inline(always)]
fn scaled(value: i16, factor: i32) -> i16 {
    ((((i32::from(2 * value) * factor) >> 16) as i16) + 1) >> 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_is_the_formula_s() {
        for (cb, cr) in (0..=255).flat_map(|cb| (0..=255).map(move |cr| (cb, cr))) {
            for y in [0, 77, 128, 255] {
                let rounded = |factors: [i64; 2]| {
                    let sum =
                        factors[0] * (i64::from(cb) - 128) + factors[1] * (i64::from(cr) - 128);
                    (i64::from(y) + ((sum + 32_768) >> 16)).clamp(0, 255) as u8
                };
                let expected = [[0, 91_881], [-22_554, -46_802], [116_130, 0]].map(rounded);
                assert_eq!(pixel(y, cb, cr), expected, "{y} {cb} {cr}");
            }
        }
    }

    #[test]
    fn rows_are_as_long_as_the_output() {
        let mut out = [9; 9];
        let planes = &mut Default::default();
        ycc(&[10, 20, 30, 40], &[128; 4], &[128; 4], planes, &mut out);
        assert_eq!(out, [10, 10, 10, 20, 20, 20, 30, 30, 30]);
        grey(&[1, 2, 3, 4], &mut out);
        assert_eq!(out, [1, 1, 1, 2, 2, 2, 3, 3, 3]);
        rgb(&[1; 4], &[2; 4], &[3; 4], &mut out);
        assert_eq!(out, [1, 2, 3, 1, 2, 3, 1, 2, 3]);
    }
}
