//! An image as the input of a model, in the datatype in which the predictor takes it.

use crate::error::Error;
use crate::pixel::{
    self, Colours, Image, Layout, Normalize, Options, Scratch, TensorFormat, Values,
};
use crate::predictor::TensorSpec;
use crate::transformer::RowMut;
use crate::wire::tensor::DataType;

/// An input of RGB planes. In FP16 the values are rounded; in UINT8 they are the bytes of the image,
/// and the model's first node normalises them.
pub(super) fn image_input(name: impl Into<String>, row: &[i64]) -> TensorSpec {
    TensorSpec::fp32(name, row)
        .or(DataType::Fp16)
        .or(DataType::Uint8)
}

/// What is not FP32.
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

/// Decodes an image and fills the row of the model's first input with it, (x − 127.5) / 128.
pub(super) fn encoded(
    image: &[u8],
    size: [usize; 2],
    options: &Options,
    row: &mut RowMut,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    match row.datatype(0) {
        DataType::Fp32 => row.parts(0, |planes| {
            pixel::to_planes(image, size, options, scratch, planes)
        })?,
        datatype => {
            let format = format(datatype, &Normalize::CENTERED);
            pixel::to_tensor(image, size, options, &format, scratch, row.values(0))?;
        }
    }
    Ok(())
}

/// Fills the row of the model's first input with an image.
pub(super) fn decoded(
    image: Image<'_>,
    size: [usize; 2],
    normalize: &Normalize,
    row: &mut RowMut,
    scratch: &mut Scratch,
) {
    match row.datatype(0) {
        DataType::Fp32 => row.parts(0, |planes| {
            image.append_planes(size, normalize, &mut scratch.resizer, planes);
        }),
        datatype => {
            let format = format(datatype, normalize);
            image.append(size, &format, &mut scratch.resizer, row.values(0));
        }
    }
}
