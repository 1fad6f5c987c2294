//! A predictor that refuses streams: no library's server does that when it is told to, so this one
//! speaks HTTP/2 by itself.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use kserve_transformer::wire::grpc;
use kserve_transformer::wire::triton::model_infer_response::InferOutputTensor;
use kserve_transformer::wire::triton::model_metadata_response::TensorMetadata;
use kserve_transformer::wire::triton::{MODEL_INFER, ModelInferResponse, ModelMetadataResponse};
use tokio::net::TcpListener;

use super::*;

/// What inferences are reset with, one each; after that they get a score of 7.
type Resets = Arc<Mutex<VecDeque<Reason>>>;

async fn serve(listener: TcpListener, resets: Resets, connections: Arc<Mutex<usize>>) {
    while let Ok((stream, _)) = listener.accept().await {
        *connections.lock().unwrap() += 1;
        let resets = Arc::clone(&resets);
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, respond))) = connection.accept().await {
                answer(request, respond, &resets);
            }
        });
    }
}

fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, resets: &Resets) {
    let message = match request.uri().path() {
        MODEL_INFER => {
            if let Some(reason) = resets.lock().unwrap().pop_front() {
                return respond.send_reset(reason);
            }
            Some(grpc::encode(&scores_of_seven()))
        }
        path if path.ends_with("/ModelMetadata") => Some(grpc::encode(&metadata())),
        _ => None,
    };
    let status = if message.is_some() { "0" } else { "12" };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    let response = Response::builder().header("content-type", "application/grpc");
    let mut body = respond
        .send_response(response.body(()).unwrap(), false)
        .unwrap();
    if let Some(message) = message {
        body.send_data(message, false).unwrap();
    }
    body.send_trailers(trailers).unwrap();
}

fn metadata() -> ModelMetadataResponse {
    let tensor = |name: &str, shape: &[i64]| TensorMetadata {
        name: name.to_owned(),
        datatype: "FP32".to_owned(),
        shape: shape.to_vec(),
    };
    ModelMetadataResponse {
        inputs: vec![tensor("input.1", &[-1, 3, 2, 2])],
        outputs: vec![tensor("1346", &[-1, 1])],
        ..ModelMetadataResponse::default()
    }
}

fn scores_of_seven() -> ModelInferResponse {
    ModelInferResponse {
        outputs: vec![InferOutputTensor {
            name: "1346".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1, 1],
            ..InferOutputTensor::default()
        }],
        raw_output_contents: vec![Bytes::copy_from_slice(&7f32.to_le_bytes())],
        ..ModelInferResponse::default()
    }
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_on_the_connection_that_stays() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (resets, connections) = (Resets::default(), Arc::<Mutex<usize>>::default());
    let server = serve(listener, Arc::clone(&resets), Arc::clone(&connections));
    let server = tokio::spawn(server);
    let predictor = ready(&settings(&address.to_string())).await;
    for reason in [Reason::REFUSED_STREAM, Reason::CANCEL] {
        resets.lock().unwrap().push_back(reason);
        assert_eq!(scores(&predictor, 1, 1).await.unwrap(), [7.0], "{reason}");
    }
    // Twice in a row is once too often for one call.
    resets.lock().unwrap().extend([Reason::REFUSED_STREAM; 2]);
    let error = scores(&predictor, 1, 1).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    assert_eq!(*connections.lock().unwrap(), 1);
    server.abort();
}
