//! The bits of a scan, without the zeros that JPEG stuffs after each FF byte.
//!
//! A window of the scan is unstuffed at a time, from marker to marker at most. The reader's user makes
//! sure once per MCU that the window holds as much as an MCU can take; reading bits then needs no
//! look at markers or ends. Reading beyond the end gives bits of no meaning, and that it happened
//! is found afterwards, at the restart marker or the end of the scan.

use crate::pixel::jpeg::fault::Fault;

/// Bytes of a window; a power of two, so that a mask keeps reads inside.
const WINDOW: usize = 16 << 10;

/// The most bytes that an MCU of ten blocks takes: 64 coefficients of 16 bits of code and 15 of
/// value, and what is read ahead.
const MCU_BYTES: usize = 10 * 64 * 31 / 8 + 16;

/// Unstuffed bytes, with some more behind for the last read.
#[derive(Debug)]
pub(in crate::pixel::jpeg) struct Window([u8; WINDOW + 8]);

impl Default for Window {
    fn default() -> Self {
        Self([0; WINDOW + 8])
    }
}

/// A reader of bits, from the highest of each byte.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    scan: &'a [u8],
    /// What of the scan is in the window already.
    at: usize,
    window: &'a mut Window,
    filled: usize,
    /// The window reaches up to a marker, or to the end.
    at_marker: bool,
    cursor: BitCursor,
}

/// Where a reader is. Apart from the reader, so that it can be in registers for a while.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BitCursor {
    /// The next byte of the window.
    next: usize,
    /// The bits that were read but not used, from the highest. Below the first [`BitCursor::count`]
    /// there may be some more, which are the right ones too.
    buffer: u64,
    /// Their number in the lowest six bits, and above them anything: what is subtracted from it
    /// need not be masked, which is on the critical path.
    count: u32,
}

impl BitCursor {
    /// Bits in the buffer.
    #[inline(always)]
    fn count(&self) -> u32 {
        self.count & 63
    }

    /// Sees to it that at least 56 bits are in the buffer.
    #[inline(always)]
    pub(super) fn refill(&mut self, window: &Window) {
        let next = self.next & (WINDOW - 1);
        if let Some(bytes) = window.0[next..].first_chunk() {
            self.buffer |= u64::from_be_bytes(*bytes) >> self.count();
        }
        self.next += (63 - self.count() as usize) >> 3;
        self.count |= 56;
    }

    /// As [`BitCursor::refill`], if fewer bits are left than one coefficient can take.
    #[inline(always)]
    pub(super) fn refill_for_one(&mut self, window: &Window) {
        if self.count & 32 == 0 {
            self.refill(window);
        }
    }

    /// The next bits, from the highest. At least as many as the last refill promised are right.
    #[inline(always)]
    pub(super) fn peek(&self) -> u64 {
        self.buffer
    }

    /// Uses up as many bits as the lowest six bits of `bits` say, which must have been promised.
    #[inline(always)]
    pub(super) fn skip(&mut self, bits: u32) {
        debug_assert!(
            bits & 63 <= self.count(),
            "bits were used that are not there"
        );
        self.buffer <<= bits & 63;
        self.count = self.count.wrapping_sub(bits);
    }

    /// Takes the next `count` bits, at most 32.
    #[inline(always)]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        debug_assert!(count <= 32);
        // Two shifts, since a shift by 64 is none.
        let bits = (self.buffer >> 1 >> (63 - count)) as u32;
        self.skip(count);
        bits
    }
}

impl<'a> BitReader<'a> {
    pub(super) fn new(scan: &'a [u8], window: &'a mut Window) -> Self {
        Self {
            scan,
            at: 0,
            window,
            filled: 0,
            at_marker: false,
            cursor: BitCursor::default(),
        }
    }

    /// Makes sure that a whole MCU can be read; fails when the last one read beyond the end.
    #[inline(always)]
    pub(super) fn ensure_mcu(&mut self) -> Result<(), Fault> {
        if self.cursor.next + MCU_BYTES > self.filled {
            self.refill_window()?;
        }
        Ok(())
    }

    /// The window, and where in it the reader is.
    #[inline(always)]
    pub(super) fn cursor(&self) -> (&Window, BitCursor) {
        (self.window, self.cursor)
    }

    /// Goes on at another place of the window.
    #[inline(always)]
    pub(super) fn resume(&mut self, cursor: BitCursor) {
        self.cursor = cursor;
    }

    #[cold]
    #[inline(never)]
    fn refill_window(&mut self) -> Result<(), Fault> {
        if self.at_marker {
            // Eight bytes may have been read ahead.
            let within = self.cursor.next <= self.filled + 8;
            return within.then_some(()).ok_or(Fault::MissingData);
        }
        let unread = self.cursor.next.min(self.filled)..self.filled;
        self.filled = unread.len();
        self.window.0.copy_within(unread, 0);
        self.cursor.next = 0;
        self.unstuff();
        Ok(())
    }

