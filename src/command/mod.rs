//! One file per sub-command.

pub mod loadtest;
