"""The REST routes beside predict, as KServe's SDK has them, and the errors' one shape."""

import json

import pytest

import processes


def json_of(body):
    return json.loads(body)


@pytest.mark.parametrize(
    "path, expected",
    [
        ("/", {"status": "alive"}),
        ("/v1/models", {"models": ["facequality"]}),
        ("/v1/models/", {"models": ["facequality"]}),
        ("/v1/models/facequality", {"name": "facequality", "ready": True}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
    ],
)
def test_route(service, path, expected):
    status, headers, body = service.get(path)
    assert (status, json_of(body)) == (200, expected)
    assert headers["content-type"] == "application/json"
    assert b" " not in body


@pytest.mark.parametrize(
    "method, path, status, allow",
    [
        ("GET", "/nowhere", 404, None),
        ("GET", "/v1/models/unknown", 404, None),
        ("POST", "/v1/models/unknown:predict", 404, None),
        ("GET", "/v1/models/facequality:predict", 405, "POST"),
        ("DELETE", "/v1/models/facequality:predict", 405, "POST"),
        ("POST", "/v1/models", 405, "GET"),
        ("PUT", "/v2/health/live", 405, "GET"),
    ],
)
def test_error(service, method, path, status, allow):
    got, headers, body = service.call(method, path, b"{}" if method in ("POST", "PUT") else None)
    assert got == status, body
    assert list(json_of(body)) == ["error"]
    if allow:
        assert allow in [name.strip() for name in headers["allow"].split(",")]


def test_the_escaped_colon_is_the_same_route(service):
    status, _, body = service.post("/v1/models/facequality%3Apredict", b"{}")
    assert status == 400, body


def test_metrics_are_text_with_kserves_names(service):
    status, headers, body = service.get("/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    for name in (b"request_preprocess_seconds", b"request_predict_seconds", b"request_postprocess_seconds"):
        assert name in body


def test_not_ready_says_why_while_the_input_has_another_name(triton):
    flags = ["--predictor_host", triton.grpc, "--predictor_model", "other_input"]
    with processes.service(*flags, wait_path="/v2/health/live") as service:
        status, _, body = service.get("/v2/health/ready")
        assert status == 503, body
        answer = json_of(body)
        assert answer["ready"] is False
        assert service.get("/v1/models/facequality")[0] == 503
