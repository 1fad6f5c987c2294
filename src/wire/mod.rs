//! What travels: the JSON schema of callers, Triton's messages, and tensors in one buffer.
//! A leaf: it imports nothing of ours.

pub mod tensor;
pub mod triton;
pub mod v1;
pub mod v2;
