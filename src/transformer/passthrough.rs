//! A predictor's model served as it is, as Triton serves it: under its own tensor names and batch size.
//! It takes no images. What stands in for Triton is made of it, so calls can be made to take longer
//! and to fail.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout_at};

use super::erased::{AnyRows, AnyTransformer};
use super::{Column, Cx, Input, Model};
use crate::error::{Error, Kind};
use crate::observe::timing::Stage;
use crate::predictor;
use crate::wire::tensor::Tensor;

/// How calls of a model are made slower and worse than they are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hindrance {
    /// Calls that run at once, as on as many instances in Triton; 0 for any number.
    pub(crate) instances: usize,
    /// How much longer a call takes.
    pub(crate) delay: Duration,
    /// The share of calls that fail, from 0 to 1.
    pub(crate) failing: f64,
}

/// A model as it is.
#[derive(Debug)]
pub(crate) struct Passthrough {
    model: Model,
    instances: Semaphore,
    delay: Duration,
    failures: Failures,
}

/// The outputs of one call.
struct Outputs(Vec<Tensor>);

impl Passthrough {
    pub(crate) fn new(model: Model, hindrance: Hindrance) -> Self {
        let instances = match hindrance.instances {
            0 => Semaphore::MAX_PERMITS,
            instances => instances,
        };
        Self {
            model,
            instances: Semaphore::new(instances),
            delay: hindrance.delay,
            failures: Failures::new(hindrance.failing),
        }
    }

    async fn call(&self, input: Input, cx: &Cx<'_>) -> Result<Outputs, Error> {
        let Input::Tensors(tensors) = input else {
            return Err(Error::internal("images for a predictor's model"));
        };
        let context = cx.request();
        let _timer = context.timings.stage(Stage::Predict);
        let end = context.deadline.instant().into();
        let instance = timeout_at(end, self.instances.acquire()).await;
        let _instance = instance.map_err(|_| predictor::Error::Deadline)?;
        if !self.delay.is_zero() {
            let waited = timeout_at(end, sleep(self.delay)).await;
            waited.map_err(|_| predictor::Error::Deadline)?;
        }
        if self.failures.next() {
            return Err(Error::new(Kind::Internal, "failed on purpose (--fail)"));
        }
        Ok(Outputs(self.model.infer(tensors, context).await?))
    }
}

impl AnyTransformer for Passthrough {
    fn models(&self) -> Vec<Model> {
        vec![self.model.clone()]
    }

    fn tensor_input(&self) -> Option<&Model> {
        Some(&self.model)
    }

    fn takes_images(&self) -> bool {
        false
    }

    fn source(&self) -> &'static str {
        "passthrough"
    }

    fn columns(&self) -> Vec<Column> {
        let outputs = self.model.signature().outputs.iter();
        let column = |output: &predictor::TensorSpec| Column {
            name: output.name.clone().into(),
            datatype: output.preferred(),
            row: output.row.clone(),
            on_request: false,
        };
        outputs.map(column).collect()
    }

    fn run<'a>(
        &'a self,
        input: Input,
        cx: &'a Cx<'a>,
    ) -> BoxFuture<'a, Result<Box<dyn AnyRows>, Error>> {
        async move {
            let outputs = self.call(input, cx).await?;
            Ok(Box::new(outputs) as Box<dyn AnyRows>)
        }
        .boxed()
    }
}

impl AnyRows for Outputs {
    fn len(&self) -> usize {
        self.0.first().map_or(0, Tensor::rows)
    }

    fn error(&self, _: usize) -> Option<&Error> {
        None
    }

    // V1 takes images, so that its responses have no such rows.
    fn data(&self, _: usize) -> serde_json::Result<Box<RawValue>> {
        to_raw_value(&[(); 0])
    }

    fn prediction(&self, _: usize) -> serde_json::Result<Box<RawValue>> {
        to_raw_value(&())
    }

    fn outputs(self: Box<Self>, _: &[String]) -> Result<Vec<Tensor>, Error> {
        Ok(self.0)
    }
}

/// Failures on purpose, so that a client's handling of them can be tried: a share of the calls, evenly
/// among the others and the same ones in every run.
#[derive(Debug)]
struct Failures {
    share: f64,
    calls: AtomicU64,
}

impl Failures {
    fn new(share: f64) -> Self {
        debug_assert!((0.0..=1.0).contains(&share), "a share is from 0 to 1");
        Self {
            share,
            calls: AtomicU64::new(0),
        }
    }

    /// Whether the next call is to fail.
    fn next(&self) -> bool {
        let before = self.calls.fetch_add(1, Ordering::Relaxed) as f64;
        // Rounding must not leave the tenth tenth a little short.
        let failed = |calls: f64| (calls * self.share + 1e-9).floor();
        failed(before + 1.0) > failed(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_exact_and_spread_out() {
        for (share, failing) in [(0.0, 0), (0.1, 100), (0.25, 250), (1.0, 1000)] {
            let failures = Failures::new(share);
            let failed: Vec<_> = (0..1000).filter(|_| failures.next()).collect();
            assert_eq!(failed.len(), failing, "{share}");
            let gaps = failed.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(gaps.max().unwrap_or(0) as f64 <= 1.0 / share + 1.0);
        }
    }
}
