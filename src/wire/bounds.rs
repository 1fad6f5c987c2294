//! Counts what an encoded ModelInferRequest holds before it is built: two bytes of an empty tensor
//! become more than six hundred in memory, so that a message within every byte limit could take
//! all memory there is.

/// Inputs, outputs and raw contents of a request, and parameters of each of them.
pub(super) const MAX_TENSORS: usize = 64;

/// Axes of a shape.
pub(super) const MAX_AXES: usize = 16;

/// Elements of typed BYTES contents.
const MAX_ELEMENTS: usize = 1 << 16;

/// Bytes of the typed contents that no model here takes; each of them may become eight in memory.
const MAX_INTEGER_BYTES: usize = 1 << 16;

/// More of something than a request may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {most} {what} in one request")]
pub(crate) struct TooMany {
    what: &'static str,
    most: usize,
}

/// Counts the fields of an encoded ModelInferRequest. What is malformed is left to the decoder.
///
/// # Errors
///
/// More of something than a request may hold.
pub(crate) fn check_infer_request(message: &[u8]) -> Result<(), TooMany> {
    let mut parameters = Count::new("parameters", MAX_TENSORS);
    let mut inputs = Count::new("inputs", MAX_TENSORS);
    let mut outputs = Count::new("outputs", MAX_TENSORS);
    let mut raw = Count::new("raw_input_contents", MAX_TENSORS);
    for field in Fields(message) {
        match field.number {
            4 => parameters.add(1)?,
            5 => {
                inputs.add(1)?;
                check_input(field.bytes)?;
            }
            6 => {
                outputs.add(1)?;
                let mut parameters = Count::new("parameters", MAX_TENSORS);
                for field in Fields(field.bytes) {
                    parameters.add(usize::from(field.number == 2))?;
                }
            }
            7 => raw.add(1)?,
            _ => {}
        }
    }
    Ok(())
}

