//! How results are shown: text, a page with plots, progress.

pub(crate) mod caveats;
pub(crate) mod charts;
pub(crate) mod html;
pub(crate) mod plot;
pub(crate) mod progress;
pub(crate) mod text;
