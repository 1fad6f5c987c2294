//! What a run did: latencies, failures, CPU and memory, and the limits they are held to.

pub(in crate::loadtest) mod procfs;
pub(in crate::loadtest) mod record;
pub(in crate::loadtest) mod scrape;
pub(in crate::loadtest) mod slo;
pub(in crate::loadtest) mod summary;
