//! The only place that knows faces: the models, their names and their defaults.

/// The service's name: the model's in requests unless `--model_name` says otherwise, and what
/// environment variables and metrics begin with.
pub const NAME: &str = "facequality";

/// `--predictor_model` unless given: the model's name in Triton's repository.
pub const PREDICTOR_MODEL: &str = "face_quality_trt_fp16";

/// `--predictor_input` unless given: as the exported network calls it.
pub const PREDICTOR_INPUT: &str = "input.1";

/// `--predictor_output` unless given.
pub const PREDICTOR_OUTPUT: &str = "1346";

pub mod quality;
