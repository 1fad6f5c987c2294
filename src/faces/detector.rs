//! The face detector as a stage: photos in, the faces of each out, ready to be cut out.

use std::sync::Arc;

use super::{DETECTOR_INPUT, DETECTOR_OUTPUTS, Detection, Maps, input_size};
use crate::error::Error;
use crate::pixel::{Image, ImageBuf, Normalize, Options, Scratch, decode_owned};
use crate::predictor::{Signature, TensorSpec};
use crate::transformer::{Cx, Image as Photo, Kept, Model, RowMut, RowRef, Rows};

/// Finds faces.
#[derive(Clone, Debug)]
pub struct Detector {
    /// CenterFace, whose signature is [`Self::signature`].
    pub model: Model,
    /// How photos are decoded.
    pub pixel: Options,
    /// `--detect_side`: the longer side of a photo as the detector sees it.
    pub side: usize,
    /// `--detect_threshold`: how certain the detector must be of a face, 0–1.
    pub threshold: f32,
}

/// A face with the photo that it is in. Clones share the photo.
#[derive(Clone, Debug)]
pub struct Crop {
    photo: Arc<Kept<ImageBuf>>,
    /// Where the face is.
    pub detection: Detection,
}

/// Channels of heat, scale, offset and landmarks.
const DEPTHS: [i64; 4] = [1, 2, 2, 10];

impl Detector {
    /// What the model takes and gives, under this name.
    pub fn signature(model: String) -> Signature {
        let maps = DETECTOR_OUTPUTS.into_iter().zip(DEPTHS);
        let maps = maps.map(|(name, depth)| TensorSpec::fp32(name, &[depth, -1, -1]));
        Signature {
            model,
            inputs: vec![TensorSpec::image(DETECTOR_INPUT, &[3, -1, -1])],
            outputs: maps.collect(),
        }
    }

    /// The faces of each photo, the most certain first. Decoded photos are kept, and counted among the
    /// bytes in flight, for as long as one of their faces is.
    ///
    /// # Errors
    ///
    /// As [`Cx::images`].
    pub async fn detect(&self, photos: Vec<Photo>, cx: &Cx<'_>) -> Result<Rows<Vec<Crop>>, Error> {
        let (pixel, side, keeper) = (self.pixel, self.side, cx.keeper());
        let fill = move |bytes: &[u8], row: &mut RowMut, scratch: &mut Scratch| {
            let photo = decode_owned(bytes, &pixel, scratch)?;
            let size = input_size([photo.width(), photo.height()], side);
            row.set_shape(0, &[3, size[1] as i64, size[0] as i64]);
            row.image(0, photo.image(), size, &Normalize::NONE, scratch);
            let bytes = photo.byte_len();
            Ok((keeper.keep(photo, bytes)?, size))
        };
        let threshold = self.threshold;
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
        cx.images(&self.model, photos, fill, read).await
    }
}

impl Crop {
    /// The whole photo.
    pub fn photo(&self) -> Image<'_> {
        self.photo.image()
    }

    /// The square around the face, its side `margin` × the longer one of the box, as much of it as is
    /// inside the photo.
    ///
    /// # Errors
    ///
    /// When nothing of it is; a defect.
    pub fn square(&self, margin: f32) -> Result<Image<'_>, Error> {
        let photo = self.photo();
        let square = self
            .detection
            .square(margin, [photo.width(), photo.height()]);
        let cropped = photo.crop(square);
        cropped.ok_or_else(|| Error::internal("a face outside of its photo"))
    }
}
