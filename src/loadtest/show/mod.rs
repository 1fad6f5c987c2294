//! How results are shown: text, a page with plots, progress.

pub(in crate::loadtest) mod html;
pub(in crate::loadtest) mod plot;
pub(in crate::loadtest) mod progress;
pub(in crate::loadtest) mod text;
pub(in crate::loadtest) mod units;
