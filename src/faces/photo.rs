//! Face photo: a whole photo in, every face with its score out: detect → crop → quality, all faces of
//! all photos of a request in full batches.

use schemars::JsonSchema;
use serde::Serialize;

use super::crop_output::{self, CropKeeper, CropPixels};
use super::{Crop, Detection, Detector, SIDE, SOURCE, align};
use crate::error::Error;
use crate::pixel::{Normalize, Options, Scratch};
use crate::transformer::{
    Column, Columns, Cx, Input, Model, Row, RowMut, RowRef, Rows, Transformer, nest,
};
use crate::wire::tensor::DataType;

/// How a face is cut out for the quality model (`--face_crop`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum FaceCrop {
    /// The square around the box.
    #[default]
    Square,
    /// Turned and scaled so that eyes, nose and mouth lie where face models expect them
    Align,
}

/// How faces are found and cut out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhotoOptions {
    /// `--detect_side`: the longer side of a photo as the detector sees it.
    pub detect_side: usize,
    /// `--detect_threshold`: how certain the detector must be of a face, 0–1.
    pub detect_threshold: f32,
    /// `--face_margin`: the side of the square, in longer sides of the box.
    pub face_margin: f32,
    /// `--face_crop`.
    pub face_crop: FaceCrop,
}

/// Photo → faces → a score for each.
#[derive(Debug)]
pub struct FacePhoto {
    detector: Detector,
    quality: Model,
    options: PhotoOptions,
}

/// A face of a photo.
#[derive(Debug, JsonSchema, Serialize)]
pub struct Face {
    /// The quality, FP32 widened to a double.
    score: f64,
    /// Left, top, width and height in the photo's pixels.
    #[serde(rename = "box")]
    rect: [f32; 4],
    /// Eyes, nose, corners of the mouth.
    landmarks: [[f32; 2]; 5],
    /// How certain the detector is, 0–1.
    detection: f32,
    /// What the quality model was given.
    #[serde(skip)]
    crop: CropPixels,
}

/// The faces of a photo, the best score first.
#[derive(Debug, JsonSchema, Serialize)]
#[serde(transparent)]
pub struct Faces(Vec<Face>);

impl FacePhoto {
    /// Finds faces with `detector`, whose signature is [`Detector::signature`], and scores them with
    /// `quality`, whose is [`FaceQuality::signature`](super::FaceQuality::signature).
    pub fn new(detector: Model, quality: Model, pixel: Options, options: PhotoOptions) -> Self {
        Self {
            detector: Detector {
                model: detector,
                pixel,
                side: options.detect_side,
                threshold: options.detect_threshold,
            },
            quality,
            options,
        }
    }
}

impl Transformer for FacePhoto {
    type Row = Faces;

    fn models(&self) -> Vec<Model> {
        vec![self.detector.model.clone(), self.quality.clone()]
    }

    async fn run(&self, input: Input, cx: &Cx<'_>) -> Result<Rows<Faces>, Error> {
        let (crops, nest) = nest(self.detector.detect(input.images()?, cx).await?);
        let (options, keeper) = (self.options, CropKeeper::new(cx));
        let fill = move |crop: Crop, row: &mut RowMut, scratch: &mut Scratch| {
            fill_crop(&crop, &options, row, scratch)?;
            Ok((crop.detection, keeper.keep(row)?))
        };
        let scored = cx.values(&self.quality, crops, fill, Face::read).await?;
        let photos = nest.fold(scored).into_iter();
        Ok(photos.map(|faces| faces.map(Faces::best_first)).collect())
    }
}

/// The quality model's input.
fn fill_crop(
    crop: &Crop,
    options: &PhotoOptions,
    row: &mut RowMut,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let aligned = match options.face_crop {
        FaceCrop::Align => align(crop.photo(), &crop.detection.landmarks),
        FaceCrop::Square => None,
    };
    let image = match &aligned {
        Some(aligned) => aligned.image(),
        // Landmarks without a direction leave the square.
        None => crop.square(options.face_margin)?,
    };
    row.image(0, image, [SIDE; 2], &Normalize::CENTERED, scratch);
    Ok(())
}

impl Face {
    fn read((face, crop): (Detection, CropPixels), row: RowRef<'_>) -> Result<Self, Error> {
        Ok(Self {
            score: f64::from(row.number(0)?),
            rect: face.rect,
            landmarks: face.landmarks,
            detection: face.confidence,
            crop,
        })
    }
}

impl Faces {
    fn best_first(mut faces: Vec<Face>) -> Self {
        faces.sort_by(|a, b| b.score.total_cmp(&a.score));
        Self(faces)
    }
}

impl Row for Faces {
    const SOURCE: &'static str = SOURCE;

    fn data(&self) -> impl Serialize + JsonSchema + '_ {
        self
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::new("score", DataType::Fp32, &[1]),
            Column::new("box", DataType::Fp32, &[4]),
            Column::new("landmarks", DataType::Fp32, &[5, 2]),
            Column::new("detection", DataType::Fp32, &[1]),
            Column::new("image_index", DataType::Int32, &[1]),
            crop_output::column(),
        ]
    }

    fn write(&self, image: usize, to: &mut Columns) -> Result<(), Error> {
        for face in &self.0 {
            to.fp32("score", &[face.score as f32])?;
            to.fp32("box", &face.rect)?;
            to.fp32("landmarks", face.landmarks.as_flattened())?;
            to.fp32("detection", &[face.detection])?;
            to.int32("image_index", &[image as i32])?;
            face.crop.write(to)?;
        }
        Ok(())
    }
}
