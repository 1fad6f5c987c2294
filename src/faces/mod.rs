//! The only room that knows faces: the models, the names of their tensors, and what a score is.

pub mod quality;

pub use quality::FaceQuality;

/// What `extra_info.source` of every V1 response says.
pub const SOURCE: &str = "face_quality_score";

/// The public name of the model of face quality.
pub const MODEL_NAME: &str = "facequality";

/// Its name on Triton.
pub const PREDICTOR_MODEL: &str = "face_quality_trt_fp16";

/// The model's FP32 input `[N,3,112,112]`.
pub const PREDICTOR_INPUT: &str = "input.1";

/// The model's FP32 output `[N,1]`.
pub const PREDICTOR_OUTPUT: &str = "1346";
