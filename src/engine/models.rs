//! The models by their public names, and what each did since the start.

use std::collections::BTreeMap;

use super::queue::Queue;
use super::statistics::Statistics;
use crate::error::{Error, Kind};
use crate::quote::quote;
use crate::transformer::Model;

/// A model, the queue in front of it and its statistics.
pub(super) struct Entry {
    pub(super) model: Model,
    pub(super) queue: Queue,
    pub(super) statistics: Statistics,
}

/// The models that are served.
pub(super) struct Models(BTreeMap<String, Entry>);

impl Models {
    pub(super) fn new(models: BTreeMap<String, Model>, queue: impl Fn() -> Queue) -> Self {
        let entries = models.into_iter().map(|(name, model)| {
            let entry = Entry {
                model,
                queue: queue(),
                statistics: Statistics::default(),
            };
            (name, entry)
        });
        Self(entries.collect())
    }

    /// The public names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The model of this name.
    pub(super) fn get(&self, name: &str) -> Result<&Entry, Error> {
        self.0.get(name).ok_or_else(|| {
            let available: Vec<_> = self.names().collect();
            Error::new(
                Kind::NotFound,
                format!(
                    "unknown model {}; available: {}",
                    quote(name),
                    available.join(", ")
                ),
            )
        })
    }
}