fn check_input(input: &[u8]) -> Result<(), TooMany> {
    let mut parameters = Count::new("parameters", MAX_TENSORS);
    let mut axes = Count::new("axes of a shape", MAX_AXES);
    let mut elements = Count::new("elements in bytes_contents", MAX_ELEMENTS);
    let mut integers = Count::new("bytes of integer contents", MAX_INTEGER_BYTES);
    for field in Fields(input) {
        match field.number {
            3 => axes.add(field.packed())?,
            4 => parameters.add(1)?,
            // Given again, it is merged; so it is counted over all of the input.
            5 => {
                for field in Fields(field.bytes) {
                    match field.number {
                        2..=5 => integers.add(field.bytes.len().max(1))?,
                        8 => elements.add(1)?,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

struct Count {
    what: &'static str,
    left: usize,
    most: usize,
}

impl Count {
    fn new(what: &'static str, most: usize) -> Self {
        let left = most;
        Self { what, left, most }
    }

    fn add(&mut self, count: usize) -> Result<(), TooMany> {
        let Self { what, most, .. } = *self;
        self.left = self.left.checked_sub(count).ok_or(TooMany { what, most })?;
        Ok(())
    }
}

/// A field of a message; `bytes` is empty where it is not length-delimited.
struct Field<'a> {
    number: u64,
    bytes: &'a [u8],
}

impl Field<'_> {
    /// Values of a repeated varint: one, or as many as end in the packed bytes.
    fn packed(&self) -> usize {
        let ends = self.bytes.iter().filter(|&&byte| byte < 0x80).count();
        ends.max(1)
    }
}

/// The fields of a message up to the first malformed one. Groups, which no message here has, are
/// read as if their fields stood outside.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let tag = self.varint()?;
        let bytes = match tag & 7 {
            0 => {
                self.varint()?;
                &[]
            }
            1 => self.take(8).map(|_| [].as_slice())?,
            2 => {
                let length = self.varint()?;
                self.take(usize::try_from(length).ok()?)?
            }
            3 | 4 => &[],
            5 => self.take(4).map(|_| [].as_slice())?,
            _ => return None,
        };
        Some(Field {
            number: tag >> 3,
            bytes,
        })
    }
}

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for index in 0..10 {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7F) << (7 * index);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::wire::triton::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
    use crate::wire::triton::{InferParameter, InferTensorContents, ModelInferRequest};

    fn check(request: &ModelInferRequest) -> Result<(), TooMany> {
        check_infer_request(&request.encode_to_vec())
    }

    /// A request of one input that is changed.
    fn of_input(change: impl FnOnce(&mut InferInputTensor)) -> ModelInferRequest {
        let mut input = InferInputTensor {
            name: "x".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1, 300, -1],
            ..Default::default()
        };
        change(&mut input);
        ModelInferRequest {
            inputs: vec![input],
            ..Default::default()
        }
    }

    fn parameters(count: usize) -> std::collections::HashMap<String, InferParameter> {
        let names = (0..count).map(|number| number.to_string());
        names
            .map(|name| (name, InferParameter::default()))
            .collect()
    }

    #[test]
    fn what_a_request_may_hold_passes_and_one_more_does_not() {
        type Make = fn(usize) -> ModelInferRequest;
        let cases: [(&str, usize, Make); 9] = [
            ("inputs", 64, |count| ModelInferRequest {
                inputs: vec![InferInputTensor::default(); count],
                ..Default::default()
            }),
            ("outputs", 64, |count| ModelInferRequest {
                outputs: vec![InferRequestedOutputTensor::default(); count],
                ..Default::default()
            }),
            ("raw_input_contents", 64, |count| ModelInferRequest {
                raw_input_contents: vec![bytes::Bytes::new(); count],
                ..Default::default()
            }),
            ("parameters", 64, |count| ModelInferRequest {
                parameters: parameters(count),
                ..Default::default()
            }),
            ("parameters", 64, |count| {
                of_input(|input| input.parameters = parameters(count))
            }),
            ("parameters", 64, |count| ModelInferRequest {
                outputs: vec![InferRequestedOutputTensor {
                    name: "y".to_owned(),
                    parameters: parameters(count),
                }],
                ..Default::default()
            }),
            ("axes of a shape", 16, |count| {
                of_input(|input| input.shape = vec![-1; count])
            }),
            ("elements in bytes_contents", 1 << 16, |count| {
                of_input(|input| {
                    input.contents = Some(InferTensorContents {
                        bytes_contents: vec![bytes::Bytes::new(); count],
                        ..Default::default()
                    });
                })
            }),
            ("bytes of integer contents", 1 << 16, |count| {
                of_input(|input| {
                    input.contents = Some(InferTensorContents {
                        uint64_contents: vec![1; count],
                        ..Default::default()
                    });
                })
            }),
        ];
        for (what, most, make) in cases {
            assert_eq!(check(&make(most)), Ok(()), "{most} {what}");
            assert_eq!(check(&make(most + 1)), Err(TooMany { what, most }));
        }
    }

    #[test]
    fn contents_that_are_given_again_are_counted_together() {
        let input = of_input(|input| {
            input.contents = Some(InferTensorContents {
                bytes_contents: vec![bytes::Bytes::new(); 40_000],
                ..Default::default()
            });
        });
        let once = input.inputs[0].encode_to_vec();
        let mut twice = vec![5 << 3 | 2];
        prost::encode_length_delimiter(2 * once.len(), &mut twice).unwrap();
        twice.extend_from_slice(&once);
        twice.extend_from_slice(&once);
        assert_eq!(ModelInferRequest::decode(&*twice).unwrap().inputs.len(), 1);
        assert!(check_infer_request(&twice).is_err());
    }

    #[test]
    fn large_tensors_and_malformed_messages_pass() {
        let mut request = of_input(|input| {
            input.contents = Some(InferTensorContents {
                fp32_contents: vec![0.5; 1 << 20],
                ..Default::default()
            });
        });
        request.raw_input_contents = vec![vec![0x2A; 1 << 20].into()];
        assert_eq!(check(&request), Ok(()));
        for malformed in [&[0x2A][..], &[0x2A, 9, 1], &[0xFF; 20], &[0x2F, 1]] {
            assert_eq!(check_infer_request(malformed), Ok(()));
        }
    }
}
