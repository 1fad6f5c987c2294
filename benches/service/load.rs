//! The load of one side of a comparison for one turn.

use std::path::Path;
use std::time::Duration;

use kserve_transformer::loadtest::{
    self, Endpoint, Load, ModelTensors, Protocol, Settings, Summary, Until,
};

use crate::Effort;
use crate::floor::{self, Cost};
use crate::process::Process;

pub(crate) const FACE: &str = "data/images/face.jpg";
pub(crate) const PHOTO: &str = "tests/golden/pixels/jpeg-photo-1920x1920.jpg";

/// What all rows share.
pub(crate) struct Bench<'a> {
    pub(crate) effort: &'a Effort,
    pub(crate) predictor: &'a str,
}

/// A kind of load.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) image: &'static str,
    pub(crate) protocol: Protocol,
    pub(crate) batch: usize,
    pub(crate) concurrency: usize,
}

/// For how long a request of a load is waited for.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(120);

impl Kind {
    pub(crate) const fn face(protocol: Protocol, batch: usize, concurrency: usize) -> Self {
        Self {
            image: FACE,
            protocol,
            batch,
            concurrency,
        }
    }

    pub(crate) const fn photo(batch: usize, concurrency: usize) -> Self {
        Self {
            image: PHOTO,
            ..Self::face(Protocol::V1, batch, concurrency)
        }
    }
}

impl Bench<'_> {
    /// One turn of load. A failed request would make its figures mean nothing.
    pub(crate) async fn load(&self, target: Endpoint, kind: Kind) -> Summary {
        let until = Until::Elapsed(self.effort.period);
        self.load_until(target, kind, until).await
    }

    /// The same, ending otherwise.
    pub(crate) async fn load_until(&self, target: Endpoint, kind: Kind, until: Until) -> Summary {
        let settings = Settings {
            target: Endpoint {
                protocol: kind.protocol,
                ..target
            },
            compare: None,
            rounds: 1,
            images: vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(kind.image)],
            tensors: ModelTensors {
                input: "input.1".to_owned(),
                row: vec![3, 112, 112],
                outputs: vec!["score".to_owned()],
            },
            headers: http::HeaderMap::new(),
            ca_file: None,
            batch: kind.batch,
            load: Load::Closed {
                concurrency: kind.concurrency,
                until,
            },
            warmup: self.effort.warmup,
            timeout: TIMEOUT,
            max_connections: 512,
            golden: None,
            tolerance: 0.01,
            slo: None,
            progress: false,
            command_line: None,
        };
        let report = loadtest::execute(&settings).await.expect("a target");
        let run = report.runs.into_iter().next().expect("a run");
        assert_eq!(run.requests.failed, 0, "failed requests: {:?}", run.errors);
        run
    }

    /// The cost of B, without an image that of its call.
    pub(crate) fn floor(&self, image: Option<&str>, batch: usize) -> Cost {
        let bytes = image.map(floor::image);
        let (to, period) = (self.predictor.to_owned(), self.effort.period);
        let work = move || floor::pixels_and_call(bytes.as_deref(), batch, &to, period);
        // A thread without a runtime around it: the floor has one of its own.
        std::thread::spawn(work).join().expect("the floor")
    }
}

/// The target's CPU per image, in microseconds.
pub(crate) fn cpu_of(run: &Summary) -> f64 {
    run.cpu.target_us.unwrap_or(f64::NAN)
}

/// A process as the target of a load.
pub(crate) fn at(process: &Process, protocol: Protocol) -> Endpoint {
    Endpoint {
        url: if protocol.is_grpc() {
            process.grpc()
        } else {
            process.http()
        },
        protocol,
        model: "facequality".to_owned(),
        pid: Some(process.pid()),
    }
}
