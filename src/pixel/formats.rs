//! The formats by name, what their files start with, and which of them are read (`--formats`).

use std::fmt;
use std::str::FromStr;

/// A format that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Huffman-coded JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// WebP, lossy and lossless.
    WebP,
    /// Windows and OS/2 bitmaps.
    Bmp,
    /// GIF.
    Gif,
    /// TIFF without JPEG inside.
    Tiff,
    /// PBM, PGM and PPM.
    Pnm,
}

impl Format {
    /// All of them, in the order of their names in texts.
    pub const ALL: [Self; 7] = [
        Self::Jpeg,
        Self::Png,
        Self::WebP,
        Self::Bmp,
        Self::Gif,
        Self::Tiff,
        Self::Pnm,
    ];

    /// The name in texts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Bmp => "BMP",
            Self::Gif => "GIF",
            Self::Tiff => "TIFF",
            Self::Pnm => "PNM",
        }
    }

    /// The format that a file's first bytes are of.
    pub(super) fn of(file: &[u8]) -> Option<Self> {
        Some(match file {
            [0xFF, 0xD8, 0xFF, ..] => Self::Jpeg,
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Self::Png,
            [b'R', b'I', b'F', b'F', _, _, _, _, webp @ ..] if webp.starts_with(b"WEBP") => {
                Self::WebP
            }
            [b'B', b'M', ..] => Self::Bmp,
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Self::Gif,
            [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Self::Tiff,
            [b'P', b'1'..=b'6', space, ..] if space.is_ascii_whitespace() => Self::Pnm,
            _ => return None,
        })
    }
}

/// The name of a format that is not read here, by a file's first bytes.
pub(super) fn foreign(file: &[u8]) -> Option<&'static str> {
    Some(match file {
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => match brand.first_chunk()? {
            b"heic" | b"heix" | b"hevc" | b"hevx" | b"heim" | b"heis" | b"mif1" | b"msf1" => "HEIC",
            b"avif" | b"avis" => "AVIF",
            _ => return None,
        },
        [0xFF, 0x0A, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => "JPEG XL",
        [0xFF, 0x4F, 0xFF, 0x51, ..] | [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] => "JPEG 2000",
        [0, 0, 1, 0, ..] => "ICO",
        [b'%', b'P', b'D', b'F', ..] => "PDF",
        [b'<', b's', b'v', b'g', ..] => "SVG",
        _ => return None,
    })
}

/// Which formats are read. Unless said otherwise JPEG, PNG, WebP and BMP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Formats(u8);

impl Formats {
    /// Those that are read unless said otherwise.
    pub const DEFAULT: Self = Self::of(&[Format::Jpeg, Format::Png, Format::WebP, Format::Bmp]);

    /// All that can be read.
    pub const ALL: Self = Self::of(&Format::ALL);

    const fn of(formats: &[Format]) -> Self {
        let (mut set, mut at) = (0, 0);
        while at < formats.len() {
            set |= 1 << formats[at] as u8;
            at += 1;
        }
        Self(set)
    }

    /// Whether files of this format are read.
    pub fn contains(self, format: Format) -> bool {
        self.0 & 1 << format as u8 != 0
    }

    /// Those that are read.
    pub fn iter(self) -> impl Iterator<Item = Format> {
        Format::ALL
            .into_iter()
            .filter(move |format| self.contains(*format))
    }
}

impl Default for Formats {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The names in lower case, by commas: what `--formats` takes.
impl fmt::Display for Formats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, format) in self.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{}", format.name().to_ascii_lowercase())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Formats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Formats({self})")
    }
}

impl FromStr for Formats {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let format = |name: &str| {
            let mut all = Format::ALL.into_iter();
            all.find(|format| format.name().eq_ignore_ascii_case(name.trim()))
                .ok_or_else(|| format!("unknown format {name:?}, expected some of {}", Self::ALL))
        };
        let formats = text.split(',').map(format).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::of(&formats))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_set_is_read_again() {
        assert_eq!(Formats::DEFAULT.to_string(), "jpeg,png,webp,bmp");
        let formats: Formats = "PNG, gif,jpeg".parse().unwrap();
        assert_eq!(formats.to_string(), "jpeg,png,gif");
        assert_eq!(formats.to_string().parse(), Ok(formats));
        assert!(formats.contains(Format::Gif) && !formats.contains(Format::Bmp));
        let error = "jpeg,heic".parse::<Formats>().unwrap_err();
        assert!(
            error.contains("\"heic\"") && error.contains("tiff"),
            "{error}"
        );
    }

    #[test]
    fn a_format_is_known_by_its_first_bytes() {
        assert_eq!(Format::of(b"GIF89a"), Some(Format::Gif));
        assert_eq!(Format::of(b"P6\n1 1"), Some(Format::Pnm));
        assert_eq!(Format::of(b"P6x"), None);
        assert_eq!(Format::of(b"RIFF....WAVE"), None);
        assert_eq!(foreign(b"\0\0\0\x18ftypheic"), Some("HEIC"));
        assert_eq!(foreign(b"text"), None);
    }
}
