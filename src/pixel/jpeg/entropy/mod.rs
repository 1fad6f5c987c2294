//! Entropy decoding: from the bits of a scan to coefficients.
//!
//! [`sequential`] scans give whole blocks at once, [`progressive`] ones a few bits of some
//! coefficients. Shared are the reader of bits, the Huffman tables and the walk over MCUs with their
//! restart markers ([`scan`]).

pub(super) mod bit_reader;
pub(super) mod huffman;
pub(super) mod lanes;
pub(super) mod progressive;
pub(super) mod scan;
pub(super) mod sequential;
pub(super) mod store;
