//! Face quality: an image of a face in, one score out.

use bytes::BytesMut;

use super::{SIDE, SOURCE};
use crate::error::{Error, Kind};
use crate::pixel::{self, Options, Scratch};
use crate::predictor::Signature;
use crate::transformer::{CHANNELS, Row, Transformer};

/// Image → 3 × 112 × 112 values → score.
#[derive(Debug)]
pub struct FaceQuality {
    signature: Signature,
    options: Options,
}

impl FaceQuality {
    /// For the predictor's model and tensors of these names.
    pub fn new(model: String, input: String, output: String, options: Options) -> Self {
        Self {
            signature: Self::signature_of(model, input, output),
            options,
        }
    }

    /// What such a model takes and gives, under these names.
    pub fn signature_of(model: String, input: String, output: String) -> Signature {
        let side = SIDE as i64;
        Signature {
            model,
            input,
            input_row: vec![3, side, side],
            output,
            output_row: vec![1],
        }
    }
}

impl Transformer for FaceQuality {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn source(&self) -> &'static str {
        SOURCE
    }

    fn preprocess(
        &self,
        image: &[u8],
        scratch: &mut Scratch,
        planes: &mut [BytesMut; CHANNELS],
    ) -> Result<(), Error> {
        Ok(pixel::to_planes(
            image,
            [SIDE; 2],
            &self.options,
            scratch,
            planes,
        )?)
    }

    fn postprocess(&self, row: &[f32]) -> Row {
        match *row {
            [score] if score.is_finite() => Ok(score),
            [score] => Err(Error::new(
                Kind::BadGateway,
                format!("the predictor returned a non-finite score ({score})"),
            )),
            _ => Err(Error::new(
                Kind::BadGateway,
                format!(
                    "the predictor returned {} values for one image; expected 1",
                    row.len()
                ),
            )),
        }
    }
}
