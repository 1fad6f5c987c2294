//! The embedded model: its runtime by itself, and the predictor that runs it on threads.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kserve_transformer::Deadline;
use kserve_transformer::Metrics;
use kserve_transformer::RequestContext;
use kserve_transformer::faces::{ONNX, SIDE};
use kserve_transformer::predictor::{
    EmbeddedModel, LocalSettings, Predictor, Signature, TensorSpec,
};
use kserve_transformer::wire::tensor::Tensor;
use rten::{Model, RunOptions, ThreadPool, ValueView};

use crate::floor::{Cost, measured};

/// Calls on their way at once.
const CALLS: u64 = 8;

const INPUT: &str = "input.1";
const OUTPUT: &str = "1346";

fn values() -> Vec<f32> {
    let value = |i| (i % 255) as f32 / 128.0 - 1.0;
    (0..3 * SIDE * SIDE).map(value).collect()
}

/// The runtime, one image after the other on one thread.
pub(crate) fn alone(period: Duration) -> Cost {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/models/face_quality.onnx");
    let model = Model::load_file(file).expect("the model");
    let input = model.find_node(INPUT).expect("its input");
    let output = model.find_node(OUTPUT).expect("its output");
    let values = values();
    let pool = Arc::new(ThreadPool::with_num_threads(1));
    measured(1, || {
        let end = Instant::now() + period;
        let mut rounds = 0;
        while Instant::now() < end {
            let view = ValueView::from_shape(&[1, 3, SIDE, SIDE], &values).expect("a shape");
            let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&pool)));
            let outputs = model.run_n(vec![(input, view.into())], [output], Some(options));
            let [_] = outputs.expect("an output");
            rounds += 1;
        }
        rounds
    })
}

/// The predictor as the service calls it, with this number of threads.
pub(crate) async fn predictor(threads: usize, period: Duration) -> Cost {
    let side = SIDE as i64;
    let signature = Signature {
        model: "face_quality".to_owned(),
        inputs: vec![TensorSpec::fp32(INPUT, &[3, side, side])],
        outputs: vec![TensorSpec::fp32(OUTPUT, &[1])],
    };
    let metrics = Metrics::default();
    let settings = LocalSettings {
        concurrency: 100,
        max_batch: 32,
    };
    let model = EmbeddedModel::Bytes(ONNX);
    let predictor = Predictor::embedded(&model, threads, settings, signature, &metrics);
    let predictor = predictor.expect("the model");
    let data: Bytes = values().iter().flat_map(|v| v.to_le_bytes()).collect();
    let context = RequestContext::new(String::new(), Deadline::after(Duration::from_secs(60)));
    let end = Instant::now() + period;
    let caller = async || {
        let mut rounds = 0;
        while Instant::now() < end {
            let tensor = Tensor::fp32(data.clone(), 1, &[3, side, side]);
            let outputs = predictor.infer(vec![tensor], &context).await;
            outputs.expect("an output");
            rounds += 1;
        }
        rounds
    };
    let clock = crate::floor::Clock::start();
    let rounds = futures_util::future::join_all((0..CALLS).map(|_| caller())).await;
    clock.cost(rounds.iter().sum())
}
