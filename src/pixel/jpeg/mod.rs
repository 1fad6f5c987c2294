//! JPEG: every Huffman-coded file of eight bits per sample, sequential or progressive, with the
//! pixels of libjpeg-turbo to the last bit, so OpenCV's.
//!
//! The segments are walked first ([`header`]): size and scans are checked before memory is taken, a
//! file without its end is refused, and the colours are what libjpeg takes them for. The common files
//! have one sequential scan, which goes a row of MCUs at a time through entropy decoding ([`entropy`]),
//! the inverse DCT, upsampling and colour conversion ([`samples`]). Of files with several scans the
//! coefficients are kept until all scans are read.
//!
//! What libjpeg would guess is refused: missing data, codes that are none, progressive scans that do
//! not tell all. So is what it does not decode, or not with Huffman codes: 12 bits per sample,
//! lossless, hierarchical and arithmetic coding.

mod decoder;
mod entropy;
mod fault;
mod frame;
mod header;
mod marker;
mod samples;
mod tables;
#[cfg(test)]
mod tests;
mod zigzag;

pub(super) use decoder::Decoder;
