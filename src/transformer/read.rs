//! Rows of a model's outputs.

use bytes::Bytes;

use crate::error::{Error, Kind};
use crate::wire::bytes_tensor::split_element;
use crate::wire::tensor::{DataType, Tensor, fp16, fp32};

/// The outputs of one call.
#[derive(Debug)]
pub(super) struct Outputs(Vec<Output>);

#[derive(Debug)]
struct Output {
    datatype: DataType,
    /// Without the batch axis.
    shape: Vec<i64>,
    row_bytes: usize,
    data: Bytes,
    /// Of BYTES, which have no size by which rows could be cut.
    elements: Vec<Bytes>,
}

impl Output {
    fn new(tensor: Tensor) -> Self {
        let (datatype, shape) = (tensor.datatype(), tensor.shape()[1..].to_vec());
        let row_bytes = tensor.byte_len() / tensor.rows().max(1);
        let data = tensor.into_data();
        let mut elements = Vec::new();
        if datatype == DataType::Bytes {
            let mut left = data.clone();
            // Whether they are whole was checked when they arrived.
            while let Ok(Some(element)) = split_element(&mut left) {
                elements.push(element);
            }
        }
        Self {
            datatype,
            shape,
            row_bytes,
            data,
            elements,
        }
    }
}

impl Outputs {
    pub(super) fn new(tensors: Vec<Tensor>) -> Self {
        Self(tensors.into_iter().map(Output::new).collect())
    }

    pub(super) fn row(&self, index: usize) -> RowRef<'_> {
        RowRef {
            outputs: self,
            index,
        }
    }
}

/// One row of each of a model's outputs.
#[derive(Clone, Copy, Debug)]
pub struct RowRef<'a> {
    outputs: &'a Outputs,
    index: usize,
}

impl<'a> RowRef<'a> {
    fn output(&self, index: usize) -> Result<&'a Output, Error> {
        let outputs = &self.outputs.0;
        outputs
            .get(index)
            .ok_or_else(|| Error::internal(format!("the signature has no output {index}")))
    }

    /// The shape of an output's row, without the batch axis.
    ///
    /// # Errors
    ///
    /// When the signature has no such output; a defect.
    pub fn shape(&self, output: usize) -> Result<&'a [i64], Error> {
        Ok(&self.output(output)?.shape)
    }

    /// The elements of a BYTES output's row.
    ///
    /// # Errors
    ///
    /// When the signature has no such output; a defect.
    pub fn elements(&self, output: usize) -> Result<&'a [Bytes], Error> {
        let output = self.output(output)?;
        let of_row = output.shape.iter().product::<i64>() as usize;
        let row = output
            .elements
            .get(self.index * of_row..(self.index + 1) * of_row);
        row.ok_or_else(|| Error::internal("the output has no such elements of BYTES"))
    }

    /// The bytes of an output's row, little-endian.
    ///
    /// # Errors
    ///
    /// When the signature has no such output, or it is of BYTES ([`Self::elements`]); a defect.
    pub fn bytes(&self, output: usize) -> Result<&'a [u8], Error> {
        let output = self.output(output)?;
        if output.datatype.size().is_none() {
            return Err(Error::internal("an output of BYTES has elements"));
        }
        let begin = self.index * output.row_bytes;
        Ok(&output.data[begin..begin + output.row_bytes])
    }

    /// The elements of an output's row as numbers of single precision.
    ///
    /// # Errors
    ///
    /// As [`Self::bytes`].
    pub fn values(&self, output: usize) -> Result<Vec<f32>, Error> {
        let bytes = self.bytes(output)?;
        Ok(match self.output(output)?.datatype {
            DataType::Fp32 => fp32(bytes).collect(),
            DataType::Fp16 => fp16(bytes).collect(),
            DataType::Bool | DataType::Uint8 => bytes.iter().map(|&byte| f32::from(byte)).collect(),
            DataType::Int8 => bytes.iter().map(|&byte| f32::from(byte as i8)).collect(),
            DataType::Int32 => {
                let values = bytes.as_chunks().0.iter();
                values
                    .map(|&value| i32::from_le_bytes(value) as f32)
                    .collect()
            }
            DataType::Int64 => {
                let values = bytes.as_chunks().0.iter();
                values
                    .map(|&value| i64::from_le_bytes(value) as f32)
                    .collect()
            }
            DataType::Bytes => Vec::new(),
        })
    }

    /// The one element of an output's row, which must be a finite number.
    ///
    /// # Errors
    ///
    /// When it is not: the predictor is broken, which fails the request.
    pub fn number(&self, output: usize) -> Result<f32, Error> {
        match self.values(output)?.as_slice() {
            [value] if value.is_finite() => Ok(*value),
            [value] => Err(Error::new(
                Kind::BadGateway,
                format!("the predictor returned a non-finite score ({value})"),
            )),
            values => Err(Error::new(
                Kind::BadGateway,
                format!(
                    "the predictor returned {} values for one image; expected 1",
                    values.len()
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::wire::bytes_tensor::put_element;

    #[test]
    fn elements_of_bytes_are_read_by_rows() {
        let mut data = BytesMut::new();
        for element in ["a", "", "long", "d"] {
            put_element(&mut data, element.as_bytes()).unwrap();
        }
        let tensor = Tensor::new(DataType::Bytes, vec![2, 2], data.freeze());
        let outputs = Outputs::new(vec![tensor]);
        assert_eq!(outputs.row(0).elements(0).unwrap(), ["a", ""]);
        assert_eq!(outputs.row(1).elements(0).unwrap(), ["long", "d"]);
        assert!(outputs.row(2).elements(0).is_err());
        assert!(outputs.row(0).values(0).is_err());
    }
}
