//! BMP as OpenCV reads it: palettes, 16, 24 and 32 bits, top-down, run-length codes.
//!
//! Written here because general decoders scale 5 and 6 bits to the full 0–255, while OpenCV
//! shifts them, and because the format is small.

use crate::pixel::buffer::{Buffers, Decoded, Size, sized};
use crate::pixel::error::Error;
use crate::pixel::options::Options;

const FORMAT: &str = "BMP";

const TRUNCATED: Error = Error::Truncated { format: FORMAT };

/// How the pixels are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Palette indices of 1, 4 or 8 bits.
    Indexed(u32),
    /// Palette indices of 4 or 8 bits, run-length coded.
    Runs(u32),
    /// Two bytes: 5 bits of each colour.
    Rgb555,
    /// Two bytes: 5, 6 and 5 bits.
    Rgb565,
    /// Blue, green, red.
    Bgr,
    /// Blue, green, red and a byte that is dropped.
    Bgrx,
    /// Four bytes, and where red, green and blue are in them.
    Masked([u32; 3]),
}

impl Layout {
    fn bits(self) -> usize {
        match self {
            Self::Indexed(bits) | Self::Runs(bits) => bits as usize,
            Self::Rgb555 | Self::Rgb565 => 16,
            Self::Bgr => 24,
            Self::Bgrx | Self::Masked(_) => 32,
        }
    }
}

struct Header {
    size: Size,
    top_down: bool,
    layout: Layout,
    /// RGB of each index; unlisted ones are black.
    palette: [[u8; 3]; 256],
    /// Where the pixels start.
    offset: usize,
}

/// Decodes into `buffers.pixels`.
pub(in crate::pixel) fn decode(
    image: &[u8],
    options: &Options,
    buffers: &mut Buffers,
) -> Result<Decoded, Error> {
    let header = header(image, options)?;
    let size = header.size;
    let stored = image.get(header.offset..).ok_or(TRUNCATED)?;
    let pixels = sized(&mut buffers.pixels, size.pixels() * 3);
    if let Layout::Runs(bits) = header.layout {
        runs(stored, bits, &header, pixels)?;
    } else {
        let pitch = (size.width * header.layout.bits()).div_ceil(32) * 4;
        if pitch
            .checked_mul(size.height)
            .is_none_or(|bytes| stored.len() < bytes)
        {
            return Err(TRUNCATED);
        }
        let rows = stored.chunks_exact(pitch).take(size.height);
        for (line, row) in rows.enumerate() {
            unpack(row, &header, row_of(pixels, &header, line));
        }
    }
    Ok(Decoded {
        size,
        orientation: 1,
    })
}

/// The pixels of the `line`th stored row.
fn row_of<'a>(pixels: &'a mut [u8], header: &Header, line: usize) -> &'a mut [[u8; 3]] {
    let Size { width, height } = header.size;
    let y = if header.top_down {
        line
    } else {
        height - 1 - line
    };
    &mut pixels.as_chunks_mut::<3>().0[y * width..][..width]
}

