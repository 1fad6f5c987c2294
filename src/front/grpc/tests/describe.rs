//! What the server says of itself: readiness, metadata, statistics, reflection.

use super::*;

#[tokio::test]
async fn readiness_is_the_same_by_every_call() {
    let server = start(Scripted::default()).await;
    let mut client = server.client();
    let mut health = HealthClient::new(server.channel.clone());
    let check = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    let mut watched = health
        .watch(check("inference.GRPCInferenceService"))
        .await
        .unwrap()
        .into_inner();
    let ready = |name: &str, version: &str| ModelReadyRequest {
        name: name.to_owned(),
        version: version.to_owned(),
    };
    for is_ready in [true, false, true] {
        let reason = (!is_ready).then(|| "no predictor".to_owned());
        server
            .scripted
            .not_ready
            .lock()
            .unwrap()
            .clone_from(&reason);
        let found = client.server_ready(ServerReadyRequest {}).await.unwrap();
        assert_eq!(found.get_ref().ready, is_ready);
        let found = client.model_ready(ready("faces", "1")).await.unwrap();
        assert_eq!(found.get_ref().ready, is_ready);
        let status = if is_ready { 1 } else { 2 };
        assert_eq!(
            health.check(check("")).await.unwrap().get_ref().status,
            status
        );
        assert_eq!(watched.next().await.unwrap().unwrap().status, status);
        let index = client
            .repository_index(RepositoryIndexRequest::default())
            .await
            .unwrap()
            .into_inner();
        let state = if is_ready { "READY" } else { "UNAVAILABLE" };
        assert_eq!(index.models[0].state, state);
        assert_eq!(index.models[0].reason, reason.unwrap_or_default());
    }
    assert!(
        !client
            .model_ready(ready("nobody", ""))
            .await
            .unwrap()
            .get_ref()
            .ready
    );
    assert!(
        !client
            .model_ready(ready("faces", "2"))
            .await
            .unwrap()
            .get_ref()
            .ready
    );
    let unknown = health.check(check("nobody")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test]
async fn metadata_config_and_statistics() {
    let server = start(Scripted::default()).await;
    let mut client = server.client();
    let metadata = client
        .server_metadata(ServerMetadataRequest {})
        .await
        .unwrap();
    assert_eq!(metadata.get_ref().name, "facequality-transformer");
    let metadata = client
        .model_metadata(ModelMetadataRequest {
            name: "faces".to_owned(),
            version: "1".to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(metadata.versions, ["1"]);
    let tensors: Vec<_> = metadata
        .inputs
        .iter()
        .chain(&metadata.outputs)
        .map(|tensor| {
            (
                tensor.name.as_str(),
                tensor.datatype.as_str(),
                tensor.shape.clone(),
            )
        })
        .collect();
    assert_eq!(
        tensors,
        [
            ("image", "BYTES", vec![-1]),
            ("input.1", "FP32", vec![-1, 1, 2, 2]),
            ("score", "FP32", vec![-1, 1]),
        ]
    );
    let config = client
        .model_config(ModelConfigRequest {
            name: "faces".to_owned(),
            version: String::new(),
        })
        .await
        .unwrap()
        .into_inner()
        .config
        .unwrap();
    assert_eq!(config.max_batch_size, 0);
    assert!(config.input.iter().all(|input| input.optional));
    assert_eq!(config.input[1].dims, [-1, 1, 2, 2]);
    for _ in 0..2 {
        client
            .model_infer(images(&[b"1", b"22", b"333"]))
            .await
            .unwrap();
    }
    let statistics = client
        .model_statistics(ModelStatisticsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .model_stats;
    assert_eq!(
        statistics[0]
            .inference_stats
            .as_ref()
            .unwrap()
            .success
            .unwrap()
            .count,
        2
    );
    let unknown = client
        .model_statistics(ModelStatisticsRequest {
            name: "nobody".to_owned(),
            version: String::new(),
        })
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let unloaded = client
        .repository_model_load(RepositoryModelLoadRequest::default())
        .await
        .unwrap_err();
    assert_eq!(unloaded.code(), Code::Unimplemented);
    assert!(unloaded.message().contains("not built in"), "{unloaded}");
}

#[tokio::test]
async fn reflection_lists_the_services() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let server = start(Scripted::default()).await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut responses = ServerReflectionClient::new(server.channel.clone())
        .server_reflection_info(stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let response = responses.next().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = response else {
        panic!("{response:?}")
    };
    let names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    assert!(
        names.contains(&"inference.GRPCInferenceService".to_owned()),
        "{names:?}"
    );
    assert!(
        names.contains(&"grpc.health.v1.Health".to_owned()),
        "{names:?}"
    );
}
