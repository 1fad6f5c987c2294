//! Predictors in the process.

use kserve_transformer::predictor::LocalSettings;
use kserve_transformer::wire::tensor::DataType;

use super::*;

const LOCAL: LocalSettings = LocalSettings {
    concurrency: 100,
    max_batch: 32,
};

#[tokio::test]
async fn null_answers_zeros() {
    let predictor = Predictor::null(LOCAL, signature(), &metrics());
    let inputs = Arc::new([DataType::Fp32]);
    let max_batch = 32;
    assert_eq!(
        predictor.readiness(),
        Readiness::Ready { max_batch, inputs }
    );
    assert_eq!(scores(&predictor, 1, 3).await.unwrap(), [0.0; 3]);
}

#[cfg(feature = "embedded")]
mod embedded {
    use kserve_transformer::faces::ONNX;
    use kserve_transformer::predictor::EmbeddedModel;

    use super::*;

    fn model() -> Signature {
        Signature {
            inputs: vec![TensorSpec::fp32("input.1", &[3, 112, 112])],
            ..signature()
        }
    }

    fn load(signature: Signature) -> Result<Predictor, String> {
        let model = EmbeddedModel::Bytes(ONNX);
        Predictor::embedded(&model, 2, LOCAL, signature, &metrics())
    }

    /// `count` different images of noise.
    fn images(count: usize) -> Tensor {
        let mut data = BytesMut::new();
        let mut state = 1_u32;
        for _ in 0..count * 3 * 112 * 112 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            data.put_f32_le((state >> 24) as f32 / 128.0 - 1.0);
        }
        Tensor::fp32(data.freeze(), count, &[3, 112, 112])
    }

    #[tokio::test]
    async fn a_score_is_the_same_whatever_the_batch() {
        let predictor = load(model()).unwrap();
        let batch = predictor.infer(vec![images(5)], &context(LONG)).await;
        let batch: Vec<_> = fp32(&batch.unwrap().remove(0).into_data()).collect();
        assert!(
            batch.iter().all(|score| (0.0..=1.0).contains(score)),
            "{batch:?}"
        );
        for (image, &score) in images(5).split(1).into_iter().zip(&batch) {
            let single = predictor.infer(vec![image], &context(LONG)).await;
            let single: Vec<_> = fp32(&single.unwrap().remove(0).into_data()).collect();
            assert_eq!(single[0].to_bits(), score.to_bits());
        }
    }

    #[tokio::test]
    async fn another_signature_is_refused() {
        let names = |change: fn(&mut Signature)| {
            let mut signature = model();
            change(&mut signature);
            load(signature).unwrap_err()
        };
        let error = names(|signature| signature.inputs[0].name = "x".to_owned());
        assert_eq!(
            error,
            r#"the compiled-in model has no input "x"; it has ["input.1"]"#
        );
        let error = names(|signature| signature.outputs[0].name = "y".to_owned());
        assert_eq!(
            error,
            r#"the compiled-in model has no output "y"; it has ["1346"]"#
        );
        let error = names(|signature| signature.inputs[0].row = vec![3, 64, 64]);
        assert!(error.contains("another shape"), "{error}");
    }
}
