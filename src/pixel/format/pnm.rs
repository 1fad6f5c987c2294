//! PBM, PGM and PPM, as text or bytes, of up to 16 bits per sample.
//!
//! Not by a library: OpenCV scales samples to the maximum in text and not in bytes, and keeps the higher
//! byte of two whatever their maximum is.

use crate::pixel::buffer::{Buffers, Decoded, Size, grey_to_rgb, sized};
use crate::pixel::error::Error;
use crate::pixel::options::Options;

const FORMAT: &str = "PNM";

/// Decodes into `buffers.pixels`.
pub(in crate::pixel) fn decode(
    image: &[u8],
    options: &Options,
    buffers: &mut Buffers,
) -> Result<Decoded, Error> {
    let kind = image.get(1).copied().unwrap_or_default();
    let mut reader = Reader(image.get(2..).unwrap_or_default());
    let (width, height) = (reader.number()?, reader.number()?);
    let maximum = match kind {
        b'1' | b'4' => 1,
        _ => reader.number()?,
    };
    if !(1..=65535).contains(&maximum) {
        return Err(damaged("its maximum is not from 1 to 65535"));
    }
    let size = Size::check(FORMAT, width.into(), height.into(), options)?;
    let channels = if matches!(kind, b'3' | b'6') { 3 } else { 1 };
    let samples = size.pixels() * channels;
    let buffer = sized(&mut buffers.pixels, size.pixels() * 3);
    let out = &mut buffer[..samples];
    match kind {
        b'1' => {
            for sample in out {
                *sample = if reader.digit()? == 0 { 255 } else { 0 };
            }
        }
        b'2' | b'3' => {
            for sample in out {
                let value = reader.number()?.min(maximum);
                *sample = match maximum {
                    ..256 => value * 255 / maximum,
                    _ => value >> 8,
                } as u8;
            }
        }
        b'4' => {
            let bytes = reader.bytes(size.width.div_ceil(8) * size.height)?;
            let rows = bytes.chunks_exact(size.width.div_ceil(8));
            for (row, out) in rows.zip(out.chunks_exact_mut(size.width)) {
                for (x, sample) in out.iter_mut().enumerate() {
                    *sample = if row[x / 8] & 128 >> (x % 8) == 0 {
                        255
                    } else {
                        0
                    };
                }
            }
        }
        _ if maximum < 256 => out.copy_from_slice(reader.bytes(samples)?),
        _ => {
            let words = reader.bytes(samples * 2)?.as_chunks::<2>().0;
            for (sample, [high, _]) in out.iter_mut().zip(words) {
                *sample = *high;
            }
        }
    }
    if channels == 1 {
        grey_to_rgb(buffer, size.pixels());
    }
    Ok(Decoded {
        size,
        orientation: 1,
    })
}

/// What is not read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, Error> {
        let (byte, rest) = self.0.split_first().ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(*byte)
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// The next digit, behind spaces and comments.
    fn digit(&mut self) -> Result<u32, Error> {
        loop {
            match self.byte()? {
                digit @ b'0'..=b'9' => return Ok((digit - b'0').into()),
                b'#' => while !matches!(self.byte()?, b'\n' | b'\r') {},
                b' ' | b'\t'..=b'\r' => {}
                _ => return Err(damaged("a number is missing")),
            }
        }
    }

    /// The next number, and the byte behind it, which must be there.
    fn number(&mut self) -> Result<u32, Error> {
        let mut number = self.digit()?;
        loop {
            let byte = self.byte()?;
            if !byte.is_ascii_digit() {
                return Ok(number);
            }
            let digit = u32::from(byte - b'0');
            let longer = number.checked_mul(10).and_then(|n| n.checked_add(digit));
            number = longer.ok_or(damaged("a number is too large"))?;
        }
    }
}

const TRUNCATED: Error = Error::Truncated { format: FORMAT };

fn damaged(what: &'static str) -> Error {
    Error::Damaged {
        format: FORMAT,
        what,
    }
}
