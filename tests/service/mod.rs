//! What a client sees: the real service in front of a scripted Triton that speaks the real
//! protocol.

mod bad_input;
mod drain;
mod errors;
mod items;
mod load;
mod memory;
mod photo;
mod protocols;
mod v1;
