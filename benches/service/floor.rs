//! The work without a service around it: one thread, pixels in line, one connection.
//!
//! A is decode, resize and normalise. B is A and one ModelInfer of the tensor; B16 is 16 times A and
//! one ModelInfer of the 16. As in a service, eight calls are on their way at once, and each tensor
//! is a new buffer; the message is one piece, since a generated client would copy the tensor twice.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kserve_transformer::faces::{PLANE_BYTES, SIDE};
use kserve_transformer::pixel::{self, ExifOrientation, Formats, Options, Scratch};
use kserve_transformer::wire::grpc;
use kserve_transformer::wire::tensor::{BatchBuilder, DataType, EncodedMessage, in_parts};
use kserve_transformer::wire::triton::ModelInferRequest;
use kserve_transformer::wire::triton::model_infer_request::InferInputTensor;

/// Calls on their way at once.
const CALLS: usize = 8;

const OPTIONS: Options = Options {
    max_pixels: 40_000_000,
    exif_orientation: ExifOrientation::Ignore,
    formats: Formats::DEFAULT,
};

/// What one image cost.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    /// CPU of the whole process, in microseconds.
    pub(crate) cpu: f64,
    /// Time on the clock, in microseconds.
    pub(crate) wall: f64,
}

/// An image of the clone.
pub(crate) fn image(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read(path).expect("an image of the clone")
}

/// A, per image.
pub(crate) fn pixels(image: &[u8], period: Duration) -> Cost {
    let mut scratch = Scratch::default();
    let mut planes: [BytesMut; 3] = Default::default();
    measured(1, || {
        let end = Instant::now() + period;
        let mut rounds = 0;
        while Instant::now() < end {
            planes.iter_mut().for_each(BytesMut::clear);
            pixel::to_planes(image, [SIDE; 2], &OPTIONS, &mut scratch, &mut planes)
                .expect("a sound image");
            rounds += 1;
        }
        rounds
    })
}

/// B, or B16, per image; without an image the ModelInfer alone, of new memory each time.
pub(crate) fn pixels_and_call(
    image: Option<&[u8]>,
    batch: usize,
    predictor: &str,
    period: Duration,
) -> Cost {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let work = async {
        let uri = format!("http://{predictor}/inference.GRPCInferenceService/ModelInfer");
        let stream = tokio::net::TcpStream::connect(predictor)
            .await
            .expect("the predictor");
        stream.set_nodelay(true).expect("a TCP stream");
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("HTTP/2");
        tokio::spawn(connection);
        let scratch = Rc::new(RefCell::new(Scratch::default()));
        let rounds = Rc::new(Cell::new(0));
        let end = Instant::now() + period;
        let local = tokio::task::LocalSet::new();
        for _ in 0..CALLS {
            let (mut sender, uri) = (sender.clone(), uri.clone());
            let (scratch, rounds) = (Rc::clone(&scratch), Rc::clone(&rounds));
            let image = image.map(<[u8]>::to_vec);
            local.spawn_local(async move {
                while Instant::now() < end {
                    let message = message(image.as_deref(), batch, &mut scratch.borrow_mut());
                    let request = http::Request::post(&uri)
                        .header("content-type", "application/grpc")
                        .header("te", "trailers")
                        .body(Full::new(message))
                        .expect("a request");
                    let response = sender.send_request(request).await.expect("a response");
                    let body = response.into_body().collect().await.expect("its body");
                    let status = body.trailers().and_then(|t| t.get("grpc-status")).cloned();
                    assert!(status.is_none_or(|status| status == "0"), "a refused call");
                    rounds.set(rounds.get() + 1);
                }
            });
        }
        local.await;
        rounds.get()
    };
    // The load test's threads do nothing meanwhile, so the process is this thread.
    measured(batch, || runtime.block_on(work))
}

/// The tensor of `batch` times the image behind its gRPC and protobuf headers.
fn message(image: Option<&[u8]>, batch: usize, scratch: &mut Scratch) -> Bytes {
    let side = SIDE as i64;
    let (builder, mut rows) = BatchBuilder::rows(batch, 3 * PLANE_BYTES);
    for row in &mut rows {
        match image {
            Some(image) => in_parts(row, PLANE_BYTES, |planes| {
                pixel::to_planes(image, [SIDE; 2], &OPTIONS, scratch, planes)
                    .expect("a sound image");
            }),
            None => row.resize(3 * PLANE_BYTES, 0),
        }
    }
    let tensor = builder.assemble(rows, DataType::Fp32, &[3, side, side]);
    let request = ModelInferRequest {
        model_name: "face_quality_trt_fp16".to_owned(),
        inputs: vec![InferInputTensor {
            name: "input.1".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![batch as i64, 3, side, side],
            ..InferInputTensor::default()
        }],
        ..ModelInferRequest::default()
    };
    let (head, between) = grpc::encode_head(&request, &[tensor.byte_len()]);
    EncodedMessage::new(&head, vec![tensor], between).0.head
}

/// Cost per image of `work`, which returns how many times it took `batch` images.
pub(crate) fn measured(batch: usize, work: impl FnOnce() -> u64) -> Cost {
    let clock = Clock::start();
    let rounds = work();
    clock.cost(rounds * batch as u64)
}

/// The process's CPU time and the time on the wall.
pub(crate) struct Clock {
    cpu: Duration,
    wall: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            cpu: own_cpu(),
            wall: Instant::now(),
        }
    }

    /// What each of `images` cost since.
    pub(crate) fn cost(&self, images: u64) -> Cost {
        let per_image = |time: Duration| time.as_secs_f64() * 1e6 / images.max(1) as f64;
        Cost {
            cpu: per_image(own_cpu() - self.cpu),
            wall: per_image(self.wall.elapsed()),
        }
    }
}

fn own_cpu() -> Duration {
    kserve_transformer::loadtest::cpu_time(std::process::id()).expect("our own process")
}
