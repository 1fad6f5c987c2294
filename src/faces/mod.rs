//! The only place that knows faces.

pub mod quality;
