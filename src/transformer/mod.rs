//! What a team writes, and what runs it: an asynchronous function from the images of a request to one
//! row for each, made of stages. A stage takes many rows in and gives many rows out, on one model
//! ([`Cx::images`], [`Cx::values`], [`Cx::tensors`]).

mod chunks;
mod erased;
mod fill;
mod input;
mod kept;
mod nest;
mod passthrough;
mod read;
mod request_pixels;
mod row;
mod source;
mod stage;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use self::erased::{AnyRows, AnyTransformer, ResponseSchemas};
pub use self::fill::RowMut;
pub use self::input::{Image, Input};
pub use self::kept::{Keeper, Kept};
pub use self::nest::{Nest, nest};
pub(crate) use self::passthrough::{Hindrance, Passthrough};
pub use self::read::RowRef;
pub(crate) use self::request_pixels::PixelBudget;
pub use self::row::{Column, Columns, Row};
pub(crate) use self::source::{PixelThreads, WorkerScratch};
pub(crate) use self::stage::Resources;
pub use self::stage::{Cx, ImageErrors};
use crate::context::RequestContext;
use crate::error::Error;
use crate::predictor::{self, Predictor, Readiness, Signature, TensorSpec};
use crate::wire::tensor::Tensor;

/// One result per image, in order; an image may fail alone.
pub type Rows<R> = Vec<Result<R, Error>>;

/// Images in, rows out. What it does between is written with the stages of [`Cx`]: one after the other
/// by `.await`, side by side by `tokio::try_join!`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a transformer",
    label = "needs `type Row`, `fn models` and `async fn run(&self, input: Input, cx: &Cx<'_>) -> Result<Rows<Self::Row>, Error>`"
)]
pub trait Transformer: Send + Sync + 'static {
    /// An image's result, and how it leaves.
    type Row: Row;

    /// The models that it calls. It takes requests when all of them do.
    fn models(&self) -> Vec<Model>;

    /// The model whose inputs callers may send ready-made, as [`Input::Tensors`]; by default they
    /// may not.
    fn tensor_input(&self) -> Option<&Model> {
        None
    }

    /// Input to rows.
    ///
    /// # Errors
    ///
    /// What fails the request as a whole: a model that does not answer, or answers what it cannot.
    fn run(
        &self,
        input: Input,
        cx: &Cx<'_>,
    ) -> impl Future<Output = Result<Rows<Self::Row>, Error>> + Send;
}

/// A model of a predictor. Clones share the predictor.
#[derive(Clone, Debug)]
pub struct Model(Arc<Predictor>);

impl Model {
    /// The model of this predictor.
    pub fn new(predictor: Arc<Predictor>) -> Self {
        Self(predictor)
    }

    /// The predictor's name of it, and its tensors.
    pub fn signature(&self) -> &Signature {
        self.0.signature()
    }

    /// Whether it takes calls.
    pub fn readiness(&self) -> Readiness {
        self.0.readiness()
    }

    /// Calls it.
    async fn infer(
        &self,
        inputs: Vec<Tensor>,
        context: &RequestContext,
    ) -> Result<Vec<Tensor>, predictor::Error> {
        self.0.infer(inputs, context).await
    }

    /// Its inputs, each with the datatype in which the predictor takes it now.
    pub fn inputs(&self) -> Vec<TensorSpec> {
        let mut inputs = self.signature().inputs.clone();
        if let Readiness::Ready { inputs: found, .. } = self.readiness() {
            for (spec, &datatype) in inputs.iter_mut().zip(&*found) {
                spec.datatypes = vec![datatype];
            }
        }
        inputs
    }

    /// Rows in one call at most: one where an axis of an input is free, since the rows of a call have
    /// one shape.
    fn rows_in_call(&self, max_batch: usize) -> usize {
        let free = |spec: &TensorSpec| spec.row_elements().is_none();
        if self.signature().inputs.iter().any(free) {
            return 1;
        }
        max_batch.max(1)
    }

    /// Calls that this many rows need.
    pub(crate) fn calls(&self, rows: usize) -> usize {
        match self.readiness() {
            Readiness::Ready { max_batch, .. } => rows.div_ceil(self.rows_in_call(max_batch)),
            Readiness::NotReady(_) => 1,
        }
    }
}
