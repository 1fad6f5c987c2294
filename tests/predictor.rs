//! The predictor against a scripted Triton: what goes over the wire, what comes back, and what
//! happens when things break.

#[path = "world/fake_rest.rs"]
mod fake_rest;
#[path = "world/fake_triton.rs"]
mod fake_triton;

use facequality_transformer::wire::triton::ServerLiveRequest;
use facequality_transformer::wire::triton::grpc_inference_service_client::GrpcInferenceServiceClient;
use fake_triton::FakeTriton;

#[tokio::test]
async fn the_fake_answers() {
    let triton = FakeTriton::start().await;
    let address = format!("http://{}", triton.host());
    let mut client = GrpcInferenceServiceClient::connect(address).await.unwrap();
    let live = client.server_live(ServerLiveRequest {}).await.unwrap();
    assert!(live.get_ref().live);
    assert_eq!(triton.seen().lives, 1);
}
