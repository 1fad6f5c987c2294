//! The rows of a stage, call by call: handed out when the first of a call is to be filled, and collected
//! until all of them are.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Model;
use super::fill::{Chunk, RowMut};
use crate::admission::{ByteBudget, ByteReservation};
use crate::wire::tensor::{DataType, Tensor};

/// How a model takes rows now.
pub(super) struct CallForm {
    /// Rows in one call at most.
    pub(super) rows: usize,
    /// The inputs' datatypes.
    pub(super) datatypes: Arc<[DataType]>,
}

/// What filling kept of each of a call's rows, with the row's index.
pub(super) type KeptRows<K> = Vec<(usize, K)>;

/// A call whose rows are full.
pub(super) struct Full<K> {
    pub(super) inputs: Vec<Tensor>,
    pub(super) kept: KeptRows<K>,
    /// The bytes of `inputs`.
    pub(super) reserved: ByteReservation,
}

/// A call whose rows are being filled.
struct Pending<K> {
    chunk: Chunk,
    /// Rows that are not filled yet.
    left: usize,
    rows: Vec<RowMut>,
    kept: KeptRows<K>,
    reserved: ByteReservation,
}

/// The calls whose rows are being filled, the first one in front.
pub(super) struct Chunks<'a, K> {
    pending: Mutex<VecDeque<Pending<K>>>,
    bytes: &'a ByteBudget,
}

impl<'a, K> Chunks<'a, K> {
    pub(super) fn new(bytes: &'a ByteBudget) -> Self {
        Self {
            pending: Mutex::default(),
            bytes,
        }
    }

    fn pending(&self) -> MutexGuard<'_, VecDeque<Pending<K>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `count` rows, to be filled; the memory of a call is taken with its first one.
    pub(super) fn rows<'c>(
        &'c self,
        model: &'c Model,
        form: &'c CallForm,
        count: usize,
    ) -> impl Iterator<Item = RowMut> + Send + 'c
    where
        K: Send,
    {
        let begins = (0..count).step_by(form.rows);
        begins.flat_map(move |begin| {
            let left = form.rows.min(count - begin);
            let (chunk, rows) = Chunk::new(model.signature(), &form.datatypes, left);
            self.pending().push_back(Pending {
                left,
                rows: Vec::with_capacity(left),
                kept: Vec::with_capacity(left),
                reserved: self.bytes.reserve_now(chunk.bytes),
                chunk,
            });
            rows
        })
    }

    /// Takes the next row back, in order; nothing if it failed. Gives the call whose last row it was,
    /// unless all of them failed.
    pub(super) fn add(&self, index: usize, filled: Option<(K, RowMut)>) -> Option<Full<K>> {
        let mut all = self.pending();
        let pending = all.front_mut()?;
        pending.left -= 1;
        if let Some((kept, row)) = filled {
            pending.kept.push((index, kept));
            pending.rows.push(row);
        }
        if pending.left > 0 {
            return None;
        }
        let full = all.pop_front()?;
        drop(all);
        if full.rows.is_empty() {
            return None;
        }
        let own_shapes = full.chunk.bytes == 0;
        let inputs = full.chunk.assemble(full.rows);
        let reserved = if own_shapes {
            let bytes = inputs.iter().map(Tensor::byte_len).sum();
            self.bytes.reserve_now(bytes)
        } else {
            full.reserved
        };
        Some(Full {
            inputs,
            kept: full.kept,
            reserved,
        })
    }
}
