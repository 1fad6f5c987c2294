//! The segments of a JPEG file, from its start to its end marker: what the image is, and where its
//! tables and scans are. Nothing is decoded here.
//!
//! As untidy as libjpeg takes it: bytes between segments, fill bytes and restart markers outside of
//! scans are passed over. But a file without its end marker is refused.

use super::fault::{TRUNCATED, damaged, unsupported};
use super::marker::*;
use crate::pixel::error::Error;

/// Scans that a file may have. Each is a pass over all blocks: more are made to be slow.
const MAX_SCANS: usize = 100;

/// Table segments that a file may have: enough for four before each scan.
const MAX_TABLE_SEGMENTS: usize = 5 * MAX_SCANS;

/// The longest side that libjpeg takes.
const MAX_SIDE: u16 = 65_500;

/// What the components mean, by libjpeg's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    Grey,
    Rgb,
    YCbCr,
    Cmyk,
    Ycck,
}

/// A segment that decoding needs, in the order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    /// The body of a DQT.
    QuantTables(&'a [u8]),
    /// The body of a DHT.
    HuffmanTables(&'a [u8]),
    /// MCUs between restart markers; 0 if there are none.
    RestartInterval(u16),
    /// The body of an SOS, and the compressed data behind it.
    Scan { header: &'a [u8], data: &'a [u8] },
}

/// A component as the frame header has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ComponentHeader {
    pub(super) id: u8,
    pub(super) h_samp: u8,
    pub(super) v_samp: u8,
    /// Number of its quantisation table.
    pub(super) quant: u8,
}

/// What the segments say.
#[derive(Clone, Debug)]
pub(super) struct Header<'a> {
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) progressive: bool,
    pub(super) components: Vec<ComponentHeader>,
    pub(super) colours: Colours,
    /// The EXIF block, from its TIFF header.
    pub(super) exif: Option<&'a [u8]>,
    pub(super) segments: Vec<Segment<'a>>,
}

struct Frame {
    width: u16,
    height: u16,
    progressive: bool,
    components: Vec<ComponentHeader>,
}

/// Walks the segments of `image`, which starts with FF D8.
pub(super) fn read(image: &[u8]) -> Result<Header<'_>, Error> {
    let mut at = 2;
    let mut frame: Option<Frame> = None;
    let (mut jfif, mut adobe, mut exif) = (false, None, None);
    let mut segments = Vec::new();
    let (mut scans, mut tables) = (0, 0);
    loop {
        let marker = next_marker(image, &mut at)?;
        match marker {
            TEM | RST0..=RST7 => continue,
            SOI => return Err(damaged("it starts twice")),
            EOI => break,
            _ => {}
        }
        let body = segment(image, &mut at)?;
        match marker {
            SOF0..=SOF2 if frame.is_some() => return Err(damaged("it has two frame headers")),
            SOF0..=SOF2 => frame = Some(start_of_frame(body, marker == SOF2)?),
            SOF3 => return Err(unsupported("lossless coding")),
            SOF5..=SOF7 | DHP => return Err(unsupported("hierarchical coding")),
            SOF9..=SOF15 => return Err(unsupported("arithmetic coding")),
            DQT => segments.push(Segment::QuantTables(body)),
            DHT => segments.push(Segment::HuffmanTables(body)),
            DRI => {
                let interval = body.try_into().map(u16::from_be_bytes);
                let interval = interval.map_err(|_| damaged("its restart interval is invalid"))?;
                segments.push(Segment::RestartInterval(interval));
            }
            SOS => {
                if frame.is_none() {
                    return Err(damaged("a scan comes before the frame header"));
                }
                if scans == MAX_SCANS {
                    return Err(Error::TooManyScans { limit: MAX_SCANS });
                }
                scans += 1;
                let data = scan_data(image, &mut at)?;
                segments.push(Segment::Scan { header: body, data });
            }
            APP0 => jfif |= body.len() >= 14 && body.starts_with(b"JFIF\0"),
            APP1 => exif = exif.or(body.strip_prefix(b"Exif\0\0")),
            APP14 if body.len() >= 12 && body.starts_with(b"Adobe") => adobe = Some(body[11]),
            APP0..=APP15 | COM | DNL => {}
            _ => return Err(damaged("it has an unknown segment")),
        }
        if matches!(marker, DQT | DHT | DRI) {
            tables += 1;
            if tables > MAX_TABLE_SEGMENTS {
                return Err(damaged("it has too many tables"));
            }
        }
    }
    let frame = frame.filter(|_| scans > 0);
    let frame = frame.ok_or(damaged("it ends before its first scan"))?;
    Ok(Header {
        width: frame.width,
        height: frame.height,
        progressive: frame.progressive,
        colours: colours(&frame.components, jfif, adobe)?,
        components: frame.components,
        exif,
        segments,
    })
}

/// The next marker. Bytes before it are passed over, and so are stuffed FFs and fill bytes.
fn next_marker(image: &[u8], at: &mut usize) -> Result<u8, Error> {
    loop {
        let rest = image.get(*at..).ok_or(TRUNCATED)?;
        *at += memchr::memchr(0xFF, rest).ok_or(TRUNCATED)?;
        while image.get(*at) == Some(&0xFF) {
            *at += 1;
        }
        let marker = *image.get(*at).ok_or(TRUNCATED)?;
        *at += 1;
        if marker != 0 {
            return Ok(marker);
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

/// The compressed data at `at`, up to a marker that does not belong to it; `at` moves there.
fn scan_data<'a>(image: &'a [u8], at: &mut usize) -> Result<&'a [u8], Error> {
    let start = *at;
    loop {
        let rest = image.get(*at..).ok_or(TRUNCATED)?;
        *at += memchr::memchr(0xFF, rest).ok_or(TRUNCATED)?;
        match *image.get(*at + 1).ok_or(TRUNCATED)? {
            // A fill byte.
            0xFF => *at += 1,
            // A stuffed FF of the data, a restart marker.
            0 | RST0..=RST7 => *at += 2,
            _ => return Ok(&image[start..*at]),
        }
    }
}

fn start_of_frame(body: &[u8], progressive: bool) -> Result<Frame, Error> {
    let (&[precision, h1, h0, w1, w0, count], components) = body
        .split_first_chunk()
        .ok_or(damaged("its frame header is too short"))?;
    if precision != 8 {
        return Err(unsupported(if precision == 12 {
            "12 bits per sample"
        } else {
            "other than 8 bits per sample"
        }));
    }
    let (components, []) = components.as_chunks::<3>() else {
        return Err(damaged("its frame header has an invalid length"));
    };
    if components.len() != usize::from(count) {
        return Err(damaged("its frame header has an invalid length"));
    }
    let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(unsupported("more than 65,500 pixels in a row or column"));
    }
    let component = |&[id, factors, quant]: &[u8; 3]| {
        let (h_samp, v_samp) = (factors >> 4, factors & 15);
        if !(1..=4).contains(&h_samp) || !(1..=4).contains(&v_samp) {
            return Err(damaged("its sampling factors are invalid"));
        }
        Ok(ComponentHeader {
            id,
            h_samp,
            v_samp,
            quant,
        })
    };
    Ok(Frame {
        width,
        height,
        progressive,
        components: components.iter().map(component).collect::<Result<_, _>>()?,
    })
}

/// JFIF means YCbCr; else Adobe's word counts, else the identifiers.
fn colours(
    components: &[ComponentHeader],
    jfif: bool,
    adobe: Option<u8>,
) -> Result<Colours, Error> {
    let ids: Vec<u8> = components.iter().map(|component| component.id).collect();
    Ok(match (ids.as_slice(), adobe) {
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
