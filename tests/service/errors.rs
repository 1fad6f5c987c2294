//! Every row of the one table of errors, over REST and gRPC side by side.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kserve_transformer::Kind;
use kserve_transformer::wire::grpc::parse_timeout;
use kserve_transformer::wire::triton::grpc_inference_service_client::GrpcInferenceServiceClient;
use kserve_transformer::wire::triton::model_infer_request::InferInputTensor;
use kserve_transformer::wire::triton::{
    ModelInferRequest, ModelInferResponse, RepositoryModelLoadRequest,
};
use prost::Message;
use reqwest::Method;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::world::triton::Fault;
use crate::world::{Answer, World, grey, item, single};

pub(crate) async fn grpc(world: &World) -> GrpcInferenceServiceClient<Channel> {
    GrpcInferenceServiceClient::connect(world.url(""))
        .await
        .unwrap()
        .max_encoding_message_size(usize::MAX)
}

/// A request of one `image` element, encoded or the text of an item.
pub(crate) fn image_request(model: &str, element: &[u8]) -> ModelInferRequest {
    let mut raw = BytesMut::new();
    raw.put_u32_le(element.len() as u32);
    raw.extend_from_slice(element);
    ModelInferRequest {
        model_name: model.to_owned(),
        inputs: vec![InferInputTensor {
            name: "image".to_owned(),
            datatype: "BYTES".to_owned(),
            shape: vec![1],
            ..Default::default()
        }],
        raw_input_contents: vec![raw.freeze()],
        ..Default::default()
    }
}

async fn infer(world: &World, model: &str, element: &[u8]) -> Result<ModelInferResponse, Status> {
    let request = image_request(model, element);
    grpc(world)
        .await
        .model_infer(request)
        .await
        .map(tonic::Response::into_inner)
}

/// The same failure over both protocols is the same row of the table, and both say why.
fn row(kind: Kind, rest: &Answer, grpc: Result<ModelInferResponse, Status>, word: &str) {
    let (status, code) = (kind.http_status(), kind.grpc_code());
    assert_eq!(
        rest.status.as_u16(),
        status.as_u16(),
        "{kind:?}: {}",
        rest.text
    );
    assert!(rest.error().contains(word), "{kind:?}: {}", rest.text);
    assert_eq!(
        rest.headers.contains_key("retry-after"),
        kind.retry_after().is_some(),
        "{kind:?}"
    );
    let status = grpc.unwrap_err();
    assert_eq!(status.code(), code, "{kind:?}: {status}");
    assert!(status.message().contains(word), "{kind:?}: {status}");
}

#[tokio::test]
async fn the_callers_failures() {
    let flags = [
        "--max_body_bytes=100000",
        "--max_item_bytes=50000",
        "--item_url_allow=127.0.0.1/32",
    ];
    let world = World::with(&flags, |_| ()).await;
    let name = "facequality";
    for (kind, element, word) in [
        (Kind::Invalid, b"no image".to_vec(), "JPEG"),
        (Kind::Invalid, b"path:/etc/passwd".to_vec(), "--data_dir"),
        (
            Kind::Invalid,
            b"http://10.0.0.1/a".to_vec(),
            "--item_url_allow",
        ),
        (Kind::TooLarge, vec![0; 60_000], "--max_item_bytes"),
        (Kind::TooLarge, vec![0; 200_000], "--max_body_bytes"),
        // Nothing listens there.
        (
            Kind::ItemUnreachable,
            b"http://127.0.0.1:1/a".to_vec(),
            "127.0.0.1",
        ),
    ] {
        let rest = match std::str::from_utf8(&element) {
            Ok(text) if text.contains(':') => world.predict(single(text)).await,
            _ => world.predict(element.clone()).await,
        };
        row(kind, &rest, infer(&world, name, &element).await, word);
    }
    let rest = world
        .send(Method::POST, "/v1/models/other:predict", "{}")
        .await;
    row(
        Kind::NotFound,
        &rest,
        infer(&world, "other", b"x").await,
        "other",
    );

    let path = "/v2/repository/models/facequality/load";
    let rest = world.send(Method::POST, path, "").await;
    let load = grpc(&world)
        .await
        .repository_model_load(RepositoryModelLoadRequest::default())
        .await;
    let load = load.map(|_| ModelInferResponse::default());
    row(Kind::Unimplemented, &rest, load, "not built in");

    // These two differ between the protocols by their nature.
    assert_eq!(
        world.send(Method::DELETE, "/v1/models", "").await.status,
        405
    );
    let request = world
        .client
        .post(world.url("/v1/models/facequality:predict"))
        .header("content-encoding", "br");
    assert_eq!(request.body("x").send().await.unwrap().status(), 415);
    let mut strange = tonic::Request::new(image_request(name, b"x"));
    strange
        .metadata_mut()
        .insert("grpc-encoding", "br".parse().unwrap());
    let status = grpc(&world).await.model_infer(strange).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status}");
}

