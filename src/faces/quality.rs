//! Face quality: an image of a face in, one score out.

use schemars::JsonSchema;
use serde::Serialize;

use super::crop_output::{self, CropKeeper, CropPixels};
use super::{SIDE, SOURCE};
use crate::error::Error;
use crate::pixel::{Normalize, Options};
use crate::predictor::{Signature, TensorSpec};
use crate::transformer::{Column, Columns, Cx, Input, Model, Row, RowRef, Rows, Transformer};
use crate::wire::tensor::DataType;

/// The output over V2 and gRPC.
const OUTPUT: &str = "score";

/// Image → 3 × 112 × 112 values → score.
#[derive(Debug)]
pub struct FaceQuality {
    model: Model,
    options: Options,
}

/// The quality of one face, FP32 widened to a double.
#[derive(Debug, JsonSchema, Serialize)]
pub struct Score {
    /// How good the face is.
    score: f64,
    /// What the model was given.
    #[serde(skip)]
    crop: CropPixels,
}

impl FaceQuality {
    /// Scores by this model, whose signature is [`Self::signature`].
    pub fn new(model: Model, options: Options) -> Self {
        Self { model, options }
    }

    /// What the model takes and gives, under these names.
    pub fn signature(model: String, input: String, output: String) -> Signature {
        let side = SIDE as i64;
        Signature {
            model,
            inputs: vec![TensorSpec::image(input, &[3, side, side])],
            outputs: vec![TensorSpec::fp32(output, &[1]).or(DataType::Fp16)],
        }
    }
}

impl Transformer for FaceQuality {
    type Row = Score;

    fn models(&self) -> Vec<Model> {
        vec![self.model.clone()]
    }

    fn tensor_input(&self) -> Option<&Model> {
        Some(&self.model)
    }

    async fn run(&self, input: Input, cx: &Cx<'_>) -> Result<Rows<Score>, Error> {
        let options = self.options;
        match input {
            Input::Images(images) => {
                let keeper = CropKeeper::new(cx);
                cx.images(
                    &self.model,
                    images,
                    move |image, row, scratch| {
                        row.encoded_image(
                            0,
                            image,
                            [SIDE; 2],
                            &options,
                            &Normalize::CENTERED,
                            scratch,
                        )?;
                        keeper.keep(row)
                    },
                    Score::read,
                )
                .await
            }
            Input::Tensors(tensors) => {
                let read = |row: RowRef<'_>| Score::read(CropPixels::NONE, row);
                cx.tensors(&self.model, tensors, read).await
            }
        }
    }
}

impl Score {
    /// The score in the model's output.
    fn read(crop: CropPixels, row: RowRef<'_>) -> Result<Self, Error> {
        let score = f64::from(row.number(0)?);
        Ok(Self { score, crop })
    }
}

impl Row for Score {
    const SOURCE: &'static str = SOURCE;

    fn prediction(&self) -> impl Serialize + JsonSchema + '_ {
        self.score
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::new(OUTPUT, DataType::Fp32, &[1]),
            crop_output::column(),
        ]
    }

    fn write(&self, _: usize, to: &mut Columns) -> Result<(), Error> {
        to.fp32(OUTPUT, &[self.score as f32])?;
        self.crop.write(to)
    }

    fn write_failed(_: usize, to: &mut Columns) -> Result<(), Error> {
        to.fp32(OUTPUT, &[f32::NAN])?;
        CropPixels::write_failed(to)
    }
}
