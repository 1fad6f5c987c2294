//! Makes a mutated PNG one whose checksums hold: else nothing behind them would ever be reached.

use std::io::{Read, Write};

use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

use crate::mutate::{Numbers, mutate};

const SIGNATURE: usize = 8;

/// Chunks of a file: where each begins, and bytes of its body. Ends where the file is no longer one.
fn chunks(file: &[u8]) -> Vec<(usize, usize)> {
    let mut chunks = Vec::new();
    let mut at = SIGNATURE;
    while let Some(length) = file.get(at..).and_then(<[u8]>::first_chunk) {
        let length = u32::from_be_bytes(*length) as usize;
        if at + 12 + length > file.len() {
            break;
        }
        chunks.push((at, length));
        at += 12 + length;
    }
    chunks
}

/// Sets all checksums of chunks.
pub fn fix_checksums(file: &mut [u8]) {
    for (at, length) in chunks(file) {
        let mut crc = Crc::new();
        crc.update(&file[at + 4..at + 8 + length]);
        file[at + 8 + length..][..4].copy_from_slice(&crc.sum().to_be_bytes());
    }
}

/// Changes the lines that are compressed in the file, and compresses them again.
pub fn mutate_lines(file: &mut Vec<u8>, numbers: &mut Numbers) {
    let is_data = |file: &[u8], at: usize| file[at + 4..].starts_with(b"IDAT");
    let all: Vec<_> = chunks(file)
        .into_iter()
        .filter(|(at, _)| is_data(file, *at))
        .collect();
    let (Some(&(first, _)), Some(&(last, last_length))) = (all.first(), all.last()) else {
        return;
    };
    let mut compressed = Vec::new();
    for (at, length) in &all {
        compressed.extend_from_slice(&file[at + 8..][..*length]);
    }
    let mut lines = Vec::new();
    // What can be read of it will do.
    let _ = ZlibDecoder::new(compressed.as_slice())
        .take(1 << 18)
        .read_to_end(&mut lines);
    mutate(&mut lines, &[], &[], numbers);
    let level = Compression::new(numbers.below(3) as u32);
    let mut encoder = ZlibEncoder::new(Vec::new(), level);
    let _ = encoder.write_all(&lines);
    let compressed = encoder.finish().unwrap_or_default();
    let mut chunk = (compressed.len() as u32).to_be_bytes().to_vec();
    chunk.extend_from_slice(b"IDAT");
    chunk.extend_from_slice(&compressed);
    chunk.extend_from_slice(&[0; 4]);
    file.splice(first..last + 12 + last_length, chunk);
}