fn unpack(row: &[u8], header: &Header, pixels: &mut [[u8; 3]]) {
    let palette = &header.palette;
    match header.layout {
        Layout::Indexed(1) => {
            for (x, pixel) in pixels.iter_mut().enumerate() {
                *pixel = palette[usize::from(row[x / 8] >> (7 - x % 8) & 1)];
            }
        }
        Layout::Indexed(4) => {
            for (x, pixel) in pixels.iter_mut().enumerate() {
                *pixel = palette[nibble(row, x)];
            }
        }
        Layout::Indexed(_) | Layout::Runs(_) => {
            for (pixel, index) in pixels.iter_mut().zip(row) {
                *pixel = palette[usize::from(*index)];
            }
        }
        Layout::Rgb555 | Layout::Rgb565 => {
            let green_bits = if header.layout == Layout::Rgb555 {
                5
            } else {
                6
            };
            for (pixel, stored) in pixels.iter_mut().zip(row.as_chunks::<2>().0) {
                let v = u16::from_le_bytes(*stored);
                let red = v >> (5 + green_bits) << 3;
                let green = v >> 5 << (8 - green_bits);
                // Only the lower 8 bits of each are meant.
                *pixel = [red as u8, green as u8, (v << 3) as u8];
            }
        }
        Layout::Bgr => {
            for (pixel, &[blue, green, red]) in pixels.iter_mut().zip(row.as_chunks::<3>().0) {
                *pixel = [red, green, blue];
            }
        }
        Layout::Bgrx => {
            for (pixel, &[blue, green, red, _]) in pixels.iter_mut().zip(row.as_chunks::<4>().0) {
                *pixel = [red, green, blue];
            }
        }
        Layout::Masked(masks) => {
            let scaled = masks.map(|mask| {
                let shift = mask.trailing_zeros();
                (mask, shift, 255.0 / (mask >> shift) as f32)
            });
            for (pixel, stored) in pixels.iter_mut().zip(row.as_chunks::<4>().0) {
                let v = u32::from_le_bytes(*stored);
                *pixel = scaled
                    .map(|(mask, shift, scale)| ((v & mask) >> shift) as f32 * scale)
                    .map(|colour| colour as u8);
            }
        }
    }
}

/// The `x`th half byte, high half first.
fn nibble(bytes: &[u8], x: usize) -> usize {
    usize::from(bytes[x / 2] >> (4 - x % 2 * 4) & 15)
}

/// Pairs of bytes: a count and an index (two of 4 bits, alternating), or 0 and a command. Pixels
/// that are skipped have the first colour. In 8 bits a run that fills its row goes on in the next.
fn runs(mut stored: &[u8], bits: u32, header: &Header, pixels: &mut [u8]) -> Result<(), Error> {
    let Size { width, height } = header.size;
    for pixel in pixels.as_chunks_mut::<3>().0 {
        *pixel = header.palette[0];
    }
    let crossed = Error::Damaged {
        format: FORMAT,
        what: "a run crosses the end of its row",
    };
    let (mut x, mut line) = (0, 0);
    let mut run_wrapped = false;
    while line < height {
        let &[count, value] = take(&mut stored)?;
        let in_next_row = std::mem::take(&mut run_wrapped);
        match (count, value) {
            (0, 0) if in_next_row => {}
            (0, 0) => (x, line) = (0, line + 1),
            // Of four bits OpenCV takes it for the end of a row.
            (0, 1) if bits == 4 && line + 1 < height => {
                return Err(Error::Unsupported {
                    format: FORMAT,
                    what: "run-length codes that end before the last row",
                });
            }
            (0, 1) => break,
            (0, 2) if bits == 4 => {
                return Err(Error::Unsupported {
                    format: FORMAT,
                    what: "run-length codes of four bits that skip pixels",
                });
            }
            (0, 2) => {
                let &[right, down] = take(&mut stored)?;
                x += usize::from(right);
                line += usize::from(down);
                if x > width || line > height {
                    return Err(crossed);
                }
            }
            (0, count) => {
                let count = usize::from(count);
                let bytes = (count * bits as usize).div_ceil(16) * 2;
                let (literal, rest) = stored.split_at_checked(bytes).ok_or(TRUNCATED)?;
                stored = rest;
                let row = row_of(pixels, header, line);
                for (at, pixel) in row
                    .get_mut(x..x + count)
                    .ok_or(crossed.clone())?
                    .iter_mut()
                    .enumerate()
                {
                    let index = if bits == 4 {
                        nibble(literal, at)
                    } else {
                        literal[at].into()
                    };
                    *pixel = header.palette[index];
                }
                x += count;
            }
            (count, value) => {
                let count = usize::from(count);
                let row = row_of(pixels, header, line);
                for (at, pixel) in row
                    .get_mut(x..x + count)
                    .ok_or(crossed.clone())?
                    .iter_mut()
                    .enumerate()
                {
                    let index = if bits == 4 {
                        nibble(&[value], at % 2)
                    } else {
                        value.into()
                    };
                    *pixel = header.palette[index];
                }
                x += count;
                if bits == 8 && x == width {
                    (x, line) = (0, line + 1);
                    run_wrapped = true;
                }
            }
        }
    }
    Ok(())
}

