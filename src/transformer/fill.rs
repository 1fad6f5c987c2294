//! Rows of a model's inputs, filled in place: in the memory of the message in which they go out.

use std::sync::Arc;

use bytes::BytesMut;

use crate::error::Error;
use crate::pixel::{
    self, Colours, Image, Layout, Normalize, Options, Scratch, TensorFormat, Values,
};
use crate::predictor::Signature;
use crate::wire::tensor::{BatchBuilder, DataType, Tensor, in_parts};

/// One row of each of a model's inputs, to be filled on a pixel thread.
#[derive(Debug)]
pub struct RowMut {
    inputs: Vec<InputRow>,
}

#[derive(Debug)]
struct InputRow {
    datatype: DataType,
    /// Without the batch axis.
    shape: Arc<[i64]>,
    /// Empty, with capacity for the row where its size is known.
    values: BytesMut,
    /// Where the row's shape is its own.
    own: Option<BatchBuilder>,
}

impl InputRow {
    /// Bytes of the row; nothing where they are not known ahead.
    fn bytes(&self) -> Option<usize> {
        let mut bytes = self.datatype.size()?;
        for &size in &*self.shape {
            bytes = bytes.checked_mul(usize::try_from(size).ok()?)?;
        }
        Some(bytes)
    }
}

impl RowMut {
    /// The datatype in which the predictor takes this input.
    ///
    /// # Panics
    ///
    /// Where the signature has fewer inputs; so do the other functions.
    pub fn datatype(&self, input: usize) -> DataType {
        self.inputs[input].datatype
    }

    /// Says which shape the row of an input with free axes has, and makes room for it.
    pub fn set_shape(&mut self, input: usize, shape: &[i64]) {
        let row = &mut self.inputs[input];
        row.shape = shape.into();
        let (builder, mut rows) = BatchBuilder::rows(1, row.bytes().unwrap_or_default());
        row.own = Some(builder);
        row.values = rows.pop().unwrap_or_default();
    }

    /// The bytes of an input's row: append all of its elements, little-endian. Elements of BYTES have
    /// their length in front.
    pub fn values(&mut self, input: usize) -> &mut BytesMut {
        &mut self.inputs[input].values
    }

    /// Lets `fill` append to the `N` equal parts of an input's row in any order, such as the planes
    /// of an image.
    pub fn parts<const N: usize, T>(
        &mut self,
        input: usize,
        fill: impl FnOnce(&mut [BytesMut; N]) -> T,
    ) -> T {
        let row = &mut self.inputs[input];
        let part_bytes = row.bytes().unwrap_or_default() / N;
        in_parts(&mut row.values, part_bytes, fill)
    }

    /// Decodes an image, resizes it to the width and height `size` with OpenCV's bits and fills an
    /// input's row with its red, green and blue plane. Where the predictor takes UINT8, these are the
    /// bytes as they are, and the model's first node normalises them.
    ///
    /// # Errors
    ///
    /// When the image cannot be read.
    pub fn encoded_image(
        &mut self,
        input: usize,
        image: &[u8],
        size: [usize; 2],
        options: &Options,
        normalize: &Normalize,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        if self.datatype(input) == DataType::Fp32 && *normalize == Normalize::CENTERED {
            return Ok(self.parts(input, |planes| {
                pixel::to_planes(image, size, options, scratch, planes)
            })?);
        }
        let format = format(self.datatype(input), normalize);
        let tensor = self.values(input);
        Ok(pixel::to_tensor(
            image, size, options, &format, scratch, tensor,
        )?)
    }

    /// The same for an image at hand, such as a crop.
    pub fn image(
        &mut self,
        input: usize,
        image: Image<'_>,
        size: [usize; 2],
        normalize: &Normalize,
        scratch: &mut Scratch,
    ) {
        scratch.resize(|resizer| match self.datatype(input) {
            DataType::Fp32 => self.parts(input, |planes| {
                image.append_planes(size, normalize, resizer, planes);
            }),
            datatype => {
                let format = format(datatype, normalize);
                image.append(size, &format, resizer, self.values(input));
            }
        });
    }

