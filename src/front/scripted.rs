//! Something that takes tensors, for the tests of the fronts: one model `faces`, which takes
//! images or tensors of four values. An image's score is its bytes, a tensor row's its first
//! value.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::Semaphore;

use crate::admission::ByteReservation;
use crate::engine::statistics::Snapshot;
use crate::error::{Error, Kind};
use crate::oip::{Context, InferenceService, ModelDescription, TensorSpec};
use crate::predictor::Readiness;
use crate::transformer::{Image, Input};
use crate::wire::tensor::fp32;

/// The script and what was seen.
#[derive(Default)]
pub(crate) struct Scripted {
    pub(crate) not_ready: Mutex<Option<String>>,
    pub(crate) draining: AtomicBool,
    /// A request whose first image is this text fails so.
    pub(crate) fault: Option<(&'static str, Error)>,
    /// Runs wait here until permits are added.
    pub(crate) gate: Option<Semaphore>,
    /// Runs that begin are counted here.
    pub(crate) begun: AtomicUsize,
    pub(crate) inside: Arc<AtomicUsize>,
    pub(crate) most_inside: AtomicUsize,
    pub(crate) reserved: Mutex<Vec<usize>>,
    pub(crate) contexts: Mutex<Vec<(String, Context)>>,
    /// max_batch_size; 0 as the engine has it.
    pub(crate) max_batch: usize,
}

/// Counts a run until it ends or is given up.
struct Inside(Arc<AtomicUsize>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Scripted {
    fn known(&self, model: &str) -> Result<(), Error> {
        if model == "faces" {
            return Ok(());
        }
        Err(Error::new(
            Kind::NotFound,
            format!("model {model:?} is not here; there is faces"),
        ))
    }
}

#[async_trait]
impl InferenceService for Scripted {
    fn names(&self) -> Vec<String> {
        vec!["faces".to_owned()]
    }

    fn describe(&self, model: &str) -> Result<ModelDescription, Error> {
        self.known(model)?;
        Ok(ModelDescription {
            name: model.to_owned(),
            platform: "scripted",
            max_batch: self.max_batch,
            images: (self.max_batch == 0).then_some("image"),
            max_images: 100,
            input: TensorSpec {
                name: "input.1".to_owned(),
                row: vec![1, 2, 2],
            },
            output: TensorSpec {
                name: "score".to_owned(),
                row: vec![1],
            },
            alias: Some("1346".to_owned()),
            always_raw: self.max_batch > 0,
        })
    }

    fn readiness(&self, model: &str) -> Result<Readiness, Error> {
        self.known(model)?;
        Ok(match &*self.not_ready.lock().unwrap() {
            Some(reason) => Readiness::NotReady(reason.clone()),
            None => Readiness::Ready { max_batch: 32 },
        })
    }

    fn draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    fn statistics(&self, model: &str) -> Result<Snapshot, Error> {
        self.known(model)?;
        Ok(Snapshot {
            success: 2,
            images: 6,
            success_ns: 1000,
            ..Default::default()
        })
    }

    async fn run(
        &self,
        _model: &str,
        input: Input,
        id: String,
        context: Context,
    ) -> Result<Bytes, Error> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_inside.fetch_max(inside, Ordering::SeqCst);
        let _inside = Inside(Arc::clone(&self.inside));
        let timeout = context.timeout.unwrap_or(Duration::from_secs(600));
        self.contexts.lock().unwrap().push((id, context));
        if let Some(gate) = &self.gate {
            match tokio::time::timeout(timeout, gate.acquire()).await {
                Ok(permit) => permit.unwrap().forget(),
                Err(_) => return Err(Error::new(Kind::Deadline, "too late")),
            }
        }
        let mut values = BytesMut::new();
        match input {
            Input::Tensor(tensor) => {
                let rows = tensor.rows();
                let data = tensor.into_data();
                for row in data.chunks(data.len() / rows) {
                    values.put_f32_le(fp32(row).next().unwrap());
                }
            }
            Input::Images(images) => {
                for (index, image) in images.iter().enumerate() {
                    let (Image::Item(bytes) | Image::Base64(bytes) | Image::Encoded(bytes)) = image;
                    if let Some((text, error)) = &self.fault
                        && bytes == text
                    {
                        return Err(error.clone().with_image(index));
                    }
                    values.put_f32_le(bytes.len() as f32);
                }
            }
        }
        Ok(values.freeze())
    }

    async fn reserve(&self, bytes: usize) -> Result<Option<ByteReservation>, Error> {
        self.reserved.lock().unwrap().push(bytes);
        Ok(None)
    }

    async fn run_aside(&self, work: Box<dyn FnOnce() + Send>) -> Result<(), Error> {
        work();
        Ok(())
    }
}
