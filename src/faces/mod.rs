//! The only place that knows faces: the models, the names of their tensors and their defaults.

mod align;
mod crop_output;
mod detection;
mod detector;
mod photo;
mod quality;

pub use align::align;
pub use detection::{Detection, MAX_FACES, Maps, input_size};
pub use detector::{Crop, Detector};
pub use photo::{Face, FaceCrop, FacePhoto, Faces, PhotoOptions};
pub use quality::{FaceQuality, Score};

/// `--model_name` unless given: the name in requests.
pub const MODEL_NAME: &str = crate::NAME;

/// The public model that takes whole photos.
pub const PHOTO_MODEL_NAME: &str = "facephoto";

/// `--detector_model` unless given: the face detector's name in Triton's repository.
pub const DETECTOR_MODEL: &str = "centerface";

/// `--predictor_model` unless given: the model's name in Triton's repository.
pub const PREDICTOR_MODEL: &str = "face_quality_trt_fp16";

/// `--predictor_input` unless given: the model's FP32 input `[N,3,112,112]`.
pub const PREDICTOR_INPUT: &str = "input.1";

/// `--predictor_output` unless given: the model's FP32 output `[N,1]`.
pub const PREDICTOR_OUTPUT: &str = "1346";

/// What `extra_info.source` of every V1 response says.
const SOURCE: &str = "face_quality_score";

/// The demonstration model, an ONNX file, which answers when no predictor is named.
#[cfg(feature = "embedded")]
pub static ONNX: &[u8] = include_bytes!("../../data/models/face_quality.onnx");

/// The detector's FP32 input `[N,3,H,W]`: RGB planes, 0–255, of [`input_size`].
pub const DETECTOR_INPUT: &str = "input.1";

/// The detector's outputs, in the order that [`Maps::new`] takes them.
pub const DETECTOR_OUTPUTS: [&str; 4] = ["537", "538", "539", "540"];

/// The face detector, an ONNX file, for where no predictor has it.
#[cfg(feature = "embedded")]
pub static DETECTOR_ONNX: &[u8] = include_bytes!("../../data/models/centerface.onnx");

/// Height and width of the model's input.
pub const SIDE: usize = 112;

/// Bytes of one FP32 plane of the model's input.
pub const PLANE_BYTES: usize = SIDE * SIDE * size_of::<f32>();
