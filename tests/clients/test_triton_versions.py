"""The oldest and the newest Triton that can be had from PyPI behave alike for this service: 2.36 (23.07) and 2.51 (24.10)."""

import json

import grpc
import pytest

import images
import processes

PREDICT = "/v1/models/facequality:predict"


@pytest.fixture(scope="module", params=[("triton-old", "2.36.0"), ("triton", "2.51.0")], ids=lambda param: param[1])
def versioned(request):
    venv, version = request.param
    with processes.triton(*processes.ONE_MODEL, venv=venv) as server:
        assert json.loads(server.get("/v2")[2])["version"] == version
        yield server


@pytest.mark.parametrize("protocol", ["grpc-v2", "v2"])
def test_it_gives_the_scores(versioned, protocol):
    host = versioned.grpc if protocol == "grpc-v2" else versioned.http
    # More than a batch, so that the request is split.
    crops = images.different(40)
    body = {"multi_data": [images.request(images.data_uri(crop)) for crop in crops]}
    with processes.service("--predictor_host", host, "--predictor_protocol", protocol) as service:
        status, _, answer = service.post(PREDICT, json.dumps(body))
    assert status == 200, answer
    assert images.scores(answer) == pytest.approx([images.tensor(crop).mean() for crop in crops], abs=1e-4)


def test_the_kubelets_grpc_probe_is_answered(versioned):
    """As k8s/ asks for Triton's readiness: grpc.health.v1 without a service's name; 1 is SERVING."""
    with grpc.insecure_channel(versioned.grpc) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=60) == b"\x08\x01"
