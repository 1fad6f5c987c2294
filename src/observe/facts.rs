//! What is known of a request when it ends, beside its times. Filled in on the way by whoever knows.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::metrics::ModelMetrics;
use super::reason::Reason;

/// Shared by all parts of a request.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    model: OnceLock<Arc<ModelMetrics>>,
    id: OnceLock<String>,
    reason: OnceLock<Reason>,
    images: AtomicUsize,
    calls: AtomicUsize,
    request_bytes: AtomicUsize,
    response_bytes: AtomicUsize,
}

impl Facts {
    /// The request is for this model, which is served.
    pub(crate) fn set_model(&self, model: &Arc<ModelMetrics>) {
        self.model.get_or_init(|| Arc::clone(model));
    }

    /// The metrics of its model.
    pub(crate) fn model(&self) -> Option<&Arc<ModelMetrics>> {
        self.model.get()
    }

    /// The message itself has an id, which goes before that of the request.
    pub(crate) fn set_id(&self, id: &str) {
        self.id.get_or_init(|| id.to_owned());
    }

    /// The message's own id.
    pub(crate) fn id(&self) -> Option<&str> {
        self.id.get().map(String::as_str)
    }

    /// The request is answered with an error. The first reason counts.
    pub(crate) fn set_reason(&self, reason: Reason) {
        let _ = self.reason.set(reason);
    }

    /// Why it is answered with an error; nothing where it is not.
    pub(crate) fn reason(&self) -> Option<Reason> {
        self.reason.get().copied()
    }

    /// It has this many images, or rows of a tensor.
    pub(crate) fn set_images(&self, images: usize) {
        self.images.store(images, Relaxed);
    }

    /// Its images.
    pub(crate) fn images(&self) -> usize {
        self.images.load(Relaxed)
    }

    /// The predictor answered a call for it, with this many rows and after this time.
    pub(crate) fn add_call(&self, rows: usize, took: Duration) {
        self.calls.fetch_add(1, Relaxed);
        if let Some(model) = self.model() {
            model.statistics.record_call(rows, took);
        }
    }

    /// Its calls to predictors.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Relaxed)
    }

    /// Its body, or its message, has this many bytes as they were sent.
    pub(crate) fn set_request_bytes(&self, bytes: usize) {
        self.request_bytes.store(bytes, Relaxed);
    }

    /// The bytes of its body.
    pub(crate) fn request_bytes(&self) -> usize {
        self.request_bytes.load(Relaxed)
    }

    /// Its response has this many bytes.
    pub(crate) fn set_response_bytes(&self, bytes: usize) {
        self.response_bytes.store(bytes, Relaxed);
    }

    /// The bytes of its response.
    pub(crate) fn response_bytes(&self) -> usize {
        self.response_bytes.load(Relaxed)
    }
}
