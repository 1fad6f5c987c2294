//! The only place that knows faces: the models, the names of their tensors and their defaults.

mod align;
mod detection;
mod quality;

pub use align::align;
pub use detection::{Detection, MAX_FACES, Maps, input_size};
pub use quality::FaceQuality;

/// `--model_name` unless given: the name in requests.
pub const MODEL_NAME: &str = crate::NAME;

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

/// Height and width of the model's input.
pub const SIDE: usize = 112;

/// Bytes of one FP32 plane of the model's input.
pub const PLANE_BYTES: usize = SIDE * SIDE * size_of::<f32>();
