//! A request's path to the labels `protocol` and `route` of its metrics. A closed list: what callers
//! write never becomes a label.

use crate::observe::endpoint::{Endpoint, Protocol, Route};

/// Of a REST path, by its decoded segments.
pub(super) fn rest(segments: &[&str]) -> Endpoint {
    let (protocol, route) = match segments {
        [""] => (Protocol::Http, Route::Health),
        ["metrics"] => (Protocol::Http, Route::Metrics),
        ["v1", "models", model] if model.ends_with(":predict") => (Protocol::V1, Route::Predict),
        ["v1", "models"] => (Protocol::V1, Route::Metadata),
        // KServe's readiness of a model.
        ["v1", "models", model] if !model.contains(':') => (Protocol::V1, Route::Health),
        ["v1", ..] => (Protocol::V1, Route::Other),
        ["v2", "health", "live" | "ready"] => (Protocol::V2, Route::Health),
        ["v2", "models", _, "ready"] | ["v2", "models", _, "versions", _, "ready"] => {
            (Protocol::V2, Route::Health)
        }
        ["v2", "models", _, "infer"] | ["v2", "models", _, "versions", _, "infer"] => {
            (Protocol::V2, Route::Infer)
        }
        ["v2"] | ["v2", "models" | "repository" | "logging", ..] => (Protocol::V2, Route::Metadata),
        ["v2", ..] => (Protocol::V2, Route::Other),
        _ => (Protocol::Http, Route::Other),
    };
    Endpoint::new(protocol, route)
}

/// Of a gRPC path, `/package.Service/Method`.
pub(super) fn grpc(path: &str) -> Endpoint {
    let (service, method) = path
        .strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .unwrap_or_default();
    let route = match (service, method) {
        ("inference.GRPCInferenceService", method) => match method {
            "ModelInfer" => Route::ModelInfer,
            "ModelStreamInfer" => Route::ModelStreamInfer,
            "ServerLive" | "ServerReady" | "ModelReady" => Route::Health,
            "ServerMetadata" | "ModelMetadata" | "ModelConfig" | "ModelStatistics"
            | "RepositoryIndex" | "LogSettings" => Route::Metadata,
            _ => Route::Other,
        },
        ("grpc.health.v1.Health", _) => Route::Health,
        ("grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection", _) => {
            Route::Metadata
        }
        _ => Route::Other,
    };
    Endpoint::new(Protocol::Grpc, route)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_and_scrapes_are_no_predictions_and_unknown_paths_have_one_label() {
        let label = |endpoint: Endpoint| (endpoint.protocol.name(), endpoint.route.name());
        let rest = |path: &str| {
            let segments: Vec<_> = path.trim_matches('/').split('/').collect();
            label(rest(&segments))
        };
        for (path, labels) in [
            ("/", ("http", "health")),
            ("/metrics", ("http", "metrics")),
            ("/favicon.ico", ("http", "other")),
            ("/v1/models", ("v1", "metadata")),
            ("/v1/models/m", ("v1", "health")),
            ("/v1/models/m:predict", ("v1", "predict")),
            ("/v1/models/m:explain", ("v1", "other")),
            ("/v2", ("v2", "metadata")),
            ("/v2/health/ready", ("v2", "health")),
            ("/v2/models/m/ready", ("v2", "health")),
            ("/v2/models/m/versions/1/infer", ("v2", "infer")),
            ("/v2/models/m/infer", ("v2", "infer")),
            ("/v2/models/m/stats", ("v2", "metadata")),
            ("/v2/nothing", ("v2", "other")),
        ] {
            assert_eq!(rest(path), labels, "{path}");
        }
        for (path, route) in [
            ("/inference.GRPCInferenceService/ModelInfer", "ModelInfer"),
            (
                "/inference.GRPCInferenceService/ModelStreamInfer",
                "ModelStreamInfer",
            ),
            ("/inference.GRPCInferenceService/ServerLive", "health"),
            ("/inference.GRPCInferenceService/ModelConfig", "metadata"),
            ("/inference.GRPCInferenceService/Nothing", "other"),
            ("/grpc.health.v1.Health/Check", "health"),
            (
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                "metadata",
            ),
            ("/another.Service/ModelInfer", "other"),
            ("nonsense", "other"),
        ] {
            assert_eq!(label(grpc(path)), ("grpc", route), "{path}");
        }
    }
}
