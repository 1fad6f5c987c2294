"""`k8s/model-repository` in the real Triton, with the embedded models in place of the TensorRT plans."""

import concurrent.futures
import json

import numpy as np
import pytest
import tritonclient.grpc

import manifests
import processes

CONFIGS = manifests.K8S / "model-repository"
MODELS = ["face_quality_trt_fp16", "centerface"]
IMAGE = (processes.ROOT / "data/images/astronaut.jpg").read_bytes()


@pytest.fixture(scope="module")
def slow_triton():
    with processes.triton("--configs", str(CONFIGS), "--delay-ms", "300") as server:
        yield server


def faces(*flags):
    with processes.service(*flags) as service:
        status, _, body = service.call("POST", "/v1/models/facephoto:predict", IMAGE)
    assert status == 200, body
    [photo] = json.loads(body)["multi_data"]
    return photo["data"]


def test_the_models_fit_the_service(slow_triton):
    [found] = faces("--predictor_host", slow_triton.grpc, "--predictor_protocol", "grpc-v2", "--enable_facephoto")
    [expected] = faces()
    assert found["score"] == pytest.approx(expected["score"], abs=1e-3)
    assert found["box"] == pytest.approx(expected["box"], abs=1)


@pytest.mark.parametrize("model", MODELS)
def test_the_queue_fits_the_services_own_bounds(slow_triton, model):
    assert sorted(MODELS) == sorted(each.name for each in CONFIGS.iterdir())
    config = json.loads(slow_triton.get(f"/v2/models/{model}/config")[2])
    policy = config["dynamic_batching"]["default_queue_policy"]
    assert (policy["timeout_action"], policy["allow_timeout_override"]) == ("REJECT", True)
    for overlay in manifests.OVERLAYS:
        service = manifests.Service(manifests.applied(overlay))
        request = float(service.settings["predictor_request_timeout_seconds"])
        assert int(policy["default_timeout_microseconds"]) >= request * 1_000_000
        # Collocated, each Triton has one transformer.
        callers = 1 if service.collocated else service.component["maxReplicas"]
        assert policy["max_queue_size"] >= callers * int(service.settings["concurrency"])


def test_a_call_that_waits_past_its_own_timeout_does_not_run(slow_triton):
    client = tritonclient.grpc.InferenceServerClient(slow_triton.grpc)
    tensor = tritonclient.grpc.InferInput("input.1", [32, 3, 112, 112], "FP32")
    tensor.set_data_from_numpy(np.zeros([32, 3, 112, 112], np.float32))
    pending = 'nv_inference_pending_request_count{model="face_quality_trt_fp16",version="1"}'
    with concurrent.futures.ThreadPoolExecutor(9) as threads:
        # Full batches, of which one runs at a time; then one that may wait for 10 ms only.
        others = [threads.submit(client.infer, "face_quality_trt_fp16", [tensor]) for _ in range(8)]
        while processes.triton_metrics(slow_triton)[pending] < 1:
            assert not all(each.done() for each in others)
        hurried = threads.submit(client.infer, "face_quality_trt_fp16", [tensor], timeout=10_000)
        assert "timeout" in str(hurried.exception()).lower()
        for each in others:
            assert each.result().as_numpy("1346").shape == (32, 1)
