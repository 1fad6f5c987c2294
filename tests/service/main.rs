//! What a client sees: the real service in front of a scripted Triton that speaks the real
//! protocol.

// Helpers of tests fail by panicking, as tests do.
#![allow(clippy::panic, clippy::unwrap_used)]

mod bad_input;
mod doors;
mod drain;
mod errors;
mod items;
mod load;
mod v1;
mod world;

#[path = "../world/fake_rest.rs"]
mod fake_rest;
#[path = "../world/fake_triton.rs"]
mod fake_triton;
