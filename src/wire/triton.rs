//! Triton's protocol as generated from `proto/`: messages, client and server of
//! `inference.GRPCInferenceService`.

// The generated code has no doc comments of its own; proto/ is where the messages are described.
#![allow(missing_docs, unreachable_pub, clippy::all)]

tonic::include_proto!("inference");

/// The path of ModelInfer.
pub const MODEL_INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
/// The path of ModelStreamInfer.
pub const MODEL_STREAM_INFER: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

/// The descriptors of `proto/`, encoded, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inference.fds"));
