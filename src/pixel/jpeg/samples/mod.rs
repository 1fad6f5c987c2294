//! From coefficients to pixels: the inverse DCT, upsampling and colour, with libjpeg-turbo's bits.
//!
//! A row of MCUs at a time goes through the inverse DCT into sample planes of that height, and from
//! there to RGB. Where a component is upsampled vertically each row of pixels needs the samples above
//! and below, so the last row of one step is emitted with the next ([`output`]).

pub(super) mod colour;
pub(super) mod idct;
pub(super) mod output;
pub(super) mod planes;
pub(super) mod upsample;
