//! WebP: lossy and lossless, of an animation the first image.
//!
//! The container is read here, and the decoder gets the one chunk that has the pixels: alpha is not
//! used, and what the container's flags announce need not be there.

use std::io::{Cursor, ErrorKind};

use image_webp::{DecodingError, WebPDecoder};

use crate::pixel::buffer::{Buffers, Decoded, Size, drop_alpha, sized};
use crate::pixel::error::Error;
use crate::pixel::options::Options;
use crate::pixel::orientation;

const FORMAT: &str = "WebP";

const TRUNCATED: Error = Error::Truncated { format: FORMAT };

/// The flag of an extended header that says that the file is an animation.
const ANIMATION: u8 = 1 << 1;

fn damaged(what: &'static str) -> Error {
    Error::Damaged {
        format: FORMAT,
        what,
    }
}

/// A chunk of the container.
#[derive(Clone, Copy)]
struct Chunk<'a> {
    name: [u8; 4],
    body: &'a [u8],
}

impl Chunk<'_> {
    fn has_pixels(&self) -> bool {
        matches!(&self.name, b"VP8 " | b"VP8L")
    }
}

/// The whole chunks of `bytes`, up to the first one that is cut off.
fn chunks(mut bytes: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    std::iter::from_fn(move || {
        let (&[a, b, c, d, length @ ..], rest) = bytes.split_first_chunk::<8>()?;
        let length = u32::from_le_bytes(length) as usize;
        let body = rest.get(..length)?;
        // Chunks start at even places.
        bytes = rest.get(length.next_multiple_of(2)..).unwrap_or_default();
        Some(Chunk {
            name: [a, b, c, d],
            body,
        })
    })
}

/// A number of 24 bits.
fn u24(bytes: [u8; 3]) -> u64 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]).into()
}

/// What the container says of the image that is decoded.
struct Container<'a> {
    /// Width and height of the canvas, where an extended header names them.
    canvas: Option<[u64; 2]>,
    /// Left and upper edge of the first frame of an animation.
    offset: [u64; 2],
    is_animation: bool,
    pixels: Chunk<'a>,
    exif: Option<&'a [u8]>,
}

impl<'a> Container<'a> {
    fn read(image: &'a [u8]) -> Result<Self, Error> {
        let length = image.get(4..8).and_then(<[u8]>::first_chunk);
        let end = length.map(|length| (u32::from_le_bytes(*length) as usize).saturating_add(8));
        let body = end.and_then(|end| image.get(12..end)).ok_or(TRUNCATED)?;
        let first = chunks(body).next().ok_or(TRUNCATED)?;
        let mut canvas = None;
        let mut is_animation = false;
        if &first.name == b"VP8X" {
            let &[flags, _, _, _, w0, w1, w2, h0, h1, h2] = first
                .body
                .first_chunk()
                .ok_or(damaged("its extended header is too short"))?;
            canvas = Some([u24([w0, w1, w2]) + 1, u24([h0, h1, h2]) + 1]);
            is_animation = flags & ANIMATION != 0;
        }
        let exif = chunks(body).find(|chunk| &chunk.name == b"EXIF");
        let (mut offset, mut inside) = ([0, 0], body);
        if is_animation {
            let frame = chunks(body).find(|chunk| &chunk.name == b"ANMF");
            let frame = frame.ok_or(damaged("it has no frames"))?;
            let (&[x0, x1, x2, y0, y1, y2, ..], rest) = frame
                .body
                .split_first_chunk::<16>()
                .ok_or(damaged("a frame is too short"))?;
            offset = [u24([x0, x1, x2]) * 2, u24([y0, y1, y2]) * 2];
            inside = rest;
        }
        let pixels = chunks(inside).find(Chunk::has_pixels);
        Ok(Self {
            canvas,
            offset,
            is_animation,
            pixels: pixels.ok_or(TRUNCATED)?,
            exif: exif.map(|chunk| chunk.body),
        })
    }

    /// A file of the pixels alone.
    fn simple_file(&self, file: &mut Vec<u8>) {
        let Chunk { name, body } = self.pixels;
        let length = body.len() as u32;
        file.clear();
        file.extend_from_slice(b"RIFF");
        file.extend_from_slice(&(12 + length.next_multiple_of(2)).to_le_bytes());
        file.extend_from_slice(b"WEBP");
        file.extend_from_slice(&name);
        file.extend_from_slice(&length.to_le_bytes());
        file.extend_from_slice(body);
        file.resize(file.len().next_multiple_of(2), 0);
    }
}

/// Decodes into `buffers.pixels`.
pub(in crate::pixel) fn decode(
    image: &[u8],
    options: &Options,
    buffers: &mut Buffers,
) -> Result<Decoded, Error> {
    let container = Container::read(image)?;
    let Buffers { pixels, stage, .. } = buffers;
    container.simple_file(stage);
    let mut decoder = WebPDecoder::new(Cursor::new(stage.as_slice())).map_err(refusal)?;
    let (width, height) = decoder.dimensions();
    let frame = [width, height].map(u64::from);
    let [canvas_width, canvas_height] = container.canvas.unwrap_or(frame);
    let size = Size::check(FORMAT, canvas_width, canvas_height, options)?;
    let [x, y] = container.offset;
    if frame[0] + x > canvas_width || frame[1] + y > canvas_height {
        return Err(damaged("a frame is larger than its header says"));
    }
    // Both are at most as large as the canvas, which is within the limits.
    let frame = Size {
        width: width as usize,
        height: height as usize,
    };
    let covers_canvas = frame == size;
    if !covers_canvas && !container.is_animation {
        return Err(damaged("it has another size than its header says"));
    }
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let buffer = sized(pixels, frame.pixels() * channels);
    decoder.read_image(buffer).map_err(refusal)?;
    if channels == 4 {
        drop_alpha(buffer, frame.pixels());
    }
    if !covers_canvas {
        place(pixels, frame, [x as usize, y as usize], size, stage);
    }
    let orientation = container.exif.map_or(1, |exif| {
        orientation::orientation(exif.strip_prefix(b"Exif\0\0").unwrap_or(exif))
    });
    Ok(Decoded { size, orientation })
}

/// Puts the frame in `pixels` on a black canvas of this size, with its upper left corner at `offset`.
fn place(pixels: &mut Vec<u8>, frame: Size, offset: [usize; 2], size: Size, stage: &mut Vec<u8>) {
    let canvas = sized(stage, size.pixels() * 3);
    canvas.fill(0);
    let rows = pixels.chunks_exact(frame.width * 3).take(frame.height);
    let lines = canvas.chunks_exact_mut(size.width * 3).skip(offset[1]);
    for (row, line) in rows.zip(lines) {
        line[offset[0] * 3..][..row.len()].copy_from_slice(row);
    }
    std::mem::swap(pixels, stage);
}

fn refusal(error: DecodingError) -> Error {
    match error {
        DecodingError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => TRUNCATED,
        _ => damaged("a chunk or the compressed pixels are not as they must be"),
    }
}
