//! The typed contents of a tensor, and their raw form: little-endian values, or elements each preceded
//! by its length.

use bytes::{BufMut, Bytes, BytesMut};

use crate::wire::bytes_tensor::{put_element, split_element};
use crate::wire::tensor::{DataType, fp32};
use crate::wire::triton::InferTensorContents;

/// The field to which values of a datatype belong; FP16 has none.
pub fn field(datatype: DataType) -> Option<&'static str> {
    Some(match datatype {
        DataType::Bool => "bool_contents",
        DataType::Uint8 => "uint_contents",
        DataType::Int8 | DataType::Int32 => "int_contents",
        DataType::Int64 => "int64_contents",
        DataType::Fp32 => "fp32_contents",
        DataType::Bytes => "bytes_contents",
        DataType::Fp16 => return None,
    })
}

/// The fields that hold something, by name.
pub fn filled_fields(typed: &InferTensorContents) -> Vec<&'static str> {
    [
        ("bool_contents", typed.bool_contents.is_empty()),
        ("int_contents", typed.int_contents.is_empty()),
        ("int64_contents", typed.int64_contents.is_empty()),
        ("uint_contents", typed.uint_contents.is_empty()),
        ("uint64_contents", typed.uint64_contents.is_empty()),
        ("fp32_contents", typed.fp32_contents.is_empty()),
        ("fp64_contents", typed.fp64_contents.is_empty()),
        ("bytes_contents", typed.bytes_contents.is_empty()),
    ]
    .into_iter()
    .filter_map(|(field, empty)| (!empty).then_some(field))
    .collect()
}

/// The values in the field of a datatype.
pub fn count(datatype: DataType, typed: &InferTensorContents) -> usize {
    match datatype {
        DataType::Bool => typed.bool_contents.len(),
        DataType::Uint8 => typed.uint_contents.len(),
        DataType::Int8 | DataType::Int32 => typed.int_contents.len(),
        DataType::Int64 => typed.int64_contents.len(),
        DataType::Fp32 => typed.fp32_contents.len(),
        DataType::Bytes => typed.bytes_contents.len(),
        DataType::Fp16 => 0,
    }
}

/// Typed values in raw form; nothing when one of them is outside its datatype's range.
pub fn to_raw(datatype: DataType, typed: &InferTensorContents) -> Option<Bytes> {
    let values = count(datatype, typed);
    let mut raw = BytesMut::with_capacity(values * datatype.size().unwrap_or_default());
    match datatype {
        DataType::Bool => {
            let values = typed.bool_contents.iter();
            values.for_each(|&value| raw.put_u8(u8::from(value)));
        }
        DataType::Uint8 => {
            for &value in &typed.uint_contents {
                raw.put_u8(u8::try_from(value).ok()?);
            }
        }
        DataType::Int8 => {
            for &value in &typed.int_contents {
                raw.put_i8(i8::try_from(value).ok()?);
            }
        }
        DataType::Int32 => {
            let values = typed.int_contents.iter();
            values.for_each(|&value| raw.put_i32_le(value));
        }
        DataType::Int64 => {
            let values = typed.int64_contents.iter();
            values.for_each(|&value| raw.put_i64_le(value));
        }
        DataType::Fp32 => {
            let values = typed.fp32_contents.iter();
            values.for_each(|&value| raw.put_f32_le(value));
        }
        DataType::Fp16 => (),
        DataType::Bytes => {
            for element in &typed.bytes_contents {
                put_element(&mut raw, element).ok()?;
            }
        }
    }
    Some(raw.freeze())
}

/// Raw values as typed contents; those of FP16, which has none, are left out.
pub fn from_raw(datatype: DataType, mut raw: Bytes) -> InferTensorContents {
    let mut typed = InferTensorContents::default();
    match datatype {
        DataType::Bool => typed.bool_contents = raw.iter().map(|&byte| byte != 0).collect(),
        DataType::Uint8 => typed.uint_contents = raw.iter().map(|&byte| byte.into()).collect(),
        DataType::Int8 => {
            typed.int_contents = raw.iter().map(|&byte| i32::from(byte as i8)).collect();
        }
        DataType::Int32 => {
            let values = raw.as_chunks().0.iter();
            typed.int_contents = values.map(|&value| i32::from_le_bytes(value)).collect();
        }
        DataType::Int64 => {
            let values = raw.as_chunks().0.iter();
            typed.int64_contents = values.map(|&value| i64::from_le_bytes(value)).collect();
        }
        DataType::Fp32 => typed.fp32_contents = fp32(&raw).collect(),
        DataType::Fp16 => (),
        DataType::Bytes => {
            while let Ok(Some(element)) = split_element(&mut raw) {
                typed.bytes_contents.push(element);
            }
        }
    }
    typed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_values_come_back() {
        let typed = InferTensorContents {
            bool_contents: vec![true, false],
            int_contents: vec![-3, 100],
            int64_contents: vec![1 << 40, -1],
            uint_contents: vec![0, 255],
            fp32_contents: vec![0.5, f32::MAX],
            bytes_contents: vec![Bytes::from_static(b"ab"), Bytes::new()],
            ..InferTensorContents::default()
        };
        let datatypes = [
            DataType::Bool,
            DataType::Uint8,
            DataType::Int8,
            DataType::Int32,
            DataType::Int64,
            DataType::Fp32,
            DataType::Bytes,
        ];
        for datatype in datatypes {
            assert_eq!(count(datatype, &typed), 2, "{datatype}");
            let raw = to_raw(datatype, &typed).unwrap();
            let back = from_raw(datatype, raw.clone());
            assert_eq!(filled_fields(&back), [field(datatype).unwrap()]);
            assert_eq!(to_raw(datatype, &back).unwrap(), raw);
        }
    }

    #[test]
    fn values_outside_their_range_are_refused() {
        let typed = InferTensorContents {
            int_contents: vec![128],
            uint_contents: vec![256],
            ..InferTensorContents::default()
        };
        assert_eq!(to_raw(DataType::Int8, &typed), None);
        assert_eq!(to_raw(DataType::Uint8, &typed), None);
    }
}