    /// Fills the window up.
    fn unstuff(&mut self) {
        while self.filled < WINDOW {
            let free = &mut self.window.0[self.filled..WINDOW];
            let rest = self.scan.get(self.at..).unwrap_or_default();
            let rest = &rest[..rest.len().min(free.len())];
            let plain = memchr::memchr(0xFF, rest).unwrap_or(rest.len());
            free[..plain].copy_from_slice(&rest[..plain]);
            self.at += plain;
            self.filled += plain;
            if plain == free.len() {
                return;
            }
            // An FF, and perhaps more that fill up before a marker; or the end of the scan.
            let rest = self.scan.get(self.at..).unwrap_or_default();
            let after = rest.iter().position(|byte| *byte != 0xFF);
            let after = after.unwrap_or(rest.len());
            self.at += after;
            // A stuffed zero belongs to a single FF. After several libjpeg-turbo goes on, with
            // coefficients of a first attempt left among those of the second.
            if after != 1 || self.scan.get(self.at) != Some(&0) {
                self.at_marker = true;
                return;
            }
            self.window.0[self.filled] = 0xFF;
            self.at += 1;
            self.filled += 1;
        }
    }

    /// Bits that are in the window and not used; negative when more were used than are there.
    fn left(&self) -> i64 {
        (self.filled as i64 - self.cursor.next as i64) * 8 + i64::from(self.cursor.count())
    }

    /// Fails when more bits were used than there are.
    pub(super) fn check_end(&self) -> Result<(), Fault> {
        (self.left() >= 0).then_some(()).ok_or(Fault::MissingData)
    }

    /// Goes on after the restart marker `marker`, which must be the next one. Spare bytes before it
    /// are left out, as libjpeg does.
    pub(super) fn restart(&mut self, marker: u8) -> Result<(), Fault> {
        self.check_end()?;
        while !self.at_marker {
            self.filled = 0;
            self.unstuff();
        }
        if self.scan.get(self.at) != Some(&marker) {
            return Err(Fault::MissingData);
        }
        self.at += 1;
        self.at_marker = false;
        self.filled = 0;
        self.cursor = BitCursor::default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `bits` bits.
    fn take(reader: &mut BitReader<'_>, bits: u32) -> u64 {
        reader.ensure_mcu().unwrap();
        let (window, mut cursor) = reader.cursor();
        cursor.refill(window);
        let value = u64::from(cursor.take(bits));
        reader.resume(cursor);
        value
    }

    #[test]
    fn stuffed_zeros_are_not_bits() {
        let mut window = Window::default();
        let scan = [0xFF, 0, 0x12, 0xFF, 0, 0xFF, 0, 0x34, 0xFF];
        let mut bits = BitReader::new(&scan, &mut window);
        assert_eq!(take(&mut bits, 12), 0xFF1);
        assert_eq!(take(&mut bits, 20), 0x2_FFFF);
        assert_eq!(take(&mut bits, 8), 0x34);
        assert_eq!(bits.check_end(), Ok(()));
        let mut bits = BitReader::new(&[0x12, 0xFF, 0xFF, 0, 0x34], &mut window);
        assert_eq!(take(&mut bits, 8), 0x12);
        assert_eq!(bits.check_end(), Ok(()));
        take(&mut bits, 1);
        assert_eq!(bits.check_end(), Err(Fault::MissingData));
    }

    #[test]
    fn a_scan_longer_than_the_window_is_whole() {
        let bytes: Vec<u8> = (0..100_000_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 23) as u8)
            .collect();
        let scan: Vec<u8> = bytes
            .iter()
            .flat_map(|byte| {
                [*byte, 0]
                    .into_iter()
                    .take(if *byte == 0xFF { 2 } else { 1 })
            })
            .collect();
        let mut window = Window::default();
        let mut bits = BitReader::new(&scan, &mut window);
        for (at, byte) in bytes.iter().enumerate() {
            assert_eq!(take(&mut bits, 8), u64::from(*byte), "{at}");
        }
        assert_eq!(bits.check_end(), Ok(()));
    }

    #[test]
    fn reading_beyond_the_end_is_found_and_bytes_may_be_left() {
        let mut window = Window::default();
        let mut bits = BitReader::new(&[1, 2, 3], &mut window);
        take(&mut bits, 23);
        assert_eq!(bits.check_end(), Ok(()));
        take(&mut bits, 1);
        assert_eq!(bits.check_end(), Ok(()));
        take(&mut bits, 1);
        assert_eq!(bits.check_end(), Err(Fault::MissingData));
    }

    #[test]
    fn the_next_restart_marker_must_be_the_right_one() {
        let scan = [0xA5, 0x11, 0xFF, 0xFF, 0xD0, 0x5A];
        let mut window = Window::default();
        let mut bits = BitReader::new(&scan, &mut window);
        assert_eq!(take(&mut bits, 8), 0xA5);
        assert_eq!(bits.restart(0xD1), Err(Fault::MissingData));
        assert_eq!(bits.restart(0xD0), Ok(()));
        assert_eq!(take(&mut bits, 8), 0x5A);
        assert_eq!(bits.restart(0xD1), Err(Fault::MissingData));
    }
}
