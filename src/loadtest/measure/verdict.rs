//! How a run did against one bound of an SLO.

use serde::Serialize;

/// How a run did against one bound, ready to be shown.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    pub bound: String,
    pub measured: String,
    pub held: bool,
}