    /// The pixels of an image that [`Self::encoded_image`] or [`Self::image`] has filled an input's row
    /// with, from the very values that are sent: row by row, red, green and blue.
    pub fn pixels(&self, input: usize, normalize: &Normalize) -> Vec<u8> {
        let row = &self.inputs[input];
        format(row.datatype, normalize).pixels(&row.values)
    }

    /// That every input has as many bytes as its shape says.
    pub(super) fn check(&self) -> Result<(), Error> {
        for (index, row) in self.inputs.iter().enumerate() {
            let expected = row.bytes();
            if expected.is_some_and(|expected| expected != row.values.len()) {
                return Err(Error::internal(format!(
                    "a row of input {index} has {} bytes where its shape {:?} has {expected:?}",
                    row.values.len(),
                    row.shape
                )));
            }
        }
        Ok(())
    }
}

/// RGB planes.
fn format(datatype: DataType, normalize: &Normalize) -> TensorFormat {
    TensorFormat {
        layout: Layout::Nchw,
        colours: Colours::Rgb,
        values: match datatype {
            DataType::Uint8 => Values::Uint8,
            DataType::Fp16 => Values::Fp16(*normalize),
            _ => Values::Fp32(*normalize),
        },
    }
}

/// The rows of one call while they are filled.
#[derive(Debug)]
pub(super) struct Chunk {
    /// One for each input; none where each row has its own.
    builders: Vec<Option<BatchBuilder>>,
    /// Bytes that are allocated.
    pub(super) bytes: usize,
}

impl Chunk {
    /// Room for `rows` rows of inputs of these datatypes.
    pub(super) fn new(
        signature: &Signature,
        datatypes: &[DataType],
        rows: usize,
    ) -> (Self, Vec<RowMut>) {
        let mut filled: Vec<_> = (0..rows)
            .map(|_| RowMut {
                inputs: Vec::with_capacity(signature.inputs.len()),
            })
            .collect();
        let mut builders = Vec::with_capacity(signature.inputs.len());
        let mut bytes = 0;
        for (spec, &datatype) in signature.inputs.iter().zip(datatypes) {
            let shape: Arc<[i64]> = spec.row.as_slice().into();
            let row_bytes = spec.row_elements().zip(datatype.size());
            let (builder, values) = match row_bytes {
                Some((elements, size)) => {
                    bytes += rows * elements * size;
                    let (builder, values) = BatchBuilder::rows(rows, elements * size);
                    (Some(builder), values)
                }
                None => (None, vec![BytesMut::new(); rows]),
            };
            builders.push(builder);
            for (row, values) in filled.iter_mut().zip(values) {
                row.inputs.push(InputRow {
                    datatype,
                    shape: Arc::clone(&shape),
                    values,
                    own: None,
                });
            }
        }
        (Self { builders, bytes }, filled)
    }

    /// The inputs of the call, without the rows that failed.
    pub(super) fn assemble(self, rows: Vec<RowMut>) -> Vec<Tensor> {
        let mut rows: Vec<_> = rows.into_iter().map(|row| row.inputs.into_iter()).collect();
        let tensor = |builder: Option<BatchBuilder>| {
            let mut column: Vec<_> = rows.iter_mut().filter_map(Iterator::next).collect();
            let (datatype, shape) = match column.first() {
                Some(row) => (row.datatype, Arc::clone(&row.shape)),
                None => (DataType::Fp32, [].into()),
            };
            let builder = builder.or_else(|| column.first_mut()?.own.take());
            let values: Vec<_> = column.into_iter().map(|row| row.values).collect();
            match builder {
                Some(builder) => builder.assemble(values, datatype, &shape),
                // BYTES have no size known ahead.
                None => {
                    let rows = std::iter::once(values.len() as i64);
                    let shape = rows.chain(shape.iter().copied()).collect();
                    Tensor::new(datatype, shape, values.concat().into())
                }
            }
        };
        self.builders.into_iter().map(tensor).collect()
    }
}
