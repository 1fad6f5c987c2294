//! Whether a predictor has the model that the transformer needs, from what the predictor says
//! about it. Asked when a connection is new and, until it fits, again and again.

use std::sync::Arc;

use crate::predictor::{Signature, TensorSpec};
use crate::wire::tensor::DataType;
use crate::wire::triton::model_metadata_response::TensorMetadata;
use crate::wire::triton::{ModelConfig, ModelMetadataResponse};

/// How the model takes rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BatchLimits {
    /// Rows in one call at most.
    pub(super) max_batch: usize,
    /// Whether tensors have an axis for rows.
    pub(super) batch_axis: bool,
    /// Whether the predictor has said which tensors its model has.
    pub(super) tensors_known: bool,
    /// The inputs' datatypes, in the signature's order.
    pub(super) inputs: Arc<[DataType]>,
}

/// The limits, if the model fits the signature. `default_max_batch` (`--predictor_max_batch`) holds
/// where the predictor has no configurations.
///
/// # Errors
///
/// The difference, in a sentence for the operator who configures the two.
pub(super) fn batch_limits(
    signature: &Signature,
    metadata: &ModelMetadataResponse,
    config: Option<&ModelConfig>,
    default_max_batch: usize,
) -> Result<BatchLimits, String> {
    let model = &signature.model;
    let own_max_batch = config.map(|config| config.max_batch_size);
    if metadata.inputs.is_empty() && metadata.outputs.is_empty() {
        // KServe's SDK says nothing of them unless the model's author does; inferences work.
        return Ok(BatchLimits {
            max_batch: match own_max_batch {
                Some(max) if max > 0 => max as usize,
                _ => default_max_batch,
            },
            batch_axis: true,
            tensors_known: false,
            inputs: signature.inputs.iter().map(TensorSpec::preferred).collect(),
        });
    }
    let names: Vec<_> = signature.inputs.iter().map(|spec| &spec.name).collect();
    let mut inputs = Vec::new();
    for spec in &signature.inputs {
        inputs.push((spec, find(model, "input", spec, &metadata.inputs)?));
    }
    let mut outputs = Vec::new();
    for spec in &signature.outputs {
        outputs.push((spec, find(model, "output", spec, &metadata.outputs)?));
    }
    if let Some(other) = metadata
        .inputs
        .iter()
        .find(|other| !names.contains(&&other.name) && !optional(config, &other.name))
    {
        return Err(match names.as_slice() {
            [only] => format!(
                "model {model} needs another input, {:?}, besides {only:?}",
                other.name
            ),
            names => format!(
                "model {model} needs another input, {:?}, besides {names:?}",
                other.name
            ),
        });
    }
    if let Some(policy) = config.and_then(|config| config.model_transaction_policy.as_ref())
        && policy.decoupled
    {
        return Err(format!(
            "model {model} is decoupled, which is not supported: exactly one response per request \
             is needed"
        ));
    }
    let mismatch = |what: &str, tensor: &TensorMetadata, row: &[i64]| {
        format!(
            "model {model} has {what} {:?} with shape {:?}, expected [-1, {}]",
            tensor.name,
            tensor.shape,
            row.iter()
                .map(i64::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        )
    };
    // The strictest of the inputs: one with a fixed number of rows fixes it for all.
    let mut axis = Axis::Any;
    for (spec, tensor) in &inputs {
        axis = match self::axis(&tensor.shape, &spec.row) {
            None => return Err(mismatch("input", tensor, &spec.row)),
            Some(Axis::Any) => axis,
            Some(fixed) => fixed,
        };
    }
    // A fixed 1 in front of an output's row is what one row gives, whatever the inputs have.
    for (spec, tensor) in &outputs {
        if self::axis(&tensor.shape, &spec.row).is_none() {
            return Err(mismatch("output", tensor, &spec.row));
        }
    }
    let max_batch = match (own_max_batch, axis) {
        (Some(max), _) if max > 0 => max as usize,
        (Some(_), Axis::Any) => usize::MAX,
        (None, Axis::Any) => default_max_batch,
        (_, Axis::One | Axis::None) => 1,
    };
    let datatypes = inputs
        .iter()
        .filter_map(|(_, tensor)| DataType::from_name(&tensor.datatype));
    Ok(BatchLimits {
        max_batch,
        batch_axis: axis != Axis::None,
        tensors_known: true,
        inputs: datatypes.collect(),
    })
}

/// The tensor of the name and of one of the datatypes of `spec`.
fn find<'a>(
    model: &str,
    what: &str,
    spec: &TensorSpec,
    tensors: &'a [TensorMetadata],
) -> Result<&'a TensorMetadata, String> {
    let name = &spec.name;
    let Some(tensor) = tensors.iter().find(|tensor| tensor.name == *name) else {
        let found: Vec<_> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        return Err(format!(
            "model {model} has no {what} {name:?}; it has {found:?}"
        ));
    };
    let datatype = DataType::from_name(&tensor.datatype);
    if !datatype.is_some_and(|datatype| spec.datatypes.contains(&datatype)) {
        return Err(format!(
            "model {model} has {what} {name:?} of type {}, expected {}",
            tensor.datatype,
            DataType::one_of(&spec.datatypes)
        ));
    }
    Ok(tensor)
}

fn optional(config: Option<&ModelConfig>, input: &str) -> bool {
    config.is_some_and(|config| {
        config
            .input
            .iter()
            .any(|other| other.name == input && other.optional)
    })
}

