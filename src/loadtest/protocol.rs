//! The protocols in which a target can be loaded.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// How requests are written. The texts are those of `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// V1 JSON with base64 images
    V1,
    /// The image itself as the body of a V1 predict
    Raw,
    /// V2 REST with the binary tensor extension, input `image`
    V2,
    /// ModelInfer, input `image` BYTES
    GrpcBytes,
    /// ModelInfer, the model's own FP32 input
    GrpcTensor,
    /// ModelStreamInfer, input `image` BYTES, one request after the other on each stream
    GrpcStream,
    /// ModelInfer of the predictor's own model: Triton without the transformer
    Triton,
}

impl Protocol {
    /// Whether it goes over HTTP/2 as gRPC.
    pub fn is_grpc(self) -> bool {
        !matches!(self, Self::V1 | Self::Raw | Self::V2)
    }

    /// Whether tensors are sent instead of images.
    pub fn sends_tensors(self) -> bool {
        matches!(self, Self::GrpcTensor | Self::Triton)
    }
}

/// The name on the command line.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_possible_value() {
            Some(value) => f.write_str(value.get_name()),
            None => Ok(()),
        }
    }
}
