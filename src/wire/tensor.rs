//! Tensors in one buffer, with room in front of them.
//!
//! A batch is allocated once. Each row is handed out to be filled on any thread and in any order, and
//! all are put together again without copying. The room in front takes the header of whatever
//! message the tensor goes out in, so that header and tensor are one piece of memory.

use bytes::{BufMut, Bytes, BytesMut};

pub use crate::wire::datatype::DataType;

/// Bytes kept free in front of a batch. The head of a gRPC message with model, tensor names and a
/// request id of usual length takes about 150.
const HEADROOM: usize = 512;

/// A batch whose rows are being filled elsewhere.
#[derive(Debug)]
pub struct BatchBuilder {
    head: BytesMut,
    row_bytes: usize,
}

impl BatchBuilder {
    /// Allocates `rows` rows of `row_bytes` bytes each.
    ///
    /// Each row is empty with exactly `row_bytes` of capacity: fill it, and append nothing beyond.
    pub fn rows(rows: usize, row_bytes: usize) -> (Self, Vec<BytesMut>) {
        let mut head = BytesMut::with_capacity(HEADROOM + rows * row_bytes);
        head.put_bytes(0, HEADROOM);
        let mut rest = head.split_off(HEADROOM);
        let rows = (0..rows)
            .map(|_| {
                let after = rest.split_off(row_bytes);
                std::mem::replace(&mut rest, after)
            })
            .collect();
        (Self { head, row_bytes }, rows)
    }

    /// Puts the filled rows together. Neighbours join without a copy; where a row was left out, those
    /// behind it move up (a copy).
    ///
    /// `row_shape` is the shape of one row; the tensor's is `[rows, …row_shape]`.
    pub fn assemble(self, rows: Vec<BytesMut>, datatype: DataType, row_shape: &[i64]) -> Tensor {
        let count = rows.len();
        let mut buffer = self.head;
        for row in rows {
            debug_assert_eq!(row.len(), self.row_bytes, "a row that was not filled");
            buffer.unsplit(row);
        }
        Tensor {
            datatype,
            shape: shape_of(count, row_shape),
            memory: Memory::WithHeadroom(buffer),
        }
    }
}

/// Lets `fill` append to `N` equal parts of an empty row of `N` × `part_bytes` bytes, in any order,
/// and joins them in place.
pub fn in_parts<const N: usize, T>(
    row: &mut BytesMut,
    part_bytes: usize,
    fill: impl FnOnce(&mut [BytesMut; N]) -> T,
) -> T {
    let mut parts = std::array::from_fn(|_| {
        let after = row.split_off(part_bytes);
        std::mem::replace(row, after)
    });
    let filled = fill(&mut parts);
    let mut parts = parts.into_iter();
    if let Some(first) = parts.next() {
        *row = first;
    }
    parts.for_each(|part| row.unsplit(part));
    filled
}

fn shape_of(rows: usize, row_shape: &[i64]) -> Vec<i64> {
    let mut shape = Vec::with_capacity(row_shape.len() + 1);
    shape.push(rows as i64);
    shape.extend_from_slice(row_shape);
    shape
}

/// A tensor, row-major, little-endian; its first axis counts rows.
#[derive(Debug)]
pub struct Tensor {
    datatype: DataType,
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
    /// A tensor of this shape. `data` holds its elements and nothing else.
    pub fn new(datatype: DataType, shape: Vec<i64>, data: Bytes) -> Self {
        Self {
            datatype,
            shape,
            memory: Memory::Shared(data),
        }
    }

    /// An FP32 tensor of shape `[rows, …row_shape]`.
    pub fn fp32(data: Bytes, rows: usize, row_shape: &[i64]) -> Self {
        Self::new(DataType::Fp32, shape_of(rows, row_shape), data)
    }

    /// The type of its elements.
    pub fn datatype(&self) -> DataType {
        self.datatype
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
        let (datatype, row_shape) = (self.datatype, self.shape[1..].to_vec());
        let mut data = self.into_data();
        let row_bytes = data.len() / total;
        let elements = row_shape.iter().product::<i64>() as usize;
        (0..total)
            .step_by(rows)
            .map(|start| {
                let count = rows.min(total - start);
                let bytes = match datatype.size() {
                    Some(_) => count * row_bytes,
                    None => elements_bytes(&data, count * elements),
                };
                let part = data.split_to(bytes);
                Self::new(datatype, shape_of(count, &row_shape), part)
            })
            .collect()
    }

