//! Something that takes tensors, for the tests of the fronts: one model `faces`, which takes
//! images or tensors of four values. An image's score is its bytes, a tensor row's its first
//! value.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use bytes::{BufMut, BytesMut};
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use crate::context::RequestContext;
use crate::error::{Error, Kind};
use crate::observe::metrics::{Metrics, ModelMetrics};
use crate::oip::{InferenceService, ModelDescription, TensorSpec};
use crate::predictor::Readiness;
use crate::transformer::{Image, Input};
use crate::wire::tensor::{DataType, Tensor, fp32};

/// The script and what was recorded.
#[derive(Default)]
pub(crate) struct Scripted {
    pub(crate) not_ready: Mutex<Option<String>>,
    pub(crate) draining: AtomicBool,
    /// A request whose first image is this text fails so.
    pub(crate) failure: Option<(&'static str, Error)>,
    /// Runs wait here until permits are added.
    pub(crate) gate: Option<Semaphore>,
    /// Runs that begin are counted here.
    pub(crate) begun: AtomicUsize,
    pub(crate) in_flight: Arc<AtomicUsize>,
    pub(crate) most_in_flight: AtomicUsize,
    /// Of each run: its input, as `Debug` shows it, and its context.
    pub(crate) runs: Mutex<Vec<(String, RequestContext)>>,
    /// Where its predictions are counted.
    pub(crate) metrics: OnceLock<Arc<ModelMetrics>>,
    /// max_batch_size; 0 as the engine has it.
    pub(crate) max_batch: usize,
}

/// Counts a run until it ends or is given up.
struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Scripted {
    fn check_name(&self, model: &str) -> Result<(), Error> {
        if model == "faces" {
            return Ok(());
        }
        Err(Error::new(
            Kind::NotFound,
            format!("unknown model {model:?}; available: faces"),
        ))
    }
}

#[async_trait]
impl InferenceService for Scripted {
    fn names(&self) -> Vec<String> {
        vec!["faces".to_owned()]
    }

    fn describe(&self, model: &str) -> Result<ModelDescription, Error> {
        self.check_name(model)?;
        Ok(ModelDescription {
            name: model.to_owned(),
            platform: "scripted",
            max_batch: self.max_batch,
            images: (self.max_batch == 0).then_some("image"),
            max_images: 100,
            tensors: vec![TensorSpec::fp32("input.1", &[1, 2, 2])],
            tensors_shown: true,
            outputs: vec![TensorSpec::fp32("score", &[1])],
            outputs_on_request: Vec::new(),
            output_alias: Some("1346".to_owned()),
            always_raw: self.max_batch > 0,
        })
    }

    fn readiness(&self, model: &str) -> Result<Readiness, Error> {
        self.check_name(model)?;
        Ok(match &*self.not_ready.lock().unwrap() {
            Some(reason) => Readiness::NotReady(reason.clone()),
            None => Readiness::Ready {
                max_batch: 32,
                inputs: Arc::new([DataType::Fp32]),
            },
        })
    }

    fn draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    fn metrics(&self, model: &str) -> Result<&Arc<ModelMetrics>, Error> {
        self.check_name(model)?;
        let made = || Arc::new(Metrics::default().model(model));
        Ok(self.metrics.get_or_init(made))
    }

    async fn run(
        &self,
        input: Input,
        _: bool,
        context: &RequestContext,
    ) -> Result<Vec<Tensor>, Error> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let in_flight = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_in_flight.fetch_max(in_flight, Ordering::SeqCst);
        let _in_flight = InFlight(Arc::clone(&self.in_flight));
        let run = (format!("{input:?}"), context.clone());
        self.runs.lock().unwrap().push(run);
        if let Some(gate) = &self.gate {
            match timeout_at(context.deadline.instant().into(), gate.acquire()).await {
                Ok(permit) => permit.unwrap().forget(),
                Err(_) => return Err(Error::new(Kind::Deadline, "too late")),
            }
        }
        let mut values = BytesMut::new();
        let count = input.count();
        match input {
            Input::Tensors(mut tensors) => {
                let tensor = tensors.remove(0);
                let rows = tensor.rows();
                let data = tensor.into_data();
                for row in data.chunks(data.len() / rows) {
                    values.put_f32_le(fp32(row).next().unwrap());
                }
            }
            Input::Images(images) => {
                for (index, image) in images.iter().enumerate() {
                    let (Image::Item(bytes) | Image::Base64(bytes) | Image::Encoded(bytes)) = image;
                    if let Some((text, error)) = &self.failure
                        && bytes == text
                    {
                        return Err(error.clone().with_image(index));
                    }
                    values.put_f32_le(bytes.len() as f32);
                }
            }
        }
        Ok(vec![Tensor::fp32(values.freeze(), count, &[1])])
    }
}
