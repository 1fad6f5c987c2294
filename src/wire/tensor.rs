//! FP32 tensors in one buffer, with room in front of them.
//!
//! A batch is allocated once. Each row is handed out in parts that may be filled on any thread and
//! in any order, and put together again without copying. The room in front takes the header of
//! whatever message the tensor goes out in, so that header and tensor are one piece of memory.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes kept free in front of a batch. The head of a gRPC message with model, tensor names and a
/// request id of usual length takes about 150.
const HEADROOM: usize = 512;

/// A batch whose rows are being filled elsewhere.
#[derive(Debug)]
pub struct BatchBuilder {
    head: BytesMut,
    part_bytes: usize,
}

impl BatchBuilder {
    /// Allocates `rows` rows of `PARTS` parts of `part_bytes` bytes each.
    ///
    /// Each part is empty with exactly `part_bytes` of capacity: fill it, and append nothing beyond.
    pub fn rows<const PARTS: usize>(
        rows: usize,
        part_bytes: usize,
    ) -> (Self, Vec<[BytesMut; PARTS]>) {
        let mut head = BytesMut::with_capacity(HEADROOM + rows * PARTS * part_bytes);
        head.put_bytes(0, HEADROOM);
        let mut rest = head.split_off(HEADROOM);
        let rows = (0..rows)
            .map(|_| {
                std::array::from_fn(|_| {
                    let after = rest.split_off(part_bytes);
                    std::mem::replace(&mut rest, after)
                })
            })
            .collect();
        (Self { head, part_bytes }, rows)
    }

    /// Puts the filled rows together. Neighbouring parts join without a copy; where a row was left
    /// out, those behind it move up (a copy).
    ///
    /// `row_shape` is the shape of one row; the tensor's is `[rows, …row_shape]`.
    pub fn assemble<const PARTS: usize>(
        self,
        rows: Vec<[BytesMut; PARTS]>,
        row_shape: &[i64],
    ) -> Tensor {
        let count = rows.len();
        let mut buffer = self.head;
        for part in rows.into_iter().flatten() {
            debug_assert_eq!(part.len(), self.part_bytes, "a part that was not filled");
            buffer.unsplit(part);
        }
        Tensor {
            shape: shape_of(count, row_shape),
            memory: Memory::WithHeadroom(buffer),
        }
    }
}

fn shape_of(rows: usize, row_shape: &[i64]) -> Vec<i64> {
    let mut shape = Vec::with_capacity(row_shape.len() + 1);
    shape.push(rows as i64);
    shape.extend_from_slice(row_shape);
    shape
}

/// A tensor of FP32 values, row-major, little-endian; its first axis counts rows.
#[derive(Debug)]
pub struct Tensor {
    shape: Vec<i64>,
    memory: Memory,
}

#[derive(Debug)]
enum Memory {
    /// `HEADROOM` free bytes, then the values.
    WithHeadroom(BytesMut),
    /// The values alone, a part of a message that came in.
    Shared(Bytes),
}

impl Tensor {
    /// A tensor whose values lie in a received message. `data` holds `rows` × the product of
    /// `row_shape` values of four bytes.
    pub fn shared(data: Bytes, rows: usize, row_shape: &[i64]) -> Self {
        Self {
            shape: shape_of(rows, row_shape),
            memory: Memory::Shared(data),
        }
    }

    /// All axes, rows first.
    pub fn shape(&self) -> &[i64] {
        &self.shape
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.shape.first().map_or(0, |&rows| rows as usize)
    }

    /// Bytes of the values.
    pub fn byte_len(&self) -> usize {
        match &self.memory {
            Memory::WithHeadroom(buffer) => buffer.len() - HEADROOM,
            Memory::Shared(data) => data.len(),
        }
    }

    /// Cuts the tensor into tensors of at most `rows` rows, sharing its memory.
    pub fn split(self, rows: usize) -> Vec<Self> {
        let rows = rows.max(1);
        let total = self.rows();
        if total <= rows {
            return vec![self];
        }
        let row_shape = self.shape[1..].to_vec();
        let data = self.into_data();
        let row_bytes = data.len() / total;
        (0..total)
            .step_by(rows)
            .map(|start| {
                let count = rows.min(total - start);
                let part = data.slice(start * row_bytes..(start + count) * row_bytes);
                Self::shared(part, count, &row_shape)
            })
            .collect()
    }

    /// The values alone.
    pub fn into_data(self) -> Bytes {
        match self.memory {
            Memory::WithHeadroom(buffer) => buffer.freeze().slice(HEADROOM..),
            Memory::Shared(data) => data,
        }
    }

