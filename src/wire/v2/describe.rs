//! What a server says of itself and its models, as JSON with Triton's keys: all of it written, and
//! of a model's metadata and configuration what a client needs read.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::{ParseError, invalid};
use crate::wire::triton::{
    InferBatchStatistics, ModelConfig, ModelInput, ModelMetadataResponse, ModelStatistics,
    ModelStatisticsResponse, ModelTransactionPolicy, RepositoryIndexResponse,
    ServerMetadataResponse, StatisticDuration, model_metadata_response::TensorMetadata,
    repository_index_response::ModelIndex,
};

/// `GET /v2`
pub fn server(metadata: &ServerMetadataResponse) -> impl Serialize + JsonSchema + '_ {
    Server {
        name: &metadata.name,
        version: &metadata.version,
        extensions: &metadata.extensions,
    }
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ServerMetadata")]
struct Server<'a> {
    name: &'a str,
    version: &'a str,
    extensions: &'a [String],
}

/// `GET /v2/models/{model}`
pub fn metadata(metadata: &ModelMetadataResponse) -> impl Serialize + JsonSchema + '_ {
    Metadata {
        name: &metadata.name,
        versions: &metadata.versions,
        platform: &metadata.platform,
        inputs: metadata.inputs.iter().map(Tensor::from).collect(),
        outputs: metadata.outputs.iter().map(Tensor::from).collect(),
    }
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ModelMetadata")]
struct Metadata<'a> {
    name: &'a str,
    versions: &'a [String],
    platform: &'a str,
    inputs: Vec<Tensor<'a>>,
    outputs: Vec<Tensor<'a>>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "TensorMetadata")]
struct Tensor<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: &'a [i64],
}

impl<'a> From<&'a TensorMetadata> for Tensor<'a> {
    fn from(tensor: &'a TensorMetadata) -> Self {
        Self {
            name: &tensor.name,
            datatype: &tensor.datatype,
            shape: &tensor.shape,
        }
    }
}

/// `GET /v2/models/{model}/config`
pub fn config(config: &ModelConfig) -> impl Serialize + JsonSchema + '_ {
    let inputs = config.input.iter().map(|input| ConfigTensor {
        name: &input.name,
        data_type: input.data_type().as_str_name(),
        dims: &input.dims,
        optional: Some(input.optional),
    });
    let outputs = config.output.iter().map(|output| ConfigTensor {
        name: &output.name,
        data_type: output.data_type().as_str_name(),
        dims: &output.dims,
        optional: None,
    });
    Config {
        name: &config.name,
        platform: &config.platform,
        backend: &config.backend,
        max_batch_size: config.max_batch_size,
        input: inputs.collect(),
        output: outputs.collect(),
    }
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ModelConfig")]
struct Config<'a> {
    name: &'a str,
    platform: &'a str,
    backend: &'a str,
    max_batch_size: i32,
    input: Vec<ConfigTensor<'a>>,
    output: Vec<ConfigTensor<'a>>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ModelConfigTensor")]
struct ConfigTensor<'a> {
    name: &'a str,
    data_type: &'a str,
    dims: &'a [i64],
    #[serde(skip_serializing_if = "Option::is_none")]
    optional: Option<bool>,
}

/// `GET /v2/models/{model}/stats`, `GET /v2/models/stats`
pub fn statistics(statistics: &ModelStatisticsResponse) -> impl Serialize + JsonSchema + '_ {
    Statistics {
        model_stats: statistics.model_stats.iter().map(Model::from).collect(),
    }
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ModelStatisticsList")]
struct Statistics<'a> {
    model_stats: Vec<Model<'a>>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ModelStatistics")]
struct Model<'a> {
    name: &'a str,
    version: &'a str,
    last_inference: u64,
    inference_count: u64,
    execution_count: u64,
    inference_stats: Stages,
    batch_stats: Vec<Batch>,
    response_stats: BTreeMap<&'a str, Responses>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "InferResponseStatistics")]
struct Responses {
    compute_infer: Duration,
    compute_output: Duration,
    success: Duration,
    fail: Duration,
    empty_response: Duration,
    cancel: Duration,
}

#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "InferStatistics")]
struct Stages {
    success: Duration,
    fail: Duration,
    queue: Duration,
    compute_input: Duration,
    compute_infer: Duration,
    compute_output: Duration,
    cache_hit: Duration,
    cache_miss: Duration,
}

#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "StatisticDuration")]
struct Duration {
    count: u64,
    ns: u64,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "InferBatchStatistics")]
struct Batch {
    batch_size: u64,
    compute_input: Duration,
    compute_infer: Duration,
    compute_output: Duration,
}

impl From<&Option<StatisticDuration>> for Duration {
    fn from(duration: &Option<StatisticDuration>) -> Self {
        duration
            .as_ref()
            .map_or_else(Self::default, |duration| Self {
                count: duration.count,
                ns: duration.ns,
            })
    }
}

impl From<&InferBatchStatistics> for Batch {
    fn from(batch: &InferBatchStatistics) -> Self {
        Self {
            batch_size: batch.batch_size,
            compute_input: Duration::from(&batch.compute_input),
            compute_infer: Duration::from(&batch.compute_infer),
            compute_output: Duration::from(&batch.compute_output),
        }
    }
}

