//! No model at all: zeros in the shape of the signature's output.

use bytes::Bytes;

use crate::predictor::Signature;
use crate::wire::tensor::Tensor;

pub(super) fn infer(signature: &Signature, input: &Tensor) -> Tensor {
    let values = signature.output_row.iter().product::<i64>() as usize;
    let zeros = Bytes::from(vec![0; input.rows() * values * size_of::<f32>()]);
    Tensor::shared(zeros, input.rows(), &signature.output_row)
}
