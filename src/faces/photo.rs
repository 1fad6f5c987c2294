//! Face photo: a whole photo in, every face with its score out: detect → crop → quality, all faces of
//! all photos of a request in full batches.

use std::sync::Arc;

use serde::Serialize;

use super::{
    DETECTOR_INPUT, DETECTOR_OUTPUTS, Detection, Maps, SIDE, SOURCE, align, fill, input_size,
};
use crate::error::Error;
use crate::pixel::{ImageBuf, Normalize, Options, Scratch, decode_owned};
use crate::predictor::{Signature, TensorSpec};
use crate::transformer::{
    Column, Columns, Cx, Input, Kept, Model, Row, RowMut, RowRef, Rows, Transformer, nest,
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
    detector: Model,
    quality: Model,
    pixel: Options,
    options: PhotoOptions,
}

/// A face of a photo.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
}

/// The faces of a photo, the best score first.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Faces(Vec<Face>);

/// A face with the photo that it is cut from.
struct Crop {
    photo: Arc<Kept<ImageBuf>>,
    detection: Detection,
}

/// Channels of heat, scale, offset and landmarks.
const DEPTHS: [i64; 4] = [1, 2, 2, 10];

impl FacePhoto {
    /// Finds faces with `detector`, whose signature is [`Self::signature`], and scores them with
    /// `quality`, whose is [`FaceQuality::signature`](super::FaceQuality::signature).
    pub fn new(detector: Model, quality: Model, pixel: Options, options: PhotoOptions) -> Self {
        Self {
            detector,
            quality,
            pixel,
            options,
        }
    }

    /// What the detector takes and gives, under this name.
    pub fn signature(model: String) -> Signature {
        let maps = DETECTOR_OUTPUTS.into_iter().zip(DEPTHS);
        let maps = maps.map(|(name, depth)| TensorSpec::fp32(name, &[depth, -1, -1]));
        Signature {
            model,
            inputs: vec![fill::image_input(DETECTOR_INPUT, &[3, -1, -1])],
            outputs: maps.collect(),
        }
    }

    /// The faces of each photo.
    async fn detect(&self, input: Input, cx: &Cx<'_>) -> Result<Rows<Vec<Crop>>, Error> {
        let (pixel, side, keeper) = (self.pixel, self.options.detect_side, cx.keeper());
        let fill = move |bytes: &[u8], row: &mut RowMut, scratch: &mut Scratch| {
            let photo = decode_owned(bytes, &pixel, scratch)?;
            let size = input_size([photo.width(), photo.height()], side);
            row.set_shape(0, &[3, size[1] as i64, size[0] as i64]);
            fill::decoded(photo.image(), size, &Normalize::NONE, row, scratch);
            let bytes = photo.byte_len();
            Ok((keeper.keep(photo, bytes), size))
        };
        let threshold = self.options.detect_threshold;
        let read = move |(photo, size): (Kept<ImageBuf>, [usize; 2]), row: RowRef<'_>| {
            let maps = [
                row.values(0)?,
                row.values(1)?,
                row.values(2)?,
                row.values(3)?,
            ];
            let maps = Maps::new(size, std::array::from_fn(|map| maps[map].as_slice()))?;
            let faces = maps.faces(threshold, [photo.width(), photo.height()])?;
            let photo = Arc::new(photo);
            let crop = |detection| Crop {
                photo: Arc::clone(&photo),
                detection,
            };
            Ok(faces.into_iter().map(crop).collect())
        };
        cx.images(&self.detector, input.images()?, fill, read).await
    }
}

impl Transformer for FacePhoto {
    type Row = Faces;

    fn models(&self) -> Vec<Model> {
        vec![self.detector.clone(), self.quality.clone()]
    }

    async fn run(&self, input: Input, cx: &Cx<'_>) -> Result<Rows<Faces>, Error> {
        let (crops, nest) = nest(self.detect(input, cx).await?);
        let options = self.options;
        let fill = move |crop: Crop, row: &mut RowMut, scratch: &mut Scratch| {
            crop.fill(&options, row, scratch)?;
            Ok(crop.detection)
        };
        let scored = cx.values(&self.quality, crops, fill, Face::read).await?;
        let photos = nest.fold(scored).into_iter();
        Ok(photos.map(|faces| faces.map(Faces::best_first)).collect())
    }
}

impl Crop {
    /// The quality model's input.
    fn fill(
        &self,
        options: &PhotoOptions,
        row: &mut RowMut,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let photo = self.photo.image();
        let aligned = match options.face_crop {
            FaceCrop::Align => align(photo, &self.detection.landmarks),
            FaceCrop::Square => None,
        };
        // Landmarks without a direction leave the square.
        let square = || {
            let size = [photo.width(), photo.height()];
            photo.crop(self.detection.square(options.face_margin, size))
        };
        let image = aligned.as_ref().map(ImageBuf::image).or_else(square);
        let image = image.ok_or_else(|| Error::internal("a face outside of its photo"))?;
        fill::decoded(image, [SIDE; 2], &Normalize::CENTERED, row, scratch);
        Ok(())
    }
}

impl Face {
    fn read(face: Detection, row: RowRef<'_>) -> Result<Self, Error> {
        Ok(Self {
            score: f64::from(row.number(0)?),
            rect: face.rect,
            landmarks: face.landmarks,
            detection: face.confidence,
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

    fn data(&self) -> impl Serialize + '_ {
        self
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::new("score", DataType::Fp32, &[1]),
            Column::new("box", DataType::Fp32, &[4]),
            Column::new("landmarks", DataType::Fp32, &[5, 2]),
            Column::new("detection", DataType::Fp32, &[1]),
            Column::new("image_index", DataType::Int32, &[1]),
        ]
    }

    fn write(&self, image: usize, to: &mut Columns) -> Result<(), Error> {
        for face in &self.0 {
            to.fp32("score", &[face.score as f32])?;
            to.fp32("box", &face.rect)?;
            to.fp32("landmarks", face.landmarks.as_flattened())?;
            to.fp32("detection", &[face.detection])?;
            to.int32("image_index", &[image as i32])?;
        }
        Ok(())
    }
}