#[tokio::test]
async fn the_predictors_failures() {
    let world = World::with(&["--predictor_request_timeout_seconds=0.5"], |_| ()).await;
    let both = async || {
        let rest = world.predict(single(&item(&grey(1)))).await;
        (rest, infer(&world, "facequality", &grey(1)).await)
    };
    for (kind, fault, word) in [
        (
            Kind::BadGateway,
            Fault::Status(Code::Internal, "boom"),
            "boom",
        ),
        (
            Kind::BadGateway,
            Fault::Status(Code::InvalidArgument, "shape"),
            "shape",
        ),
        (
            Kind::BadGateway,
            Fault::Twist(|response| response.outputs[0].datatype = "INT64".to_owned()),
            "INT64",
        ),
        (
            Kind::BadGateway,
            Fault::Twist(|response| {
                response.raw_output_contents[0] = Bytes::copy_from_slice(&f32::NAN.to_le_bytes());
            }),
            "NaN",
        ),
        (
            Kind::Unavailable,
            Fault::Status(Code::Unavailable, "queue full"),
            "queue full",
        ),
        (
            Kind::Deadline,
            Fault::Status(Code::DeadlineExceeded, "late"),
            "in time",
        ),
    ] {
        world.triton.set(|script| script.always = Some(fault));
        // The predictor is asked about its model again, during which it stays ready.
        let (rest, grpc) = both().await;
        row(kind, &rest, grpc, word);
    }
    world.triton.set(|script| {
        script.always = None;
        script.hold = true;
    });
    let (rest, grpc) = both().await;
    row(
        Kind::Deadline,
        &rest,
        grpc,
        "--predictor_request_timeout_seconds",
    );
}

#[tokio::test]
async fn a_full_queue_and_no_predictor() {
    let world = World::with(&["--queue=1"], |script| script.hold = true).await;
    let request = world
        .client
        .post(world.url("/v1/models/facequality:predict"));
    let held = tokio::spawn(request.body(single(&item(&grey(1)))).send());
    world.triton.wait(|observed| observed.in_flight == 1).await;
    let rest = world.predict(single(&item(&grey(1)))).await;
    row(
        Kind::Overloaded,
        &rest,
        infer(&world, "facequality", &grey(1)).await,
        "--queue 1",
    );
    world.triton.set(|script| script.hold = false);
    assert_eq!(held.await.unwrap().unwrap().status(), 200);

    let World {
        triton,
        service,
        client,
    } = world;
    let host = triton.address.to_string();
    drop(triton);
    let world = World {
        triton: crate::world::triton::FakeTriton::start().await,
        service,
        client,
    };
    loop {
        if world.get("/v2/health/ready").await.status == 503 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let rest = world.predict(single(&item(&grey(1)))).await;
    // Where the predictor is, is the operator's business.
    assert!(!rest.text.contains(&host), "{}", rest.text);
    row(
        Kind::Unavailable,
        &rest,
        infer(&world, "facequality", &grey(1)).await,
        "cannot reach it: Connection refused",
    );
}

#[tokio::test]
async fn grpc_timeout_is_the_deadline_and_resets_the_predictors_stream() {
    let world = World::with(&[], |script| script.hold = true).await;
    // Not by tonic's channel, whose own clock would response first.
    let stream = tokio::net::TcpStream::connect(world.service.http)
        .await
        .unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let message = image_request("facequality", &grey(1)).encode_to_vec();
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.extend_from_slice(&message);
    let request = http::Request::post(world.url("/inference.GRPCInferenceService/ModelInfer"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "500m")
        .body(Full::new(frame.freeze()))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let code = Status::from_header_map(response.headers()).unwrap().code();
    assert_eq!(code, Code::DeadlineExceeded);
    let observed = world.triton.wait(|observed| observed.canceled == 1).await;
    let timeout = parse_timeout(&observed.headers["grpc-timeout"]).unwrap();
    assert!(timeout <= Duration::from_millis(500), "{timeout:?}");
}
