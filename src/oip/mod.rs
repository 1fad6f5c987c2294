//! The Open Inference Protocol without its wire: what is asked of anything that takes tensors, the
//! engine or a bare predictor, and the answers in the generated messages. gRPC and V2 REST are
//! both thin over this, so that they cannot disagree.

mod contents;
mod engine;
mod passthrough;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::oneshot;

pub use self::passthrough::Passthrough;
use self::validate::{Checked, VERSION, check, check_version};
use crate::admission::ByteReservation;
use crate::engine::statistics::Snapshot;
use crate::error::Error;
use crate::observe::timing::Timings;
use crate::predictor::Readiness;
use crate::transformer::Input;
use crate::wire::triton::{
    DataType, InferBatchStatistics, InferStatistics, InferTensorContents, ModelConfig,
    ModelConfigRequest, ModelConfigResponse, ModelInferRequest, ModelInferResponse, ModelInput,
    ModelMetadataRequest, ModelMetadataResponse, ModelOutput, ModelReadyRequest, ModelStatistics,
    ModelStatisticsRequest, ModelStatisticsResponse, RepositoryIndexRequest,
    RepositoryIndexResponse, ServerMetadataResponse, StatisticDuration,
    model_infer_response::InferOutputTensor, model_metadata_response::TensorMetadata,
    repository_index_response::ModelIndex,
};

/// Work below this many bytes is done where it is; above it would hold up other connections.
const ASIDE_BYTES: usize = 256 * 1024;

/// The tensors of a model as its callers see them.
#[derive(Clone, Debug)]
pub struct ModelDescription {
    /// The model's name here.
    pub name: String,
    /// Triton's word for what runs the model.
    pub platform: &'static str,
    /// 0: the first axis is part of the shapes, and any number of rows may come.
    pub max_batch: usize,
    /// A BYTES input of shape `[-1]` which takes images in place of `input`.
    pub images: Option<&'static str>,
    /// `--max_images`: elements that `images` takes.
    pub max_images: usize,
    /// The FP32 input.
    pub input: TensorSpec,
    /// The FP32 output.
    pub output: TensorSpec,
    /// Another name under which the output is given to those who ask for it.
    pub alias: Option<String>,
    /// Answers are raw even when the request was typed.
    pub always_raw: bool,
}

/// Name and shape of an FP32 tensor.
#[derive(Clone, Debug)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// Its shape without the first axis, which counts images.
    pub row: Vec<i64>,
}

impl TensorSpec {
    fn with_first(&self, first: i64) -> Vec<i64> {
        let mut shape = vec![first];
        shape.extend_from_slice(&self.row);
        shape
    }
}

/// What comes with a request beside its message.
#[derive(Clone, Debug)]
pub struct Context {
    /// The caller's own deadline, counted from the start of `timings`.
    pub timeout: Option<Duration>,
    /// Headers that go on to the predictor.
    pub headers: HeaderMap,
    /// Where the time goes.
    pub timings: Arc<Timings>,
    /// Whether BYTES elements were JSON strings: what is no item is an image in base64.
    pub strings: bool,
}

/// Whatever takes tensors.
#[async_trait]
pub trait InferenceService: Send + Sync + 'static {
    /// The models' names.
    fn names(&self) -> Vec<String>;

    /// A model's tensors.
    ///
    /// # Errors
    ///
    /// When there is no such model.
    fn describe(&self, model: &str) -> Result<ModelDescription, Error>;

    /// Whether a model takes requests.
    ///
    /// # Errors
    ///
    /// When there is no such model.
    fn readiness(&self, model: &str) -> Result<Readiness, Error>;

    /// Whether this server is about to end.
    fn draining(&self) -> bool {
        false
    }

    /// What a model did since the start.
    ///
    /// # Errors
    ///
    /// When there is no such model.
    fn statistics(&self, model: &str) -> Result<Snapshot, Error>;

    /// Input to the values of the output, FP32 and little-endian, rows in order.
    ///
    /// # Errors
    ///
    /// Everything that can go wrong, ready to be answered.
    async fn run(
        &self,
        model: &str,
        input: Input,
        id: String,
        context: Context,
    ) -> Result<Bytes, Error>;

    /// Waits for room for the bytes of a body, where there is a bound.
    ///
    /// # Errors
    ///
    /// When there is none in time.
    async fn reserve(&self, bytes: usize) -> Result<Option<ByteReservation>, Error>;

    /// Runs work on a thread that does not serve connections.
    ///
    /// # Errors
    ///
    /// When it panics.
    async fn run_aside(&self, work: Box<dyn FnOnce() + Send>) -> Result<(), Error>;
}

