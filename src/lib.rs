//! A KServe transformer between clients and NVIDIA Triton.

pub mod wire;
