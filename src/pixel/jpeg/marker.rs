//! Marker codes by their names in the standard (ITU-T T.81, table B.1): the byte after FF.

/// Baseline, extended sequential (0xC1) and progressive DCT, Huffman coding: the frames that are
/// decoded.
pub(super) const SOF0: u8 = 0xC0;
pub(super) const SOF2: u8 = 0xC2;
/// Lossless, Huffman coding.
pub(super) const SOF3: u8 = 0xC3;
/// Define Huffman tables.
pub(super) const DHT: u8 = 0xC4;
/// Differential frames, of hierarchical files.
pub(super) const SOF5: u8 = 0xC5;
pub(super) const SOF7: u8 = 0xC7;
/// Arithmetic coding, up to differential lossless; among them 0xCC, which defines its conditioning.
pub(super) const SOF9: u8 = 0xC9;
pub(super) const SOF15: u8 = 0xCF;
/// Restart, numbered from 0 to 7 over and over.
pub(super) const RST0: u8 = 0xD0;
pub(super) const RST7: u8 = 0xD7;
/// Start and end of the image.
pub(super) const SOI: u8 = 0xD8;
pub(super) const EOI: u8 = 0xD9;
/// Start of a scan.
pub(super) const SOS: u8 = 0xDA;
/// Define quantisation tables.
pub(super) const DQT: u8 = 0xDB;
/// Define the number of lines.
pub(super) const DNL: u8 = 0xDC;
/// Define the restart interval.
pub(super) const DRI: u8 = 0xDD;
/// Define a hierarchical progression.
pub(super) const DHP: u8 = 0xDE;
/// Application segments: JFIF, EXIF, Adobe.
pub(super) const APP0: u8 = 0xE0;
pub(super) const APP1: u8 = 0xE1;
pub(super) const APP14: u8 = 0xEE;
pub(super) const APP15: u8 = 0xEF;
/// A comment.
pub(super) const COM: u8 = 0xFE;
/// For temporary use in arithmetic coding; stands alone.
pub(super) const TEM: u8 = 0x01;
