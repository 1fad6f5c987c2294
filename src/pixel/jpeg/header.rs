//! The segments of a JPEG file, from its start to its end marker.

use std::ops::Range;

use super::FORMAT;
use crate::pixel::error::Error;

/// Scans that a file may have; more are made to be slow.
const MAX_SCANS: usize = 100;

/// Segments that are kept for a decoder.
const KEPT_SEGMENTS: usize = 32;

/// What the components mean, by libjpeg's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    Grey,
    Rgb,
    YCbCr,
    Cmyk,
    Ycck,
}

impl Colours {
    pub(super) fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb | Self::YCbCr => 3,
            Self::Cmyk | Self::Ycck => 4,
        }
    }
}

/// What the segments say.
#[derive(Clone, Debug)]
pub(super) struct Header<'a> {
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) colours: Colours,
    /// The EXIF block, from its TIFF header.
    pub(super) exif: Option<&'a [u8]>,
    #[cfg_attr(feature = "turbojpeg", allow(dead_code))]
    pub(super) progressive: bool,
    /// Where the compressed pixels are.
    pub(super) scans: Vec<Range<usize>>,
    /// Marker and body of the segments that are neither application data nor comments, in order; of a file
    /// with very many the first ones.
    pub(super) segments: Vec<(u8, &'a [u8])>,
    /// Length of the file up to its end marker.
    pub(super) end: usize,
}

struct Frame {
    width: u16,
    height: u16,
    /// Identifiers of the components.
    components: Vec<u8>,
}

const TRUNCATED: Error = Error::Truncated { format: FORMAT };

fn damaged(what: &'static str) -> Error {
    Error::Damaged {
        format: FORMAT,
        what,
    }
}

fn unsupported(what: &'static str) -> Error {
    Error::Unsupported {
        format: FORMAT,
        what,
    }
}

/// Walks the segments of `image`, which starts with FF D8.
pub(super) fn read(image: &[u8]) -> Result<Header<'_>, Error> {
    let mut at = 2;
    let mut frame = None;
    let mut jfif = false;
    let mut adobe = None;
    let mut exif = None;
    let mut scans = Vec::new();
    let mut segments = Vec::new();
    let mut progressive = false;
    loop {
        let marker = marker(image, &mut at)?;
        match marker {
            // Restart and temporary markers stand alone.
            0x01 | 0xD0..=0xD7 => continue,
            0xD8 => return Err(damaged("it starts twice")),
            0xD9 => break,
            _ => {}
        }
        let body = segment(image, &mut at)?;
        if !matches!(marker, 0xE0..=0xEF | 0xFE) && segments.len() < KEPT_SEGMENTS {
            segments.push((marker, body));
        }
        match marker {
            0xC0..=0xC2 if frame.is_some() => return Err(damaged("it has two frame headers")),
            0xC0..=0xC2 => {
                progressive = marker == 0xC2;
                frame = Some(start_of_frame(body)?);
            }
            0xC3 | 0xC5..=0xC7 | 0xC8..=0xCB | 0xCD..=0xCF => {
                return Err(unsupported("lossless, hierarchical or arithmetic coding"));
            }
            0xDA => {
                if frame.is_none() {
                    return Err(damaged("a scan comes before the frame header"));
                }
                if scans.len() == MAX_SCANS {
                    return Err(Error::TooManyScans { limit: MAX_SCANS });
                }
                let start = at;
                skip_scan(image, &mut at)?;
                scans.push(start..at);
            }
            0xE0 => jfif |= body.len() >= 12 && body.starts_with(b"JFIF\0"),
            0xE1 => exif = exif.or(body.strip_prefix(b"Exif\0\0")),
            0xEE if body.len() >= 12 && body.starts_with(b"Adobe") => adobe = Some(body[11]),
            _ => {}
        }
    }
    let frame = frame.filter(|_| !scans.is_empty());
    let frame = frame.ok_or(damaged("it ends before its first scan"))?;
    Ok(Header {
        width: frame.width,
        height: frame.height,
        colours: colours(&frame.components, jfif, adobe)?,
        exif,
        progressive,
        scans,
        segments,
        end: at,
    })
}

/// The marker at `at`, which may be filled up with FF before it.
fn marker(image: &[u8], at: &mut usize) -> Result<u8, Error> {
    let stray = damaged("bytes between its segments");
    if *image.get(*at).ok_or(TRUNCATED)? != 0xFF {
        return Err(stray);
    }
    loop {
        *at += 1;
        match image.get(*at) {
            None => return Err(TRUNCATED),
            Some(0xFF) => {}
            Some(0) => return Err(stray),
            Some(&marker) => {
                *at += 1;
                return Ok(marker);
            }
        }
    }
}

/// The body of the segment at `at`, after its length.
fn segment<'a>(image: &'a [u8], at: &mut usize) -> Result<&'a [u8], Error> {
    let rest = image.get(*at..).ok_or(TRUNCATED)?;
    let length = usize::from(u16::from_be_bytes(*rest.first_chunk().ok_or(TRUNCATED)?));
    if length < 2 {
        return Err(damaged("a segment is shorter than its own length"));
    }
    *at += length;
    rest.get(2..length).ok_or(TRUNCATED)
}

/// Moves `at` to the marker after the compressed pixels. Restart markers in them are numbered
/// from 0 to 7, over and over.
fn skip_scan(image: &[u8], at: &mut usize) -> Result<(), Error> {
    let mut restart = 0xD0;
    loop {
        let rest = image.get(*at..).ok_or(TRUNCATED)?;
        let next = memchr::memchr(0xFF, rest).ok_or(TRUNCATED)?;
        *at += next;
        match image.get(*at + 1) {
            None => return Err(TRUNCATED),
            // A stuffed FF of the data, a fill byte.
            Some(0) => *at += 2,
            Some(0xFF) => *at += 1,
            Some(&marker) if marker == restart => {
                restart = 0xD0 | (restart + 1) & 7;
                *at += 2;
            }
            Some(0xD0..=0xD7) => return Err(damaged("a restart marker is missing")),
            Some(_) => return Ok(()),
        }
    }
}

fn start_of_frame(body: &[u8]) -> Result<Frame, Error> {
    let &[precision, h1, h0, w1, w0, count] = body
        .first_chunk()
        .ok_or(damaged("its frame header is too short"))?;
    if precision != 8 {
        return Err(unsupported("other than 8 bits per sample"));
    }
    let components = &body[6..];
    if components.len() != 3 * usize::from(count) {
        return Err(damaged("its frame header has the wrong length"));
    }
    Ok(Frame {
        width: u16::from_be_bytes([w1, w0]),
        height: u16::from_be_bytes([h1, h0]),
        components: components.iter().step_by(3).copied().collect(),
    })
}

/// JFIF means YCbCr; else Adobe's word counts, else the identifiers.
fn colours(components: &[u8], jfif: bool, adobe: Option<u8>) -> Result<Colours, Error> {
    Ok(match (components, adobe) {
        ([_], _) => Colours::Grey,
        ([_, _, _], _) if jfif => Colours::YCbCr,
        ([_, _, _], Some(0)) => Colours::Rgb,
        ([_, _, _], Some(_)) => Colours::YCbCr,
        (b"RGB", None) => Colours::Rgb,
        ([_, _, _], None) => Colours::YCbCr,
        ([_, _, _, _], Some(0) | None) => Colours::Cmyk,
        ([_, _, _, _], Some(_)) => Colours::Ycck,
        _ => return Err(unsupported("other than 1, 3 or 4 components")),
    })
}
