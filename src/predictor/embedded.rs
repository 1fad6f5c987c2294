//! The model in this process. Each row is a run of its own, so that its output is the same to the
//! last bit whatever it was batched with; the rows of a call run side by side.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::try_join_all;
use rten::{
    DataType, Dimension, Model, NodeId, RunOptions, ThreadPool, Value, ValueType, ValueView,
};

use crate::predictor::{Error, Signature};
use crate::wire::tensor::{Tensor, fp32};
use crate::workers::Workers;

/// Runs that may wait for a thread; callers beyond that wait for a place in the queue.
const QUEUE: usize = 1024;

/// Where an ONNX model is.
#[derive(Clone, Debug)]
pub enum EmbeddedModel {
    /// In a file.
    File(PathBuf),
    /// Compiled in.
    Bytes(&'static [u8]),
}

/// A loaded model and the threads that run it.
#[derive(Debug)]
pub(super) struct Embedded {
    model: Arc<Loaded>,
    threads: Workers<Thread>,
}

struct Loaded {
    model: Model,
    input: NodeId,
    output: NodeId,
    /// `[1, …row]`.
    shape: Vec<usize>,
    output_values: usize,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").finish_non_exhaustive()
    }
}

/// What a thread keeps.
#[derive(Debug)]
struct Thread {
    /// One thread for each run: rows run side by side already.
    pool: Arc<ThreadPool>,
    values: Vec<f32>,
}

impl Embedded {
    /// Loads a model for `threads` runs at once.
    pub(super) fn load(
        model: &EmbeddedModel,
        signature: &Signature,
        threads: usize,
    ) -> Result<Self, String> {
        let (name, model) = match model {
            EmbeddedModel::File(path) => (path.to_string_lossy(), Model::load_file(path)),
            EmbeddedModel::Bytes(bytes) => (
                "the compiled-in model".into(),
                Model::load_static_slice(bytes),
            ),
        };
        let model = model.map_err(|error| format!("cannot load {name}: {error}"))?;
        let loaded = Loaded::new(model, signature).map_err(|text| format!("{name} {text}"))?;
        let thread = || Thread {
            pool: Arc::new(ThreadPool::with_num_threads(1)),
            values: Vec::new(),
        };
        Ok(Self {
            model: Arc::new(loaded),
            threads: Workers::start("model", threads.max(1), QUEUE, thread)
                .map_err(|error| format!("cannot start a thread for the model: {error}"))?,
        })
    }

    pub(super) async fn infer(
        &self,
        signature: &Signature,
        input: Tensor,
    ) -> Result<Tensor, Error> {
        let rows = input.rows();
        let row_bytes = input.byte_len() / rows.max(1);
        let data = input.into_data();
        let runs = (0..rows).map(|row| {
            let model = Arc::clone(&self.model);
            let row = data.slice(row * row_bytes..(row + 1) * row_bytes);
            self.threads.run(move |thread| model.run(&row, thread))
        });
        let outputs = try_join_all(runs).await;
        let outputs = outputs.map_err(|panicked| Error::Internal(panicked.to_string()))?;
        let mut bytes = BytesMut::with_capacity(rows * self.model.output_values * 4);
        for output in outputs {
            output?.iter().for_each(|&value| bytes.put_f32_le(value));
        }
        Ok(Tensor::shared(bytes.freeze(), rows, &signature.output_row))
    }
}

impl Loaded {
    /// Finds the tensors of the signature in the model.
    fn new(model: Model, signature: &Signature) -> Result<Self, String> {
        let find = |what: &str, name: &str, row: &[i64], ids: &[NodeId]| {
            let names = ids.iter().filter_map(|&id| model.node_info(id)?.name());
            let names: Vec<_> = names.collect();
            let Some(id) = model.find_node(name).filter(|id| ids.contains(id)) else {
                return Err(format!("has no {what} {name:?}; it has {names:?}"));
            };
            let info = model.node_info(id);
            let kind = info.as_ref().and_then(|info| info.dtype());
            if kind.is_some_and(|kind| kind != ValueType::Tensor(DataType::Float)) {
                return Err(format!("has {what} {name:?} that is not FP32"));
            }
            let shape = info.and_then(|info| info.shape()).unwrap_or_default();
            let fits = |(size, expected): (&Dimension, &i64)| match size {
                Dimension::Fixed(size) => *size as i64 == *expected,
                Dimension::Symbolic(_) => true,
            };
            let row_fits = shape.is_empty()
                || shape.len() == row.len() + 1 && shape.iter().skip(1).zip(row).all(fits);
            if !row_fits {
                return Err(format!(
                    "has {what} {name:?} with another shape than [N, …{row:?}]"
                ));
            }
            Ok(id)
        };
        let input = find(
            "input",
            &signature.input,
            &signature.input_row,
            model.input_ids(),
        )?;
        let output = find(
            "output",
            &signature.output,
            &signature.output_row,
            model.output_ids(),
        )?;
        let row = signature.input_row.iter().map(|&size| size as usize);
        Ok(Self {
            input,
            output,
            shape: std::iter::once(1).chain(row).collect(),
            output_values: signature.output_row.iter().product::<i64>() as usize,
            model,
        })
    }

    /// One row.
    fn run(&self, row: &Bytes, thread: &mut Thread) -> Result<Vec<f32>, Error> {
        // The bytes of a message need not be aligned as floats are.
        thread.values.clear();
        thread.values.extend(fp32(row));
        let view = ValueView::from_shape(&self.shape, &thread.values)
            .map_err(|error| Error::Internal(error.to_string()))?;
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&thread.pool)));
        let [output] = self
            .model
            .run_n(
                vec![(self.input, view.into())],
                [self.output],
                Some(options),
            )
            .map_err(|error| Error::ErrorResponse {
                code: "INTERNAL".to_owned(),
                message: error.to_string(),
            })?;
        let values = Value::into_tensor::<f32>(output).map(|tensor| tensor.into_data());
        let values = values.filter(|values| values.len() == self.output_values);
        values.ok_or_else(|| {
            Error::InvalidResponse("the model's output has another shape".to_owned())
        })
    }
}
