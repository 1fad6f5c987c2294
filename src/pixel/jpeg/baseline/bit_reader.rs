//! The bits of a scan, without the zeros that JPEG stuffs after each FF byte.
//!
//! A window of the scan is unstuffed at a time, from marker to marker at most. Whoever reads makes
//! sure once per MCU that the window holds as much as an MCU can take; reading bits then needs no
//! look at markers or ends. Reading beyond the end gives bits of no meaning, and that it happened
//! is found afterwards, at the restart marker or the end of the scan.

/// Bytes of a window; a power of two, so that a mask keeps reads inside.
const WINDOW: usize = 16 << 10;

/// The most bytes that an MCU of six blocks takes: 64 coefficients of 16 bits of code and 15 of
/// value, and what is read ahead.
const MCU_BYTES: usize = 6 * 64 * 31 / 8 + 16;

/// Unstuffed bytes, with some more behind for the last read.
#[derive(Debug)]
pub(super) struct Window([u8; WINDOW + 8]);

impl Default for Window {
    fn default() -> Self {
        Self([0; WINDOW + 8])
    }
}

/// A reader of bits, from the highest of each byte.
#[derive(Debug)]
pub(super) struct Bits<'a> {
    scan: &'a [u8],
    /// What of the scan is in the window already.
    at: usize,
    window: &'a mut Window,
    filled: usize,
    /// The window reaches up to a marker, or to the end.
    at_marker: bool,
    place: Place,
}

/// Where a reader is. Apart from the reader, so that it can be in registers for a while.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// The next byte of the window.
    next: usize,
    /// The bits that were read but not used, from the highest. Below the first [`Place::count`]
    /// there may be some more, which are the right ones too.
    buffer: u64,
    /// Their number in the lowest six bits, and above them anything: what is subtracted from it
    /// need not be masked, which is on the critical path.
    count: u32,
}

impl Place {
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

    /// As [`Place::refill`], if fewer bits are left than one coefficient can take.
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

    /// Uses up as many bits as the lowest six bits of `bits` say.
    #[inline(always)]
    pub(super) fn skip(&mut self, bits: u32) {
        self.buffer <<= bits & 63;
        self.count = self.count.wrapping_sub(bits);
    }
}

impl<'a> Bits<'a> {
    pub(super) fn new(scan: &'a [u8], window: &'a mut Window) -> Self {
        Self {
            scan,
            at: 0,
            window,
            filled: 0,
            at_marker: false,
            place: Place::default(),
        }
    }

    /// Makes sure that a whole MCU can be read; fails when the last one read beyond the end.
    #[inline(always)]
    pub(super) fn prepare(&mut self) -> Option<()> {
        if self.place.next + MCU_BYTES > self.filled {
            self.more()?;
        }
        Some(())
    }

    /// The window, and where in it the reader is.
    #[inline(always)]
    pub(super) fn place(&self) -> (&Window, Place) {
        (self.window, self.place)
    }

    /// Goes on at another place of the window.
    #[inline(always)]
    pub(super) fn resume(&mut self, place: Place) {
        self.place = place;
    }

    #[cold]
    #[inline(never)]
    fn more(&mut self) -> Option<()> {
        if self.at_marker {
            // Eight bytes may have been read ahead.
            return (self.place.next <= self.filled + 8).then_some(());
        }
        let unread = self.place.next.min(self.filled)..self.filled;
        self.filled = unread.len();
        self.window.0.copy_within(unread, 0);
        self.place.next = 0;
        self.unstuff();
        Some(())
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
            // No FF: the end of the scan. A fill byte before a marker counts as one, too.
            if self.scan.get(self.at..self.at + 2) != Some(&[0xFF, 0]) {
                self.at_marker = true;
                return;
            }
            self.window.0[self.filled] = 0xFF;
            self.at += 2;
            self.filled += 1;
        }
    }

    /// Bits that are in the window and not used; negative when more were used than are there.
    fn left(&self) -> i64 {
        (self.filled as i64 - self.place.next as i64) * 8 + i64::from(self.place.count())
    }

    /// Whether all was used up to the next marker but the bits that fill the last byte up.
    fn is_used_up(&mut self) -> bool {
        if !self.at_marker && self.more().is_none() {
            return false;
        }
        self.at_marker && (0..8).contains(&self.left())
    }

    /// Goes on after the restart marker `marker`, which must be next.
    pub(super) fn restart(&mut self, marker: u8) -> Option<()> {
        if !self.is_used_up() || self.scan.get(self.at..self.at + 2) != Some(&[0xFF, marker]) {
            return None;
        }
        self.at += 2;
        self.at_marker = false;
        self.filled = 0;
        self.place = Place::default();
        Some(())
    }

    /// Makes sure that no more was used than there is. Spare bytes up to the end are left out, as
    /// libjpeg does, but not a marker among them.
    pub(super) fn finish(&mut self) -> Option<()> {
        let enough = self.left() >= 0;
        while !self.at_marker {
            self.filled = 0;
            self.unstuff();
        }
        (enough && self.at == self.scan.len()).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `bits` bits.
    fn take(reader: &mut Bits<'_>, bits: u32) -> u64 {
        reader.prepare().unwrap();
        let (window, mut place) = reader.place();
        place.refill(window);
        let value = place.peek() >> (64 - bits);
        place.skip(bits);
        reader.resume(place);
        value
    }

    #[test]
    fn stuffed_zeros_are_no_bits() {
        let mut window = Window::default();
        let scan = [0xFF, 0, 0x12, 0xFF, 0, 0xFF, 0, 0x34];
        let mut bits = Bits::new(&scan, &mut window);
        assert_eq!(take(&mut bits, 12), 0xFF1);
        assert_eq!(take(&mut bits, 20), 0x2_FFFF);
        assert_eq!(take(&mut bits, 8), 0x34);
        assert_eq!(bits.finish(), Some(()));
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
        let mut bits = Bits::new(&scan, &mut window);
        for (at, byte) in bytes.iter().enumerate() {
            assert_eq!(take(&mut bits, 8), u64::from(*byte), "{at}");
        }
        assert_eq!(bits.finish(), Some(()));
    }

    #[test]
    fn reading_beyond_the_end_is_found_and_bytes_may_be_left() {
        let mut window = Window::default();
        let mut bits = Bits::new(&[1, 2, 3], &mut window);
        take(&mut bits, 24);
        assert_eq!(bits.finish(), Some(()));
        take(&mut bits, 1);
        assert_eq!(bits.finish(), None);
        for (end, taken) in [
            (&[7, 0xFF, 0][..], true),
            (&[7, 0xFF], false),
            (&[0xFF, 0xD0], false),
        ] {
            let scan = [&[1; 3 * WINDOW], end].concat();
            let mut bits = Bits::new(&scan, &mut window);
            take(&mut bits, 8);
            assert_eq!(bits.finish().is_some(), taken, "{end:?}");
        }
    }

    #[test]
    fn a_restart_marker_must_be_the_next_one_and_at_its_place() {
        let scan = [0xA5, 0xFF, 0xD0, 0x5A];
        let mut window = Window::default();
        let mut bits = Bits::new(&scan, &mut window);
        assert_eq!(bits.restart(0xD0), None);
        assert_eq!(take(&mut bits, 8), 0xA5);
        assert_eq!(bits.restart(0xD1), None);
        assert_eq!(bits.restart(0xD0), Some(()));
        assert_eq!(take(&mut bits, 8), 0x5A);
        assert_eq!(bits.finish(), Some(()));
    }
}