    /// The values alone.
    pub fn into_data(self) -> Bytes {
        self.memory.into_data()
    }

    /// `header` and the values behind it: one piece where there is room, else two. Also the tensor,
    /// which shares that memory.
    fn behind(self, header: &[u8]) -> (Bytes, Option<Bytes>, Self) {
        let Self {
            datatype,
            shape,
            memory,
        } = self;
        let (head, rest, values) = match memory {
            Memory::WithHeadroom(mut buffer) if header.len() <= HEADROOM => {
                let start = HEADROOM - header.len();
                buffer[start..HEADROOM].copy_from_slice(header);
                let buffer = buffer.freeze();
                let values = buffer.slice(HEADROOM..);
                (buffer.slice(start..), None, values)
            }
            memory => {
                let values = memory.into_data();
                let header = Bytes::copy_from_slice(header);
                (header, Some(values.clone()), values)
            }
        };
        (head, rest, Self::new(datatype, shape, values))
    }
}

impl Memory {
    fn into_data(self) -> Bytes {
        match self {
            Self::WithHeadroom(buffer) => buffer.freeze().slice(HEADROOM..),
            Self::Shared(data) => data,
        }
    }
}

/// Bytes of the first `count` elements of a BYTES tensor, which was found to hold them.
fn elements_bytes(data: &[u8], count: usize) -> usize {
    let mut end = 0;
    for _ in 0..count {
        let length = data.get(end..).and_then(<[u8]>::first_chunk);
        let Some(length) = length else { break };
        end += size_of::<u32>() + u32::from_le_bytes(*length) as usize;
    }
    end.min(data.len())
}

/// A message ready to be sent. Cloning shares the memory.
#[derive(Clone, Debug, Default)]
pub struct EncodedMessage {
    /// The header, and the first tensor's values if they lie behind it.
    pub head: Bytes,
    /// What follows.
    pub tail: Vec<Bytes>,
}

impl EncodedMessage {
    /// `head` and behind it the tensors; before each but the first, what `between` has for it. Also
    /// gives the tensors back; they share the message's memory.
    pub fn new(head: &[u8], tensors: Vec<Tensor>, between: Vec<Bytes>) -> (Self, Vec<Tensor>) {
        let mut tensors = tensors.into_iter();
        let Some(first) = tensors.next() else {
            let head = Bytes::copy_from_slice(head);
            let tail = Vec::new();
            return (Self { head, tail }, Vec::new());
        };
        let (head, rest, first) = first.behind(head);
        let mut tail: Vec<_> = rest.into_iter().collect();
        let mut sent = vec![first];
        let mut between = between.into_iter();
        for tensor in tensors {
            let data = tensor.memory.into_data();
            tail.extend(between.next());
            tail.push(data.clone());
            sent.push(Tensor::new(tensor.datatype, tensor.shape, data));
        }
        (Self { head, tail }, sent)
    }

    /// Bytes of all pieces.
    pub fn byte_len(&self) -> usize {
        self.head.len() + self.tail.iter().map(Bytes::len).sum::<usize>()
    }
}

/// FP32 values from their little-endian bytes; a rest shorter than four bytes is left out.
pub fn fp32(data: &[u8]) -> impl Iterator<Item = f32> + '_ {
    data.as_chunks()
        .0
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
}

