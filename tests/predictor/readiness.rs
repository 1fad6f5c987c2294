//! Not ready until the predictor has the right model, with the reason; ready by itself after that.

use tonic::Code;

use super::*;

over_both_protocols!(
    another_input_name_until_it_is_right,
    a_predictor_without_configurations,
);

#[tokio::test]
async fn a_triton_that_starts_after_us() {
    let address = nobody().await;
    let metrics = metrics();
    let predictor =
        Predictor::remote(&settings(&address.to_string()), signature(), &metrics).unwrap();
    wait_not_ready(&predictor, "refused").await;
    let shown = format!("facequality_predictor_ready{{model=\"{MODEL}\"}}");
    assert_eq!(value(&metrics, &shown), Some(0.0));
    let _triton = FakeTriton::start_at(address, small).await;
    assert_eq!(wait_ready(&predictor).await, 32);
    assert_eq!(value(&metrics, &shown), Some(1.0));
}

async fn another_input_name_until_it_is_right(protocol: Protocol) {
    let triton = triton().await;
    triton.set(|script| script.input = "images".to_owned());
    let predictor = connecting(&settings_over(protocol, &triton.host()));
    let reason = wait_not_ready(&predictor, "input.1").await;
    assert!(
        reason
            .ends_with(r#"model face_quality_trt_fp16 has no input "input.1"; it has ["images"]"#),
        "{reason}"
    );
    triton.set(|script| script.input = "input.1".to_owned());
    wait_ready(&predictor).await;
}

#[tokio::test]
async fn a_model_that_is_unloaded_and_loaded_again() {
    let triton = triton().await;
    let predictor = ready(&settings(&triton.host())).await;
    triton.set(|script| script.unloaded = true);
    // The first call finds out.
    let error = scores(&predictor, 1, 1).await.unwrap_err();
    assert!(error.to_string().contains("NOT_FOUND"), "{error}");
    wait_not_ready(&predictor, "unknown model").await;
    triton.set(|script| script.unloaded = false);
    wait_ready(&predictor).await;
}

#[tokio::test]
async fn the_smallest_batch_of_all_addresses_counts() {
    let (a, b) = (triton().await, triton().await);
    a.set(|script| script.max_batch_size = 8);
    let predictor = ready(&settings(&format!("{},{}", a.host(), b.host()))).await;
    let smallest =
        |readiness: &Readiness| matches!(readiness, Readiness::Ready { max_batch: 8, .. });
    wait_readiness(&predictor, smallest).await;
}

async fn a_predictor_without_configurations(protocol: Protocol) {
    let triton = triton().await;
    triton.set(|script| script.config_refused = Some((Code::Unimplemented, "no such method")));
    let mut settings = settings_over(protocol, &triton.host());
    settings.default_max_batch = 7;
    let predictor = connecting(&settings);
    assert_eq!(wait_ready(&predictor).await, 7);
}

#[tokio::test]
async fn models_without_a_batch_axis_of_tritons_making() {
    let cases: [(&[i64], usize, usize); 3] = [
        (&[-1, 3, 2, 2], usize::MAX, 40),
        (&[1, 3, 2, 2], 1, 1),
        (&[3, 2, 2], 1, 1),
    ];
    for (dims, max_batch, rows) in cases {
        let triton = triton().await;
        triton.set(|script| {
            script.max_batch_size = 0;
            script.input_row = dims.to_vec();
        });
        let predictor = connecting(&settings(&triton.host()));
        assert_eq!(wait_ready(&predictor).await, max_batch);
        let expected: Vec<_> = (0..rows).map(|row| row as f32).collect();
        assert_eq!(scores(&predictor, 0, rows).await.unwrap(), expected);
    }
}
