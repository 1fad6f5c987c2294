//! What a stage keeps for the next ones, such as decoded images: memory that counts among the bytes in
//! flight.

use std::ops::Deref;

use crate::admission::{ByteBudget, ByteReservation};

/// A value whose bytes are reserved for as long as it lives.
#[derive(Debug)]
pub struct Kept<T> {
    value: T,
    _reserved: ByteReservation,
}

impl<T> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Reserves bytes for values of a request ([`Cx::keeper`](super::Cx::keeper)).
#[derive(Clone, Debug)]
pub struct Keeper(pub(super) ByteBudget);

impl Keeper {
    /// Keeps a value of this many bytes. It never waits: requests that hold memory would wait for each
    /// other; later bodies wait instead.
    pub fn keep<T>(&self, value: T, bytes: usize) -> Kept<T> {
        Kept {
            value,
            _reserved: self.0.reserve_now(bytes),
        }
    }
}