impl dyn InferenceService {
    /// Why some model takes no requests; nothing when all do.
    pub fn not_ready(&self) -> Option<String> {
        self.names()
            .iter()
            .find_map(|name| match self.readiness(name) {
                Ok(Readiness::Ready { .. }) => None,
                Ok(Readiness::NotReady(reason)) => Some(reason),
                Err(error) => Some(error.text),
            })
    }

    /// Whether a model takes requests; false for one that is not here.
    pub fn model_ready(&self, request: &ModelReadyRequest) -> bool {
        check_version(&request.name, &request.version).is_ok()
            && matches!(self.readiness(&request.name), Ok(Readiness::Ready { .. }))
    }

    /// Name, version and extensions of this server.
    pub fn server_metadata(&self) -> ServerMetadataResponse {
        let extensions = ["binary_tensor_data", "model_configuration", "statistics"];
        ServerMetadataResponse {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: extensions.map(str::to_owned).to_vec(),
        }
    }

    /// That there is such a model and version.
    ///
    /// # Errors
    ///
    /// When there is not.
    pub fn check_model(&self, name: &str, version: &str) -> Result<(), Error> {
        self.readiness(name)?;
        check_version(name, version)
    }

    /// Names, types and shapes of a model's tensors.
    ///
    /// # Errors
    ///
    /// When there is no such model or version.
    pub fn model_metadata(
        &self,
        request: &ModelMetadataRequest,
    ) -> Result<ModelMetadataResponse, Error> {
        let model = self.describe(&request.name)?;
        check_version(&request.name, &request.version)?;
        let images = model.images.map(|name| TensorMetadata {
            name: name.to_owned(),
            datatype: "BYTES".to_owned(),
            shape: vec![-1],
        });
        let values = |tensor: &TensorSpec| TensorMetadata {
            name: tensor.name.clone(),
            datatype: "FP32".to_owned(),
            shape: tensor.with_first(-1),
        };
        Ok(ModelMetadataResponse {
            versions: vec![VERSION.to_owned()],
            platform: model.platform.to_owned(),
            inputs: images.into_iter().chain([values(&model.input)]).collect(),
            outputs: vec![values(&model.output)],
            name: model.name,
        })
    }

    /// A model's configuration as far as clients need it to batch and name tensors right.
    ///
    /// # Errors
    ///
    /// When there is no such model or version.
    pub fn model_config(&self, request: &ModelConfigRequest) -> Result<ModelConfigResponse, Error> {
        let model = self.describe(&request.name)?;
        check_version(&request.name, &request.version)?;
        let dims = |tensor: &TensorSpec| match model.max_batch {
            0 => tensor.with_first(-1),
            _ => tensor.row.clone(),
        };
        let either = model.images.is_some();
        let images = model.images.map(|name| ModelInput {
            name: name.to_owned(),
            data_type: DataType::TypeString.into(),
            dims: vec![-1],
            optional: true,
            ..Default::default()
        });
        let values = ModelInput {
            name: model.input.name.clone(),
            data_type: DataType::TypeFp32.into(),
            dims: dims(&model.input),
            optional: either,
            ..Default::default()
        };
        let output = ModelOutput {
            name: model.output.name.clone(),
            data_type: DataType::TypeFp32.into(),
            dims: dims(&model.output),
            ..Default::default()
        };
        let config = ModelConfig {
            platform: model.platform.to_owned(),
            max_batch_size: i32::try_from(model.max_batch).unwrap_or(i32::MAX),
            input: images.into_iter().chain([values]).collect(),
            output: vec![output],
            name: model.name,
            ..Default::default()
        };
        Ok(ModelConfigResponse {
            config: Some(config),
        })
    }

    /// The statistics of one model, or of all when none is named.
    ///
    /// # Errors
    ///
    /// When there is no such model or version.
    pub fn model_statistics(
        &self,
        request: &ModelStatisticsRequest,
    ) -> Result<ModelStatisticsResponse, Error> {
        let names = match request.name.as_str() {
            "" => self.names(),
            name => {
                self.describe(name)?;
                check_version(name, &request.version)?;
                vec![name.to_owned()]
            }
        };
        let mut model_stats = Vec::with_capacity(names.len());
        for name in names {
            let snapshot = self.statistics(&name)?;
            model_stats.push(statistics_message(name, &snapshot));
        }
        Ok(ModelStatisticsResponse { model_stats })
    }