impl<'a> From<&'a ModelStatistics> for Model<'a> {
    fn from(model: &'a ModelStatistics) -> Self {
        let stages = model.inference_stats.as_ref();
        let responses = model.response_stats.iter().map(|(index, responses)| {
            let responses = Responses {
                compute_infer: Duration::from(&responses.compute_infer),
                compute_output: Duration::from(&responses.compute_output),
                success: Duration::from(&responses.success),
                fail: Duration::from(&responses.fail),
                empty_response: Duration::from(&responses.empty_response),
                cancel: Duration::from(&responses.cancel),
            };
            (index.as_str(), responses)
        });
        Self {
            name: &model.name,
            version: &model.version,
            last_inference: model.last_inference,
            inference_count: model.inference_count,
            execution_count: model.execution_count,
            inference_stats: stages.map_or_else(Stages::default, |stages| Stages {
                success: Duration::from(&stages.success),
                fail: Duration::from(&stages.fail),
                queue: Duration::from(&stages.queue),
                compute_input: Duration::from(&stages.compute_input),
                compute_infer: Duration::from(&stages.compute_infer),
                compute_output: Duration::from(&stages.compute_output),
                cache_hit: Duration::from(&stages.cache_hit),
                cache_miss: Duration::from(&stages.cache_miss),
            }),
            batch_stats: model.batch_stats.iter().map(Batch::from).collect(),
            response_stats: responses.collect(),
        }
    }
}

/// `POST /v2/repository/index`
pub fn index(index: &RepositoryIndexResponse) -> impl Serialize + JsonSchema + '_ {
    let models = index.models.iter();
    models.map(IndexEntry::from).collect::<Vec<_>>()
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ModelIndex")]
struct IndexEntry<'a> {
    name: &'a str,
    version: &'a str,
    state: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
}

impl<'a> From<&'a ModelIndex> for IndexEntry<'a> {
    fn from(model: &'a ModelIndex) -> Self {
        Self {
            name: &model.name,
            version: &model.version,
            state: &model.state,
            reason: &model.reason,
        }
    }
}

/// Whether only models that are ready are asked for, by the body of a repository index; an empty
/// one asks for all.
///
/// # Errors
///
/// When it is not a JSON object with a boolean.
pub fn index_filter(body: &[u8]) -> Result<bool, ParseError> {
    #[derive(Deserialize)]
    struct Filter {
        ready: Option<bool>,
    }
    if body.trim_ascii().is_empty() {
        return Ok(false);
    }
    match serde_json::from_slice::<Filter>(body) {
        Ok(filter) => Ok(filter.ready.unwrap_or(false)),
        Err(_) => invalid("the body must be a JSON object; its key ready, if any, a boolean"),
    }
}

/// Reads the body of `GET /v2/models/{model}`: the names, datatypes and shapes of the tensors.
///
/// # Errors
///
/// When it is something else; the text does not quote it.
pub fn parse_metadata(body: &[u8]) -> Result<ModelMetadataResponse, ParseError> {
    let metadata: ReadMetadata = parse(body, "the metadata of a model")?;
    let tensors = |tensors: Vec<ReadTensor>| {
        let tensor = |tensor: ReadTensor| TensorMetadata {
            name: tensor.name,
            datatype: tensor.datatype,
            shape: tensor.shape,
        };
        tensors.into_iter().map(tensor).collect()
    };
    Ok(ModelMetadataResponse {
        inputs: tensors(metadata.inputs),
        outputs: tensors(metadata.outputs),
        ..ModelMetadataResponse::default()
    })
}

/// Reads the body of `GET /v2/models/{model}/config`: how the model takes batches.
///
/// # Errors
///
/// When it is something else; the text does not quote it.
pub fn parse_config(body: &[u8]) -> Result<ModelConfig, ParseError> {
    let config: ReadConfig = parse(body, "the configuration of a model")?;
    let input = |input: ReadInput| ModelInput {
        name: input.name,
        optional: input.optional,
        ..ModelInput::default()
    };
    Ok(ModelConfig {
        max_batch_size: config.max_batch_size,
        input: config.input.into_iter().map(input).collect(),
        model_transaction_policy: Some(ModelTransactionPolicy {
            decoupled: config.model_transaction_policy.decoupled,
        }),
        ..ModelConfig::default()
    })
}

fn parse<'de, T: Deserialize<'de>>(body: &'de [u8], what: &str) -> Result<T, ParseError> {
    serde_json::from_slice(body).or_else(|error| {
        let (line, column) = (error.line(), error.column());
        invalid(format!(
            "the body is not {what} (line {line}, column {column})"
        ))
    })
}

#[derive(Deserialize)]
struct ReadMetadata {
    #[serde(default, deserialize_with = "null_is_default")]
    inputs: Vec<ReadTensor>,
    #[serde(default, deserialize_with = "null_is_default")]
    outputs: Vec<ReadTensor>,
}

#[derive(Deserialize)]
struct ReadTensor {
    name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    datatype: String,
    #[serde(default, deserialize_with = "null_is_default")]
    shape: Vec<i64>,
}

#[derive(Deserialize)]
struct ReadConfig {
    #[serde(default, deserialize_with = "null_is_default")]
    max_batch_size: i32,
    #[serde(default, deserialize_with = "null_is_default")]
    input: Vec<ReadInput>,
    #[serde(default, deserialize_with = "null_is_default")]
    model_transaction_policy: ReadPolicy,
}

#[derive(Deserialize)]
struct ReadInput {
    name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    optional: bool,
}

#[derive(Default, Deserialize)]
struct ReadPolicy {
    #[serde(default, deserialize_with = "null_is_default")]
    decoupled: bool,
}

/// KServe's SDK writes every optional key, as null where there is nothing to say.
fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    value: D,
) -> Result<T, D::Error> {
    Option::deserialize(value).map(Option::unwrap_or_default)
}
