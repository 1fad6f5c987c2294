//! What a run did: latencies, failures, CPU and memory, and the limits they are held to.

pub(crate) mod note;
pub(crate) mod notes;
pub(crate) mod record;
pub(crate) mod scrape;
pub(crate) mod series;
pub(crate) mod slo;
pub(crate) mod summary;
pub(crate) mod verdict;
