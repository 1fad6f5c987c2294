//! The two models that the product serves.

use crate::faces::{Detector, FacePhoto, FaceQuality, PHOTO_MODEL_NAME};
use crate::predictor::{EmbeddedModel, Signature};
use crate::settings::ConfigErrors;
use crate::transformer::Model;
use crate::transformers::Transformers;

/// Face quality and, unless it is switched off, face photo.
///
/// # Errors
///
/// When a predictor cannot be used as the settings say.
pub fn transformers(models: &mut Transformers<'_>) -> Result<(), ConfigErrors> {
    let settings = models.settings();
    let names = &settings.predictor;
    let signature = FaceQuality::signature(
        names.model.clone(),
        names.input.clone(),
        names.output.clone(),
    );
    let file = names.embedded_model.clone().map(EmbeddedModel::File);
    let (name, pixel) = (settings.model_name.clone(), settings.pixel);
    let photo = settings.photo.clone();
    let quality = model(models, signature, file.or(compiled_in::QUALITY))?;
    if photo.enabled {
        let signature = Detector::signature(photo.detector);
        let detector = model(models, signature, compiled_in::DETECTOR)?;
        let transformer = FacePhoto::new(detector, quality.clone(), pixel, photo.options);
        models.serve(PHOTO_MODEL_NAME, transformer)?;
    }
    models.serve(&name, FaceQuality::new(quality, pixel))
}

/// A model of the predictor, or this one in the process where no predictor is named.
pub(super) fn model(
    models: &mut Transformers<'_>,
    signature: Signature,
    embedded: Option<EmbeddedModel>,
) -> Result<Model, ConfigErrors> {
    match embedded {
        Some(embedded) => models.model_or_embedded(signature, embedded),
        None => models.model(signature),
    }
}

/// The models of this build.
#[cfg(feature = "embedded")]
pub(super) mod compiled_in {
    use crate::faces::{DETECTOR_ONNX, ONNX};
    use crate::predictor::EmbeddedModel;

    pub(in crate::command) const QUALITY: Option<EmbeddedModel> = Some(EmbeddedModel::Bytes(ONNX));
    pub(in crate::command) const DETECTOR: Option<EmbeddedModel> =
        Some(EmbeddedModel::Bytes(DETECTOR_ONNX));
}

/// The models of this build: none.
#[cfg(not(feature = "embedded"))]
pub(super) mod compiled_in {
    use crate::predictor::EmbeddedModel;

    pub(in crate::command) const QUALITY: Option<EmbeddedModel> = None;
    pub(in crate::command) const DETECTOR: Option<EmbeddedModel> = None;
}
