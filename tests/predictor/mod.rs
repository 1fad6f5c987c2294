//! The predictor against a scripted Triton: what goes over the wire, what comes back, and what
//! happens when things break. Here is what the tests share: a predictor of rows of `[3, 2, 2]`,
//! and rows whose mean is their number.

mod addresses;
mod calls;
mod faults;
mod local;
mod mistakes;
mod readiness;
mod refused_streams;
mod replicas;
mod tls;
mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use kserve_transformer::Deadline;
use kserve_transformer::Metrics;
use kserve_transformer::RequestContext;
use kserve_transformer::ServeArgs;
use kserve_transformer::Settings;
use kserve_transformer::predictor::{
    Error, Predictor, PredictorHeader, Protocol, Readiness, RemoteSettings, Signature, TensorSpec,
};
use kserve_transformer::remote_settings;
use kserve_transformer::wire::tensor::{Tensor, fp32};
use kserve_transformer::wire::triton::infer_parameter::ParameterChoice;

use crate::world::page;
use crate::world::triton::{FakeTriton, Script};

const ROW: [i64; 3] = [3, 2, 2];

const MODEL: &str = "face_quality_trt_fp16";

fn signature() -> Signature {
    Signature {
        model: MODEL.to_owned(),
        inputs: vec![TensorSpec::fp32("input.1", &ROW)],
        outputs: vec![TensorSpec::fp32("1346", &[1])],
    }
}

/// A script of the same model.
fn small(script: &mut Script) {
    script.input_row = ROW.to_vec();
}

/// Speaks both protocols.
async fn triton() -> FakeTriton {
    FakeTriton::start_with(small).await
}

/// Tests whose body takes the protocol, once for each.
macro_rules! over_both_protocols {
    ($($test:ident),+ $(,)?) => {
        mod grpc {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Protocol::Grpc).await;
            })+
        }
        mod rest {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Protocol::Rest).await;
            })+
        }
    };
}
use over_both_protocols;

/// The flags' defaults, over this protocol.
fn settings_over(protocol: Protocol, hosts: &str) -> RemoteSettings {
    let mut settings = settings(hosts);
    settings.protocol = protocol;
    settings
}

/// A Triton and a predictor in front of it that is ready.
async fn pair(protocol: Protocol) -> (FakeTriton, Arc<Predictor>) {
    let triton = triton().await;
    let predictor = ready(&settings_over(protocol, &triton.host())).await;
    (triton, predictor)
}

/// Two of them behind one predictor, both ready.
async fn twins(protocol: Protocol) -> Twins {
    let (a, b) = (triton().await, triton().await);
    let metrics = metrics();
    let settings = settings_over(protocol, &format!("{},{}", a.host(), b.host()));
    let predictor = Predictor::remote(&settings, signature(), &metrics).unwrap();
    // A call finds out whether both are in use.
    wait_ready(&predictor).await;
    while a.observed().calls == 0 || b.observed().calls == 0 {
        scores(&predictor, 1, 1).await.unwrap();
    }
    Twins {
        a,
        b,
        predictor,
        metrics,
    }
}

struct Twins {
    a: FakeTriton,
    b: FakeTriton,
    predictor: Predictor,
    metrics: Arc<Metrics>,
}

impl Twins {
    /// Lets calls go to `a` first, since `b` has been slow.
    async fn prefer_a(&self) {
        let calls = self.b.observed().calls;
        self.b
            .set(|script| script.delay = Duration::from_millis(50));
        while self.b.observed().calls == calls {
            let calls = (0..8).map(|row| scores(&self.predictor, row, 1));
            futures_util::future::join_all(calls).await;
        }
        self.b.set(|script| script.delay = Duration::ZERO);
    }
}

/// Calls to the predictor that ended so.
fn outcomes(metrics: &Metrics, outcome: &str) -> u64 {
    let name = "facequality_predictor_calls_total";
    let series = format!("{name}{{model=\"{MODEL}\",outcome=\"{outcome}\"}}");
    value(metrics, &series).unwrap() as u64
}

/// A value of the metrics' page.
fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    page(&metrics.text().unwrap()).get(series).copied()
}

/// The flags' defaults, over gRPC.
fn settings(hosts: &str) -> RemoteSettings {
    let flags = [
        format!("--predictor_host={hosts}"),
        "--predictor_protocol=grpc-v2".to_owned(),
    ];
    let args = ServeArgs::from_flags(&flags).unwrap();
    remote_settings(&Settings::new(&args).unwrap())
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::default())
}

fn connecting(settings: &RemoteSettings) -> Predictor {
    Predictor::remote(settings, signature(), &metrics()).unwrap()
}

/// A predictor with these settings, when it is ready.
async fn ready(settings: &RemoteSettings) -> Arc<Predictor> {
    let predictor = Arc::new(connecting(settings));
    wait_ready(&predictor).await;
    predictor
}

async fn wait_ready(predictor: &Predictor) -> usize {
    match wait_readiness(predictor, |readiness| {
        matches!(readiness, Readiness::Ready { .. })
    })
    .await
    {
        Readiness::Ready { max_batch, .. } => max_batch,
        Readiness::NotReady(_) => unreachable!(),
    }
}

async fn wait_not_ready(predictor: &Predictor, part: &str) -> String {
    let found = wait_readiness(
        predictor,
        |readiness| matches!(readiness, Readiness::NotReady(reason) if reason.contains(part)),
    );
    match found.await {
        Readiness::NotReady(reason) => reason,
        Readiness::Ready { .. } => unreachable!(),
    }
}

async fn wait_readiness(
    predictor: &Predictor,
    expected: impl FnMut(&Readiness) -> bool,
) -> Readiness {
    let mut readiness = predictor.watch_readiness();
    let wait = readiness.wait_for(expected);
    match tokio::time::timeout(Duration::from_secs(10), wait).await {
        Ok(readiness) => readiness.unwrap().clone(),
        Err(_) => panic!("never so: {:?}", predictor.readiness()),
    }
}

/// Rows whose values, and so whose means, are `first`, `first + 1`, ….
fn rows(first: usize, count: usize) -> Vec<Tensor> {
    let values = ROW.iter().product::<i64>() as usize;
    let mut data = BytesMut::new();
    for row in first..first + count {
        (0..values).for_each(|_| data.put_f32_le(row as f32));
    }
    vec![Tensor::fp32(data.freeze(), count, &ROW)]
}

fn context(timeout: Duration) -> RequestContext {
    RequestContext::new("r-1".to_owned(), Deadline::after(timeout))
}

const LONG: Duration = Duration::from_secs(20);

/// The scores of `count` rows from `first` on.
async fn scores(predictor: &Predictor, first: usize, count: usize) -> Result<Vec<f32>, Error> {
    let inputs = rows(first, count);
    let output = predictor.infer(inputs, &context(LONG)).await?.remove(0);
    assert_eq!(output.shape(), [count as i64, 1]);
    Ok(fp32(&output.into_data()).collect())
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}