/// What stands in front of a row's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Axis {
    /// -1: any number of rows.
    Any,
    /// 1.
    One,
    /// Nothing.
    None,
}

/// Nothing when the rest is not the row's shape; -1 fits every size.
fn axis(shape: &[i64], row: &[i64]) -> Option<Axis> {
    let fits = |shape: &[i64]| {
        shape.len() == row.len()
            && shape
                .iter()
                .zip(row)
                .all(|(a, b)| *a == -1 || *b == -1 || a == b)
    };
    match shape {
        [-1, rest @ ..] if fits(rest) => Some(Axis::Any),
        [1, rest @ ..] if fits(rest) => Some(Axis::One),
        shape if fits(shape) => Some(Axis::None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predictor::tests::signature;
    use crate::wire::triton::{ModelInput, ModelTransactionPolicy};

    fn tensor(name: &str, shape: &[i64]) -> TensorMetadata {
        TensorMetadata {
            name: name.to_owned(),
            datatype: "FP32".to_owned(),
            shape: shape.to_vec(),
        }
    }

    fn metadata(input: &[i64], output: &[i64]) -> ModelMetadataResponse {
        ModelMetadataResponse {
            inputs: vec![tensor("input.1", input)],
            outputs: vec![tensor("1346", output)],
            ..ModelMetadataResponse::default()
        }
    }

    fn config(max_batch_size: i32) -> Option<ModelConfig> {
        Some(ModelConfig {
            max_batch_size,
            ..ModelConfig::default()
        })
    }

    #[test]
    fn batch_sizes() {
        let (any, one, none) = ([-1, 3, 2, 2], [1, 3, 2, 2], [3, 2, 2]);
        type Case<'a> = (&'a [i64], &'a [i64], Option<ModelConfig>, usize, bool);
        let cases: [Case; 7] = [
            (&any, &[-1, 1], config(32), 32, true),
            (&any, &[-1, 1], config(0), usize::MAX, true),
            (&one, &[1, 1], config(0), 1, true),
            (&none, &[1], config(0), 1, false),
            (&any, &[-1, 1], None, 16, true),
            (&one, &[1, 1], None, 1, true),
            (&[-1, -1, -1, -1], &[-1, 1], config(8), 8, true),
        ];
        for (input, output, config, max_batch, batch_axis) in cases {
            let limits = batch_limits(&signature(), &metadata(input, output), config.as_ref(), 16);
            assert_eq!(
                limits,
                Ok(BatchLimits {
                    max_batch,
                    batch_axis,
                    tensors_known: true,
                    inputs: Arc::new([DataType::Fp32]),
                }),
                "{input:?} {config:?}"
            );
        }
    }

    #[test]
    fn a_model_whose_tensors_are_not_named_is_taken_at_its_word() {
        let nothing = ModelMetadataResponse::default();
        for (config, max_batch) in [(None, 16), (config(8), 8)] {
            let limits = batch_limits(&signature(), &nothing, config.as_ref(), 16).unwrap();
            assert_eq!(limits.max_batch, max_batch);
            assert!(limits.batch_axis && !limits.tensors_known);
        }
        let mut inputs_only = metadata(&[-1, 3, 2, 2], &[-1, 1]);
        inputs_only.outputs.clear();
        assert!(batch_limits(&signature(), &inputs_only, None, 16).is_err());
    }

    #[test]
    fn differences_are_named() {
        let good = metadata(&[-1, 3, 2, 2], &[-1, 1]);
        type Twist = fn(&mut ModelMetadataResponse);
        let cases: [(Twist, &str); 6] = [
            (
                |m| m.inputs[0].name = "x".to_owned(),
                r#"model m has no input "input.1"; it has ["x"]"#,
            ),
            (
                |m| m.outputs[0].name = "y".to_owned(),
                r#"model m has no output "1346"; it has ["y"]"#,
            ),
            (
                |m| m.inputs[0].datatype = "FP16".to_owned(),
                r#"model m has input "input.1" of type FP16, expected FP32"#,
            ),
            (
                |m| m.inputs[0].shape[3] = 5,
                r#"model m has input "input.1" with shape [-1, 3, 2, 5], expected [-1, 3, 2, 2]"#,
            ),
            (
                |m| m.outputs[0].shape[1] = 2,
                r#"model m has output "1346" with shape [-1, 2], expected [-1, 1]"#,
            ),
            (
                |m| m.inputs.push(tensor("z", &[-1])),
                r#"model m needs another input, "z", besides "input.1""#,
            ),
        ];
        for (twist, expected) in cases {
            let mut metadata = good.clone();
            twist(&mut metadata);
            let result = batch_limits(&signature(), &metadata, config(4).as_ref(), 16);
            assert_eq!(result, Err(expected.to_owned()));
        }
    }

    #[test]
    fn optional_inputs_and_decoupled_models() {
        let mut metadata = metadata(&[-1, 3, 2, 2], &[-1, 1]);
        metadata.inputs.push(tensor("z", &[-1]));
        let mut config = config(4).unwrap();
        config.input.push(ModelInput {
            name: "z".to_owned(),
            optional: true,
            ..ModelInput::default()
        });
        assert!(batch_limits(&signature(), &metadata, Some(&config), 16).is_ok());
        config.model_transaction_policy = Some(ModelTransactionPolicy { decoupled: true });
        let error = batch_limits(&signature(), &metadata, Some(&config), 16).unwrap_err();
        assert!(error.contains("decoupled"), "{error}");
    }
}
