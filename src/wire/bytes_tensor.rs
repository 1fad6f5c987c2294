//! Raw BYTES tensors: elements one behind the other, each preceded by its length.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of the length in front of an element: little-endian, as Triton's clients write it.
const LENGTH_BYTES: usize = size_of::<u32>();

/// What is wrong with the bytes where an element should begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElementError {
    /// The length itself is cut off.
    #[error("{0} bytes are left where a length of {LENGTH_BYTES} bytes should be")]
    CutLength(usize),
    /// The length is more than what follows it.
    #[error("the element says {length} bytes, but {left} are left")]
    CutElement {
        /// The length as it was sent.
        length: usize,
        /// Bytes behind it.
        left: usize,
    },
}

/// Appends an element.
///
/// # Errors
///
/// An element of 4 GiB or more has no length of four bytes.
pub fn put_element(tensor: &mut BytesMut, element: &[u8]) -> Result<(), std::num::TryFromIntError> {
    tensor.put_u32_le(u32::try_from(element.len())?);
    tensor.put_slice(element);
    Ok(())
}

/// Cuts the next element off, sharing its memory; nothing at the end.
///
/// # Errors
///
/// When the bytes end inside it.
pub fn split_element(tensor: &mut Bytes) -> Result<Option<Bytes>, ElementError> {
    if tensor.is_empty() {
        return Ok(None);
    }
    if tensor.len() < LENGTH_BYTES {
        return Err(ElementError::CutLength(tensor.len()));
    }
    let length = tensor.get_u32_le() as usize;
    if length > tensor.len() {
        let left = tensor.len();
        return Err(ElementError::CutElement { length, left });
    }
    Ok(Some(tensor.split_to(length)))
}

/// The elements of a tensor; nothing when it is cut.
pub fn count(mut tensor: Bytes) -> Option<usize> {
    let mut elements = 0;
    while split_element(&mut tensor).ok()?.is_some() {
        elements += 1;
    }
    Some(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_back_in_order_without_a_copy() {
        let mut tensor = BytesMut::new();
        for element in [b"ab".as_slice(), b"", b"c"] {
            put_element(&mut tensor, element).unwrap();
        }
        let mut tensor = tensor.freeze();
        let memory = tensor.as_ptr_range();
        let mut elements = Vec::new();
        while let Some(element) = split_element(&mut tensor).unwrap() {
            assert!(element.is_empty() || memory.contains(&element.as_ptr()));
            elements.push(element);
        }
        assert_eq!(elements, [b"ab".as_slice(), b"", b"c"]);
    }

    #[test]
    fn a_cut_element_is_named_with_what_is_left() {
        let split = |bytes: &'static [u8]| split_element(&mut Bytes::from_static(bytes));
        assert_eq!(split(&[9, 0]), Err(ElementError::CutLength(2)));
        let (length, left) = (3, 1);
        let cut = Err(ElementError::CutElement { length, left });
        assert_eq!(split(&[3, 0, 0, 0, 7]), cut);
    }
}