    /// The models with their states.
    pub fn repository_index(&self, request: &RepositoryIndexRequest) -> RepositoryIndexResponse {
        let entry = |name: String| {
            let reason = match self.readiness(&name) {
                Ok(Readiness::Ready { .. }) => None,
                Ok(Readiness::NotReady(reason)) => Some(reason),
                Err(error) => Some(error.text),
            };
            ModelIndex {
                name,
                version: VERSION.to_owned(),
                state: if reason.is_none() {
                    "READY".to_owned()
                } else {
                    "UNAVAILABLE".to_owned()
                },
                reason: reason.unwrap_or_default(),
            }
        };
        let models = self.names().into_iter().map(entry);
        RepositoryIndexResponse {
            models: models
                .filter(|model| !request.ready || model.reason.is_empty())
                .collect(),
        }
    }

    /// One inference. What is wrong with the request's names, types, shapes and contents is said
    /// before anything runs.
    ///
    /// # Errors
    ///
    /// Everything that can go wrong, ready to be answered.
    pub async fn infer(
        &self,
        request: ModelInferRequest,
        context: Context,
    ) -> Result<ModelInferResponse, Error> {
        let model = self.describe(&request.model_name)?;
        check_version(&request.model_name, &request.model_version)?;
        let id = request.id.clone();
        let bytes: usize = request.inputs.iter().map(contents::typed_bytes).sum();
        let form = model.clone();
        let strings = context.strings;
        let Checked {
            input,
            outputs,
            raw,
        } = self
            .aside(bytes, move || check(request, &form, strings))
            .await??;
        let rows = input.count();
        let values = self
            .run(&model.name, input, id.clone(), context)
            .await
            .map_err(|error| match (error.image, model.images) {
                (Some(index), Some(name)) => error.with_location(&format!("{name}[{index}]")),
                _ => error,
            })?;
        let mut response = ModelInferResponse {
            model_name: model.name,
            model_version: VERSION.to_owned(),
            id,
            ..Default::default()
        };
        for name in outputs {
            let shape = model.output.with_first(rows as i64);
            let mut output = InferOutputTensor {
                name,
                datatype: "FP32".to_owned(),
                shape,
                ..Default::default()
            };
            if raw || model.always_raw {
                response.raw_output_contents.push(values.clone());
            } else {
                output.contents = Some(InferTensorContents {
                    fp32_contents: crate::wire::tensor::fp32(&values).collect(),
                    ..Default::default()
                });
            }
            response.outputs.push(output);
        }
        Ok(response)
    }

    /// Runs work on `bytes` bytes here if they are few, else aside.
    ///
    /// # Errors
    ///
    /// When it panics aside.
    pub async fn aside<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        if bytes < ASIDE_BYTES {
            return Ok(work());
        }
        let (sender, result) = oneshot::channel();
        self.run_aside(Box::new(move || {
            let _ = sender.send(work());
        }))
        .await?;
        result.await.map_err(|_| Error::internal("work was lost"))
    }
}

fn statistics_message(name: String, snapshot: &Snapshot) -> ModelStatistics {
    let of = |count, ns| Some(StatisticDuration { count, ns });
    let stage = |ns| of(snapshot.success, ns);
    let batches = (snapshot.success > 0).then(|| InferBatchStatistics {
        batch_size: snapshot.images / snapshot.success,
        compute_input: stage(snapshot.input_ns),
        compute_infer: stage(snapshot.infer_ns),
        compute_output: stage(snapshot.output_ns),
    });
    ModelStatistics {
        name,
        version: VERSION.to_owned(),
        last_inference: snapshot.last_milliseconds,
        inference_count: snapshot.images,
        execution_count: snapshot.success,
        inference_stats: Some(InferStatistics {
            success: of(snapshot.success, snapshot.success_ns),
            fail: of(snapshot.fail, snapshot.fail_ns),
            queue: stage(snapshot.queue_ns),
            compute_input: stage(snapshot.input_ns),
            compute_infer: stage(snapshot.infer_ns),
            compute_output: stage(snapshot.output_ns),
            cache_hit: of(0, 0),
            cache_miss: of(0, 0),
        }),
        batch_stats: batches.into_iter().collect(),
        ..Default::default()
    }
}