    /// `header` and the values behind it: one piece where there is room, else two.
    pub fn into_message(self, header: &[u8]) -> EncodedTensor {
        match self.memory {
            Memory::WithHeadroom(mut buffer) if header.len() <= HEADROOM => {
                let start = HEADROOM - header.len();
                buffer[start..HEADROOM].copy_from_slice(header);
                EncodedTensor {
                    head: buffer.freeze().slice(start..),
                    tail: Bytes::new(),
                }
            }
            memory => EncodedTensor {
                head: Bytes::copy_from_slice(header),
                tail: Tensor {
                    shape: Vec::new(),
                    memory,
                }
                .into_data(),
            },
        }
    }
}

/// A message ready to be sent, in at most two pieces. Cloning shares the memory.
#[derive(Clone, Debug)]
pub struct EncodedTensor {
    /// The header, and the values if they lie behind it.
    pub head: Bytes,
    /// The values if they lie elsewhere.
    pub tail: Bytes,
}

impl EncodedTensor {
    /// Bytes of both pieces.
    pub fn byte_len(&self) -> usize {
        self.head.len() + self.tail.len()
    }
}

/// FP32 values from their little-endian bytes; a rest shorter than four bytes is left out.
pub fn fp32(data: &[u8]) -> impl Iterator<Item = f32> + '_ {
    data.as_chunks()
        .0
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(rows: &mut [[BytesMut; 2]]) {
        for (i, row) in rows.iter_mut().enumerate().rev() {
            row[1].put_bytes(i as u8 * 2 + 1, 8);
            row[0].put_bytes(i as u8 * 2, 8);
        }
    }

    fn expected(rows: &[u8]) -> Vec<u8> {
        rows.iter()
            .flat_map(|&i| [[i * 2; 8], [i * 2 + 1; 8]].concat())
            .collect()
    }

    #[test]
    fn rows_filled_in_any_order_join_in_place() {
        let (batch, mut rows) = BatchBuilder::rows::<2>(3, 8);
        let start = rows[0][0].as_ptr();
        fill(&mut rows);
        let tensor = batch.assemble(rows, &[4]);
        assert_eq!(tensor.shape(), [3, 4]);
        assert_eq!(tensor.byte_len(), 48);
        let data = tensor.into_data();
        assert_eq!(data, expected(&[0, 1, 2]));
        assert_eq!(data.as_ptr(), start, "the values were copied");
    }

    #[test]
    fn a_row_left_out_closes_the_gap() {
        let (batch, mut rows) = BatchBuilder::rows::<2>(3, 8);
        fill(&mut rows);
        rows.remove(1);
        let tensor = batch.assemble(rows, &[4]);
        assert_eq!(tensor.shape(), [2, 4]);
        assert_eq!(tensor.into_data(), expected(&[0, 2]));
    }

    #[test]
    fn a_header_lies_in_front_of_the_values() {
        let (batch, mut rows) = BatchBuilder::rows::<2>(1, 8);
        fill(&mut rows);
        let message = batch.assemble(rows, &[4]).into_message(b"head");
        assert_eq!(message.head, [b"head".as_slice(), &expected(&[0])].concat());
        assert!(message.tail.is_empty());
    }

    #[test]
    fn a_header_too_long_for_the_room_goes_apart() {
        let (batch, mut rows) = BatchBuilder::rows::<2>(1, 8);
        fill(&mut rows);
        let header = vec![7; HEADROOM + 1];
        let message = batch.assemble(rows, &[4]).into_message(&header);
        assert_eq!(message.head, header);
        assert_eq!(message.tail, expected(&[0]));
    }

    #[test]
    fn a_split_keeps_order_and_memory() {
        let data = Bytes::from((0..40).collect::<Vec<u8>>());
        let start = data.as_ptr();
        let parts = Tensor::shared(data, 5, &[2]).split(2);
        let shapes: Vec<_> = parts.iter().map(|part| part.shape().to_vec()).collect();
        assert_eq!(shapes, [[2, 2], [2, 2], [1, 2]]);
        let parts: Vec<_> = parts.into_iter().map(Tensor::into_data).collect();
        assert_eq!(parts[0].as_ptr(), start);
        assert_eq!(parts.concat(), (0..40).collect::<Vec<u8>>());
    }

    #[test]
    fn values_of_a_received_message_are_not_copied() {
        let data = Bytes::from(vec![1; 32]);
        let start = data.as_ptr();
        let message = Tensor::shared(data, 2, &[4]).into_message(b"head");
        assert_eq!(message.head, b"head".as_slice());
        assert_eq!(message.tail.as_ptr(), start);
        assert_eq!(message.byte_len(), 36);
    }
}
