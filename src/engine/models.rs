//! The transformers by their public names.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::queue::Queue;
use crate::error::{Error, Kind};
use crate::observe::metrics::{Metrics, ModelMetrics};
use crate::predictor::Readiness;
use crate::transformer::{AnyTransformer, Input, Model};

/// What a public model's name ends with that takes ready-made tensors.
const TENSOR_SUFFIX: &str = "-tensor";

/// A public model: a transformer, the queue in front of it, and where its predictions are counted.
pub(super) struct Entry {
    pub(super) transformer: Arc<dyn AnyTransformer>,
    /// Those that it calls.
    pub(super) models: Vec<Model>,
    /// Whether it takes the inputs of the transformer's model in place of images.
    pub(super) tensors: bool,
    pub(super) queue: Arc<Queue>,
    pub(super) metrics: Arc<ModelMetrics>,
}

impl Entry {
    /// Whether all models that it calls take calls; if not, the first reason.
    pub(super) fn readiness(&self) -> Readiness {
        let mut first = None;
        for model in &self.models {
            match model.readiness() {
                Readiness::NotReady(reason) if self.models.len() > 1 => {
                    let name = &model.signature().model;
                    return Readiness::NotReady(format!("model {name:?}: {reason}"));
                }
                Readiness::NotReady(reason) => return Readiness::NotReady(reason),
                ready => {
                    first.get_or_insert(ready);
                }
            }
        }
        first.unwrap_or_else(|| Readiness::NotReady("it calls no model".to_owned()))
    }

    /// Calls that this many images need, of the model that they come to first.
    pub(super) fn calls(&self, images: usize) -> usize {
        self.models.first().map_or(1, |model| model.calls(images))
    }

    /// The model whose inputs may be sent ready-made.
    pub(super) fn tensor_input(&self) -> Option<&Model> {
        self.transformer.tensor_input()
    }

    /// Refuses what the model does not take.
    pub(super) fn check_input(&self, name: &str, input: &Input) -> Result<(), Error> {
        match input {
            Input::Images(_) if self.tensors => {
                let images = name.strip_suffix(TENSOR_SUFFIX);
                let images = images.filter(|_| self.transformer.takes_images());
                let other = images.map(|images| format!("; images go to {images:?}"));
                Err(Error::new(
                    Kind::Invalid,
                    format!(
                        "model {name:?} takes ready-made tensors{}",
                        other.unwrap_or_default()
                    ),
                ))
            }
            _ => Ok(()),
        }
    }
}

/// The models that are served.
pub(super) struct Models(BTreeMap<String, Entry>);

impl Models {
    /// Those of the transformers, and beside each that takes ready-made tensors one for these.
    pub(super) fn new(
        transformers: BTreeMap<String, Arc<dyn AnyTransformer>>,
        queue: impl Fn() -> Queue,
        metrics: &Metrics,
    ) -> Self {
        let mut entries = BTreeMap::new();
        for (name, transformer) in transformers {
            let queue = Arc::new(queue());
            let entry = |name: &str, tensors| Entry {
                transformer: Arc::clone(&transformer),
                models: transformer.models(),
                tensors,
                queue: Arc::clone(&queue),
                metrics: Arc::new(metrics.model(name)),
            };
            if !transformer.takes_images() {
                let served = entry(&name, true);
                entries.insert(name, served);
                continue;
            }
            if transformer.tensor_input().is_some() {
                let tensors = format!("{name}{TENSOR_SUFFIX}");
                let served = entry(&tensors, true);
                entries.insert(tensors, served);
            }
            let served = entry(&name, false);
            entries.insert(name, served);
        }
        Self(entries)
    }

    /// The public names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The public names of models that take images.
    pub(super) fn image_models(&self) -> impl Iterator<Item = &str> {
        let images = self.0.iter().filter(|(_, entry)| !entry.tensors);
        images.map(|(name, _)| name.as_str())
    }

    /// All of them.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.0.values()
    }

    /// The queues with the public names of the models behind them, each once.
    pub(super) fn queues(&self) -> Vec<(String, Arc<Queue>)> {
        let images = self.0.iter().filter(|(_, entry)| !entry.tensors);
        images
            .map(|(name, entry)| (name.clone(), Arc::clone(&entry.queue)))
            .collect()
    }

    /// The model of this name.
    pub(super) fn get(&self, name: &str) -> Result<&Entry, Error> {
        let model = self.0.get(name);
        model.ok_or_else(|| Error::unknown_model(name, self.names()))
    }
}
