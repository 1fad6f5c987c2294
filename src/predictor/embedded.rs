//! The model in this process: an ONNX file run by rten, pictures side by side.

use std::path::Path;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::try_join_all;
use rten::{Model, NodeId, RunOptions, ThreadPool};
use rten_tensor::TensorView;
use rten_tensor::prelude::*;

use super::Signature;
use crate::wire::tensor::{Tensor, fp32};
use crate::workers::Workers;

/// The demonstration model; see data/models.
static BUILT_IN: &[u8] = include_bytes!("../../data/models/face_quality.onnx");

/// Rows in one call. Pictures run one by one, so that it is only the size of a request's share.
pub(super) const MAX_BATCH: usize = 32;

/// Pictures that wait for a thread, per thread.
const WAITING_PER_THREAD: usize = 256;

/// Why a model cannot be embedded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read, or is no ONNX model that rten runs.
    #[error("--embedded_model {file}: {reason}")]
    Load {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The system gives no threads.
    #[error("threads for the embedded model cannot be started: {0}")]
    Threads(std::io::Error),
}

/// A loaded model and the threads it runs on.
#[derive(Debug)]
pub struct Embedded {
    model: Arc<Loaded>,
    threads: Workers<Arc<ThreadPool>>,
}

/// The model and its ends.
struct Loaded {
    model: Model,
    input: NodeId,
    output: NodeId,
    shape: Vec<usize>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

impl Embedded {
    /// Loads the built-in model or a file, and tries it once.
    pub(super) fn load(
        file: Option<&Path>,
        signature: &Signature,
        threads: usize,
    ) -> Result<Self, Error> {
        let model = match file {
            None => Model::load_static_slice(BUILT_IN),
            Some(file) => Model::load_file(file),
        };
        let failed = |reason: String| Error::Load {
            file: file.map_or("(built in)".to_owned(), |file| file.display().to_string()),
            reason,
        };
        let model = model.map_err(|error| failed(error.to_string()))?;
        let node = |what: &str, name: &str| {
            model
                .node_id(name)
                .map_err(|_| failed(format!("it has no {what} {name:?}")))
        };
        let mut shape = vec![1];
        shape.extend(signature.input_row.iter().map(|&side| side as usize));
        let loaded = Loaded {
            input: node("input", &signature.input)?,
            output: node("output", &signature.output)?,
            shape,
            model,
        };
        let threads = Workers::start("model", threads, threads * WAITING_PER_THREAD, || {
            // One thread a picture: the next picture is better work for another core than a part
            // of this one.
            Arc::new(ThreadPool::with_num_threads(1))
        })
        .map_err(Error::Threads)?;
        let row = signature.input_row.iter().product::<i64>() as usize;
        let zeros = Bytes::from(vec![0; row * size_of::<f32>()]);
        let wanted = signature.output_row.iter().product::<i64>() as usize;
        let values = loaded
            .run(&zeros, Arc::new(ThreadPool::with_num_threads(1)))
            .map_err(failed)?;
        if values.len() != wanted {
            return Err(failed(format!(
                "its output {:?} has {} values per picture, expected {wanted}",
                signature.output,
                values.len()
            )));
        }
        Ok(Self {
            model: Arc::new(loaded),
            threads,
        })
    }

    /// Runs the rows side by side; each alone, so that a score does not depend on its neighbours.
    pub(super) async fn infer(
        &self,
        input: Tensor,
        signature: &Signature,
    ) -> Result<Tensor, super::Error> {
        let rows = input.rows();
        let runs = input.split(1).into_iter().map(|row| {
            let (model, row) = (Arc::clone(&self.model), row.into_data());
            self.threads
                .run(move |pool| model.run(&row, Arc::clone(pool)))
        });
        let outputs = try_join_all(runs)
            .await
            .map_err(|panicked| super::Error::Bug(panicked.to_string()))?;
        let mut data = BytesMut::new();
        for output in outputs {
            for value in output.map_err(super::Error::Bug)? {
                data.put_f32_le(value);
            }
        }
        Ok(Tensor::shared(data.freeze(), rows, &signature.output_row))
    }
}

impl Loaded {
    /// One row's output.
    fn run(&self, row: &[u8], pool: Arc<ThreadPool>) -> Result<Vec<f32>, String> {
        let values: Vec<f32> = fp32(row).collect();
        let input = TensorView::from_data(self.shape.as_slice(), values.as_slice());
        let options = RunOptions::default().with_thread_pool(Some(pool));
        let [output] = self
            .model
            .run_n(
                vec![(self.input, input.into())],
                [self.output],
                Some(options),
            )
            .map_err(|error| format!("the embedded model cannot run: {error}"))?;
        let output: rten_tensor::Tensor<f32> = output
            .try_into()
            .map_err(|_| "the embedded model's output is not FP32".to_owned())?;
        Ok(output.to_vec())
    }
}
