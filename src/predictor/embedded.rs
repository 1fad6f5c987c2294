//! A model in this process, of FP32 tensors. Each row is a run of its own, so that its output is the same to the
//! last bit whatever it was batched with; the rows of a call run side by side.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::try_join_all;
use rten::{
    DataType, Dimension, Model, NodeId, RunOptions, ThreadPool, Value, ValueType, ValueView,
};
use rten_tensor::Layout;

use crate::predictor::{EmbeddedModel, Error, Signature, TensorSpec};
use crate::wire::tensor::{Tensor, fp32};
use crate::workers::Workers;

/// Runs that may wait for a thread; callers beyond that wait for a place in the queue.
const QUEUE: usize = 1024;

/// A loaded model and the threads that run it.
#[derive(Debug)]
pub(super) struct Embedded {
    model: Arc<Loaded>,
    threads: Workers<Thread>,
}

struct Loaded {
    model: Model,
    /// In the signature's order, as the outputs are.
    inputs: Vec<NodeId>,
    outputs: Vec<(NodeId, TensorSpec)>,
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
    /// One for each input.
    values: Vec<Vec<f32>>,
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

    pub(super) async fn infer(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        let rows = inputs.first().map_or(0, Tensor::rows);
        let inputs: Vec<_> = inputs.into_iter().map(Input::new).collect();
        let runs = (0..rows).map(|row| {
            let model = Arc::clone(&self.model);
            let inputs: Vec<_> = inputs.iter().map(|input| input.row(row)).collect();
            self.threads.run(move |thread| model.run(&inputs, thread))
        });
        let results = try_join_all(runs).await;
        let results = results.map_err(|panicked| Error::Internal(panicked.to_string()))?;
        let mut outputs: Vec<Output> = self
            .model
            .outputs
            .iter()
            .map(|_| Output::default())
            .collect();
        for row in results {
            for (output, (shape, values)) in outputs.iter_mut().zip(row?) {
                values
                    .iter()
                    .for_each(|&value| output.data.put_f32_le(value));
                output.row = shape;
            }
        }
        let tensor = |Output { row, data }| Tensor::fp32(data.freeze(), rows, &row);
        Ok(outputs.into_iter().map(tensor).collect())
    }
}

/// An input of a call, to be cut into rows.
struct Input {
    /// `[1, …row]`.
    shape: Arc<[usize]>,
    data: Bytes,
    row_bytes: usize,
}

impl Input {
    fn new(tensor: Tensor) -> Self {
        let row = tensor.shape().iter().skip(1).map(|&size| size as usize);
        let shape: Arc<[usize]> = std::iter::once(1).chain(row).collect();
        let row_bytes = tensor.byte_len() / tensor.rows().max(1);
        Self {
            shape,
            data: tensor.into_data(),
            row_bytes,
        }
    }

    fn row(&self, index: usize) -> (Arc<[usize]>, Bytes) {
        let begin = index * self.row_bytes;
        let row = self.data.slice(begin..begin + self.row_bytes);
        (Arc::clone(&self.shape), row)
    }
}

/// An output of a call while its rows are put together; the last row's shape is that of all, since
/// their inputs have one shape.
#[derive(Default)]
struct Output {
    row: Vec<i64>,
    data: BytesMut,
}

/// An output of one run: its shape without the batch axis, and its values.
type RowOutput = (Vec<i64>, Vec<f32>);

impl Loaded {
    /// Finds the tensors of the signature in the model.
    fn new(model: Model, signature: &Signature) -> Result<Self, String> {
        let find = |what: &str, spec: &TensorSpec, ids: &[NodeId]| {
            let name = &spec.name;
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
                Dimension::Fixed(size) => *expected == -1 || *size as i64 == *expected,
                Dimension::Symbolic(_) => true,
            };
            let row = &spec.row;
            let row_fits = shape.is_empty()
                || shape.len() == row.len() + 1 && shape.iter().skip(1).zip(row).all(fits);
            if !row_fits {
                return Err(format!(
                    "has {what} {name:?} with another shape than [N, …{row:?}]"
                ));
            }
            Ok(id)
        };
        let inputs = signature.inputs.iter();
        let inputs = inputs.map(|spec| find("input", spec, model.input_ids()));
        let inputs = inputs.collect::<Result<_, _>>()?;
        let outputs = signature.outputs.iter().map(|spec| {
            let id = find("output", spec, model.output_ids())?;
            Ok((id, spec.clone()))
        });
        let outputs = outputs.collect::<Result<_, String>>()?;
        Ok(Self {
            inputs,
            outputs,
            model,
        })
    }

    /// One row.
    fn run(
        &self,
        inputs: &[(Arc<[usize]>, Bytes)],
        thread: &mut Thread,
    ) -> Result<Vec<RowOutput>, Error> {
        thread.values.resize_with(inputs.len(), Vec::new);
        for ((_, row), values) in inputs.iter().zip(&mut thread.values) {
            // The bytes of a message need not be aligned as floats are.
            values.clear();
            values.extend(fp32(row));
        }
        let mut given = Vec::with_capacity(inputs.len());
        for ((id, (shape, _)), values) in self.inputs.iter().zip(inputs).zip(&thread.values) {
            let view = ValueView::from_shape(&shape[..], values)
                .map_err(|error| Error::Internal(error.to_string()))?;
            given.push((*id, view.into()));
        }
        let ids: Vec<_> = self.outputs.iter().map(|(id, _)| *id).collect();
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&thread.pool)));
        let outputs = self
            .model
            .run(given, &ids, Some(options))
            .map_err(|error| Error::ErrorResponse {
                code: "INTERNAL".to_owned(),
                message: error.to_string(),
            })?;
        let outputs = outputs.into_iter().zip(&self.outputs);
        outputs
            .map(|(output, (_, spec))| {
                let tensor = Value::into_tensor::<f32>(output)
                    .filter(|tensor| spec.fits(&row_of(tensor.shape())));
                let tensor = tensor.ok_or_else(|| {
                    let name = &spec.name;
                    Error::InvalidResponse(format!("the model's output {name:?} has another shape"))
                })?;
                Ok((row_of(tensor.shape()), tensor.into_data()))
            })
            .collect()
    }
}

/// A shape without its batch axis.
fn row_of(shape: &[usize]) -> Vec<i64> {
    shape.iter().skip(1).map(|&size| size as i64).collect()
}