/// FP16 values, widened, from their little-endian bytes; a last odd byte is left out.
pub fn fp16(data: &[u8]) -> impl Iterator<Item = f32> + '_ {
    data.as_chunks()
        .0
        .iter()
        .map(|&bytes| half::f16::from_le_bytes(bytes).to_f32())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(rows: &mut [BytesMut]) {
        for (i, row) in rows.iter_mut().enumerate().rev() {
            in_parts(row, 8, |[first, second]| {
                second.put_bytes(i as u8 * 2 + 1, 8);
                first.put_bytes(i as u8 * 2, 8);
            });
        }
    }

    fn message(tensor: Tensor, header: &[u8]) -> EncodedMessage {
        EncodedMessage::new(header, vec![tensor], Vec::new()).0
    }

    fn expected(rows: &[u8]) -> Vec<u8> {
        rows.iter()
            .flat_map(|&i| [[i * 2; 8], [i * 2 + 1; 8]].concat())
            .collect()
    }

    #[test]
    fn rows_filled_in_any_order_join_in_place() {
        let (batch, mut rows) = BatchBuilder::rows(3, 16);
        let start = rows[0].as_ptr();
        fill(&mut rows);
        let tensor = batch.assemble(rows, DataType::Fp32, &[4]);
        assert_eq!(tensor.shape(), [3, 4]);
        assert_eq!(tensor.byte_len(), 48);
        let data = tensor.into_data();
        assert_eq!(data, expected(&[0, 1, 2]));
        assert_eq!(data.as_ptr(), start, "the values were copied");
    }

    #[test]
    fn a_row_left_out_closes_the_gap() {
        let (batch, mut rows) = BatchBuilder::rows(3, 16);
        fill(&mut rows);
        rows.remove(1);
        let tensor = batch.assemble(rows, DataType::Fp32, &[4]);
        assert_eq!(tensor.shape(), [2, 4]);
        assert_eq!(tensor.into_data(), expected(&[0, 2]));
    }

    #[test]
    fn a_header_lies_in_front_of_the_values() {
        let (batch, mut rows) = BatchBuilder::rows(1, 16);
        fill(&mut rows);
        let message = message(batch.assemble(rows, DataType::Fp32, &[4]), b"head");
        assert_eq!(message.head, [b"head".as_slice(), &expected(&[0])].concat());
        assert!(message.tail.is_empty());
    }

    #[test]
    fn a_header_too_long_for_the_room_goes_apart() {
        let (batch, mut rows) = BatchBuilder::rows(1, 16);
        fill(&mut rows);
        let header = vec![7; HEADROOM + 1];
        let message = message(batch.assemble(rows, DataType::Fp32, &[4]), &header);
        assert_eq!(message.head, header);
        assert_eq!(message.tail, [expected(&[0])]);
    }

    #[test]
    fn a_split_keeps_order_and_memory() {
        let data = Bytes::from((0..40).collect::<Vec<u8>>());
        let start = data.as_ptr();
        let parts = Tensor::fp32(data, 5, &[2]).split(2);
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
        let message = message(Tensor::fp32(data, 2, &[4]), b"head");
        assert_eq!(message.head, b"head".as_slice());
        assert_eq!(message.tail[0].as_ptr(), start);
        assert_eq!(message.byte_len(), 36);
    }

    #[test]
    fn elements_of_any_length_are_split_by_rows() {
        let data = Bytes::from_static(b"\x01\0\0\0a\0\0\0\0\x02\0\0\0bc");
        let parts = Tensor::new(DataType::Bytes, vec![3, 1], data).split(2);
        let parts: Vec<_> = parts.into_iter().map(Tensor::into_data).collect();
        assert_eq!(parts, [&b"\x01\0\0\0a\0\0\0\0"[..], b"\x02\0\0\0bc"]);
    }

    #[test]
    fn several_tensors_follow_one_head() {
        let (batch, mut rows) = BatchBuilder::rows(1, 16);
        fill(&mut rows);
        let first = batch.assemble(rows, DataType::Uint8, &[16]);
        let second = Tensor::new(DataType::Int8, vec![1, 2], Bytes::from_static(b"xy"));
        let (message, sent) =
            EncodedMessage::new(b"head", vec![first, second], vec![Bytes::from_static(b"-")]);
        let values: Vec<_> = sent.into_iter().map(Tensor::into_data).collect();
        assert_eq!(message.head, [b"head".as_slice(), &expected(&[0])].concat());
        assert_eq!(message.tail, ["-", "xy"]);
        assert_eq!(values[1], "xy");
        assert_eq!(values[0], expected(&[0]));
        assert_eq!(message.byte_len(), 4 + 16 + 3);
    }

    #[test]
    fn half_precision_is_widened() {
        let values: Vec<_> = fp16(&[0x00, 0x3c, 0x00, 0xc0, 0xff]).collect();
        assert_eq!(values, [1.0, -2.0]);
    }
}