/// Takes `N` bytes off the front.
fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Result<&'a [u8; N], Error> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(TRUNCATED)?;
    *bytes = rest;
    Ok(taken)
}

fn take_u32(bytes: &mut &[u8]) -> Result<u32, Error> {
    take(bytes).map(|bytes| u32::from_le_bytes(*bytes))
}

fn take_u16(bytes: &mut &[u8]) -> Result<u32, Error> {
    take(bytes).map(|bytes| u16::from_le_bytes(*bytes).into())
}

fn header(image: &[u8], options: &Options) -> Result<Header, Error> {
    let mut bytes = image.get(10..).ok_or(TRUNCATED)?;
    let offset = take_u32(&mut bytes)? as usize;
    let header_bytes = take_u32(&mut bytes)? as usize;
    let old = header_bytes == 12;
    let unsupported = |what| Error::Unsupported {
        format: FORMAT,
        what,
    };
    if !old && header_bytes < 36 {
        return Err(unsupported("a header of unknown size"));
    }
    let mut colours = 0;
    let mut compression = 0;
    let mut masks = [0; 3];
    let (width, height, bits);
    if old {
        width = take_u16(&mut bytes)? as i32;
        height = take_u16(&mut bytes)? as i32;
        bits = take_u32(&mut bytes)? >> 16;
    } else {
        width = take_u32(&mut bytes)? as i32;
        height = take_u32(&mut bytes)? as i32;
        bits = take_u32(&mut bytes)? >> 16;
        compression = take_u32(&mut bytes)?;
        take::<12>(&mut bytes)?;
        colours = take_u32(&mut bytes)? as usize;
        if header_bytes >= 56 {
            let mut after_colours = bytes.get(4..).ok_or(TRUNCATED)?;
            for mask in &mut masks {
                *mask = take_u32(&mut after_colours)?;
            }
        }
        bytes = bytes.get(header_bytes - 36..).ok_or(TRUNCATED)?;
    }
    let width = u64::try_from(width).unwrap_or(0);
    let size = Size::check(FORMAT, width, height.unsigned_abs().into(), options)?;
    let layout = match (bits, compression) {
        (1 | 4 | 8, 0) => Layout::Indexed(bits),
        (8, 1) | (4, 2) => Layout::Runs(bits),
        (16, 0) if !old => Layout::Rgb555,
        (16, 3) => match (
            take_u32(&mut bytes)?,
            take_u32(&mut bytes)?,
            take_u32(&mut bytes)?,
        ) {
            (0x7C00, 0x3E0, 0x1F) => Layout::Rgb555,
            (0xF800, 0x7E0, 0x1F) => Layout::Rgb565,
            _ => return Err(unsupported("unusual colour masks")),
        },
        (24, 0) => Layout::Bgr,
        // OpenCV looks for masks in long headers only, and wants all three.
        (32, 3) if !masks.contains(&0) => Layout::Masked(masks),
        (32, 0 | 3) => Layout::Bgrx,
        _ => return Err(unsupported("an unusual depth or compression")),
    };
    let mut palette = [[0; 3]; 256];
    if bits <= 8 {
        let listed = match colours {
            0 => 1 << bits,
            1..=256 => colours,
            _ => {
                return Err(Error::Damaged {
                    format: FORMAT,
                    what: "its palette has more than 256 colours",
                });
            }
        };
        for colour in &mut palette[..listed] {
            let &[blue, green, red] = take(&mut bytes)?;
            *colour = [red, green, blue];
            if !old {
                take::<1>(&mut bytes)?;
            }
        }
    }
    Ok(Header {
        size,
        top_down: height < 0,
        layout,
        palette,
        offset,
    })
}
