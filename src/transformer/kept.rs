//! What a stage keeps for the next ones, such as decoded images: memory that counts among the bytes in
//! flight.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::admission::{ByteBudget, ByteReservation};
use crate::error::{Error, Kind};

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
pub struct Keeper {
    budget: ByteBudget,
    /// Of this request so far.
    bytes: Arc<AtomicUsize>,
}

impl Keeper {
    pub(super) fn new(budget: ByteBudget) -> Self {
        Self {
            budget,
            bytes: Arc::default(),
        }
    }

    /// Keeps a value of this many bytes. It never waits: requests that hold memory would wait for each
    /// other.
    ///
    /// # Errors
    ///
    /// When the request keeps more than `--max_bytes_in_flight` on its own (400), or more than others
    /// leave of it (429).
    pub fn keep<T>(&self, value: T, bytes: usize) -> Result<Kept<T>, Error> {
        let own = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let limit = self.budget.limit();
        // A single value may be larger: else some images could never be taken.
        if own > limit && own > bytes {
            return Err(Error::new(
                Kind::Invalid,
                format!(
                    "it and the images before it take {own} bytes once decoded; at most {limit} are \
                     kept for one request (--max_bytes_in_flight): send fewer images at once"
                ),
            ));
        }
        let reserved = if own > limit {
            self.budget.reserve_now(bytes)
        } else {
            self.budget.try_reserve(bytes)?
        };
        Ok(Kept {
            value,
            _reserved: reserved,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observe::metrics::Metrics;

    #[test]
    fn a_request_and_all_of_them_are_bounded() {
        let metrics = Metrics::default();
        let budget = ByteBudget::new(100, Duration::ZERO, &metrics);
        let keeper = || Keeper::new(budget.clone());
        let one = keeper();
        let first = one.keep("a", 60).unwrap();
        assert_eq!((*first, metrics.bytes_in_flight.get()), ("a", 60));
        assert_eq!(one.keep("b", 60).unwrap_err().kind, Kind::Invalid);
        assert_eq!(keeper().keep("c", 60).unwrap_err().kind, Kind::Overloaded);
        drop(first);
        assert_eq!(
            *keeper().keep("larger than all", 1000).unwrap(),
            "larger than all"
        );
        assert_eq!(metrics.bytes_in_flight.get(), 0);
    }
}
