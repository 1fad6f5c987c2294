//! What travels, in both directions: requests as clients write them and servers read them,
//! responses the other way round. What the tensors mean is not known here.
//! A leaf: it imports nothing of ours.

pub(crate) mod bounds;
pub mod bytes_tensor;
pub(crate) mod codec;
pub mod contents;
mod datatype;
pub mod error_body;
pub mod grpc;
pub mod tensor;
pub mod triton;
pub mod v1;
pub mod v2;
