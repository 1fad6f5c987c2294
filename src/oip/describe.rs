//! What the server says of itself and of its models: metadata, configuration, statistics, index.

use super::OpenInference;
use super::service::{ModelDescription, TensorSpec};
use super::validate::{VERSION, check_version};
use crate::error::Error;
use crate::observe::statistics::{Snapshot, Total};
use crate::wire::triton::{
    DataType, InferBatchStatistics, InferResponseStatistics, InferStatistics, ModelConfig,
    ModelConfigRequest, ModelConfigResponse, ModelInput, ModelMetadataRequest,
    ModelMetadataResponse, ModelOutput, ModelStatistics, ModelStatisticsRequest,
    ModelStatisticsResponse, RepositoryIndexRequest, RepositoryIndexResponse,
    ServerMetadataResponse, StatisticDuration, model_metadata_response::TensorMetadata,
    repository_index_response::ModelIndex,
};

impl OpenInference {
    /// Name, version and extensions of this server.
    pub(crate) fn server_metadata(&self) -> ServerMetadataResponse {
        let extensions = [
            "binary_tensor_data",
            "logging",
            "model_configuration",
            "statistics",
        ];
        ServerMetadataResponse {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: extensions.map(str::to_owned).to_vec(),
        }
    }

    /// Names, types and shapes of a model's tensors.
    pub(crate) fn model_metadata(
        &self,
        request: &ModelMetadataRequest,
    ) -> Result<ModelMetadataResponse, Error> {
        let model = self.service.describe(&request.name)?;
        check_version(&request.name, &request.version)?;
        let images = model.images.map(|name| TensorMetadata {
            name: name.to_owned(),
            datatype: "BYTES".to_owned(),
            shape: image_shape(&model),
        });
        let described = |tensor: &TensorSpec| TensorMetadata {
            name: tensor.name.clone(),
            datatype: tensor.datatype.name().to_owned(),
            shape: tensor.with_first(-1),
        };
        let tensors = model.shown_tensors().iter().map(described);
        Ok(ModelMetadataResponse {
            versions: vec![VERSION.to_owned()],
            platform: model.platform.to_owned(),
            inputs: images.into_iter().chain(tensors).collect(),
            outputs: model.outputs.iter().map(described).collect(),
            name: model.name,
        })
    }

    /// A model's configuration as far as clients need it to batch and to name tensors.
    pub(crate) fn model_config(
        &self,
        request: &ModelConfigRequest,
    ) -> Result<ModelConfigResponse, Error> {
        let model = self.service.describe(&request.name)?;
        check_version(&request.name, &request.version)?;
        let dims = |tensor: &TensorSpec| match model.max_batch {
            0 => tensor.with_first(-1),
            _ => tensor.row.clone(),
        };
        let images = model.images.map(|name| ModelInput {
            name: name.to_owned(),
            data_type: DataType::TypeString.into(),
            dims: image_shape(&model)[usize::from(model.max_batch > 0)..].to_vec(),
            optional: !model.shown_tensors().is_empty(),
            ..Default::default()
        });
        let tensors = model.shown_tensors().iter().map(|tensor| ModelInput {
            name: tensor.name.clone(),
            data_type: tensor.datatype.config_type().into(),
            dims: dims(tensor),
            optional: model.images.is_some(),
            ..Default::default()
        });
        let outputs = model.outputs.iter().map(|output| ModelOutput {
            name: output.name.clone(),
            data_type: output.datatype.config_type().into(),
            dims: dims(output),
            ..Default::default()
        });
        let config = ModelConfig {
            platform: model.platform.to_owned(),
            max_batch_size: i32::try_from(model.max_batch).unwrap_or(i32::MAX),
            input: images.into_iter().chain(tensors).collect(),
            output: outputs.collect(),
            name: model.name,
            ..Default::default()
        };
        Ok(ModelConfigResponse {
            config: Some(config),
        })
    }

    /// The statistics of one model, or of all when none is named.
    pub(crate) fn model_statistics(
        &self,
        request: &ModelStatisticsRequest,
    ) -> Result<ModelStatisticsResponse, Error> {
        let names = match request.name.as_str() {
            "" => self.service.names(),
            name => {
                self.service.describe(name)?;
                check_version(name, &request.version)?;
                vec![name.to_owned()]
            }
        };
        let mut model_stats = Vec::with_capacity(names.len());
        for name in names {
            let snapshot = self.service.metrics(&name)?.statistics.snapshot();
            model_stats.push(statistics_message(name, &snapshot));
        }
        Ok(ModelStatisticsResponse { model_stats })
    }

    /// The models with their states.
    pub(crate) fn repository_index(
        &self,
        request: &RepositoryIndexRequest,
    ) -> RepositoryIndexResponse {
        let entry = |name: String| {
            let reason = self.service.model_not_ready(&name);
            ModelIndex {
                name,
                version: VERSION.to_owned(),
                state: if reason.is_none() {
                    "READY"
                } else {
                    "UNAVAILABLE"
                }
                .to_owned(),
                reason: reason.unwrap_or_default(),
            }
        };
        let models = self.service.names().into_iter().map(entry);
        RepositoryIndexResponse {
            models: models
                .filter(|model| !request.ready || model.reason.is_empty())
                .collect(),
        }
    }
}

/// `[N]`, and `[N,1]` where clients batch: without an axis behind that of the rows they would not.
fn image_shape(model: &ModelDescription) -> Vec<i64> {
    match model.max_batch {
        0 => vec![-1],
        _ => vec![-1, 1],
    }
}

fn statistics_message(name: String, snapshot: &Snapshot) -> ModelStatistics {
    let of = |total: Total| {
        Some(StatisticDuration {
            count: total.count,
            ns: total.nanoseconds,
        })
    };
    let none = || of(Total::default());
    // What fills a call's rows and reads its outputs is not measured call by call.
    let batches = snapshot
        .calls
        .iter()
        .map(|(&rows, &took)| InferBatchStatistics {
            batch_size: rows as u64,
            compute_input: none(),
            compute_infer: of(took),
            compute_output: none(),
        });
    let responses = InferResponseStatistics {
        compute_infer: of(snapshot.infer),
        compute_output: of(snapshot.output),
        success: of(snapshot.success),
        fail: of(snapshot.fail),
        empty_response: none(),
        cancel: of(snapshot.cancel),
    };
    ModelStatistics {
        name,
        version: VERSION.to_owned(),
        last_inference: snapshot.last_milliseconds,
        inference_count: snapshot.images,
        execution_count: snapshot.calls.values().map(|calls| calls.count).sum(),
        inference_stats: Some(InferStatistics {
            success: of(snapshot.success),
            fail: of(snapshot.fail),
            queue: of(snapshot.queue),
            compute_input: of(snapshot.input),
            compute_infer: of(snapshot.infer),
            compute_output: of(snapshot.output),
            cache_hit: none(),
            cache_miss: none(),
        }),
        batch_stats: batches.collect(),
        // Each request has one response, the first.
        response_stats: [("0".to_owned(), responses)].into(),
        ..Default::default()
    }
}
