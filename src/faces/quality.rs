//! Face quality: an image of a face in, one score out.

use bytes::BytesMut;

use crate::error::{Error, Kind};
use crate::pixel::{self, Options, SIDE, Scratch};
use crate::predictor::Signature;
use crate::transformer::{Row, Transformer};

/// The demonstration model, an ONNX file, which answers when no predictor is named.
#[cfg(feature = "embedded")]
pub static ONNX: &[u8] = include_bytes!("../../data/models/face_quality.onnx");

/// What `extra_info.source` of every response says.
pub const SOURCE: &str = "face_quality_score";

/// The first transformer: image → 3 × 112 × 112 values → score.
#[derive(Debug)]
pub struct FaceQuality {
    signature: Signature,
    options: Options,
}

impl FaceQuality {
    /// For the predictor's model and tensors of these names.
    pub fn new(model: String, input: String, output: String, options: Options) -> Self {
        let side = SIDE as i64;
        Self {
            signature: Signature {
                model,
                input,
                input_row: vec![3, side, side],
                output,
                output_row: vec![1],
            },
            options,
        }
    }
}

impl Transformer for FaceQuality {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn preprocess(
        &self,
        image: &[u8],
        scratch: &mut Scratch,
        planes: &mut [BytesMut; 3],
    ) -> Result<(), Error> {
        Ok(pixel::to_planes(image, &self.options, scratch, planes)?)
    }

    fn postprocess(&self, row: &[f32]) -> Row {
        match *row {
            [score] if score.is_finite() => Ok(score),
            [score] => Err(Error::new(
                Kind::BadGateway,
                format!("the predictor's score is {score}, which is no number to answer"),
            )),
            _ => Err(Error::new(
                Kind::BadGateway,
                format!(
                    "the predictor gave {} values for one image instead of 1",
                    row.len()
                ),
            )),
        }
    }
}
