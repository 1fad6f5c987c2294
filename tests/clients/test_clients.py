"""NVIDIA's and KServe's own clients, unmodified: against the service before a real Triton and with the embedded model, on one port
for both protocols, with and without TLS; and the same calls against the real Triton, whose answers are the measure."""

import json
import queue
import subprocess

import numpy as np
import pytest

import calls_tritonclient as calls
import images
import processes
from certificates import Certificates

KSERVE_PYTHON = processes.ROOT / "target/venvs/kserve/bin/python"
PREDICT = "/v1/models/facequality:predict"
TRITON_MODEL = "face_quality_trt_fp16"


@pytest.fixture(scope="session")
def sent():
    """Two images and what OpenCV makes of them."""
    encoded = images.different(2)
    return encoded, np.stack([images.tensor(p) for p in encoded])


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def of_triton(triton, sent):
    """How the real Triton answers."""
    target = calls.Target(triton.http, triton.grpc, TRITON_MODEL)
    return {"metadata": calls.metadata(target), "inference": calls.inference(target, sent[1])}


@pytest.fixture(scope="session", params=["before triton", "before triton by rest", "before triton over tls", "embedded"])
def front(request, triton):
    """The service on --http_port alone, in its several settings."""
    by_grpc = ["--predictor_host", triton.grpc, "--predictor_protocol", "grpc-v2"]
    by_rest = ["--predictor_host", triton.http]  # its protocol is found by asking
    tls = None
    if request.param == "before triton over tls":
        certificates = request.getfixturevalue("certificates")
        flags, tls = [*by_grpc, *certificates.flags], certificates
    else:
        flags = {"before triton": by_grpc, "before triton by rest": by_rest, "embedded": []}[request.param]
    context = tls.client_context() if tls else None
    with processes.service("--enable_grpc", "false", *flags, tls=context) as server:
        server.name = request.param
        server.target = calls.Target(server.http, server.http, "facequality", str(tls.authority) if tls else None)
        yield server


def v1_scores(server, encoded):
    status, _, body = server.post(PREDICT, images.body(*encoded))
    assert status == 200, body
    return images.scores(body)


def test_inference_is_answered_as_triton_answers(front, of_triton, sent):
    answers = calls.inference(front.target, sent[1])
    assert list(calls.differences(answers, of_triton["inference"])) == []
    given = list(calls.all_scores(answers))
    expected = next(calls.all_scores(of_triton["inference"])) if front.name != "embedded" else given[0]
    assert given == [expected] * len(given), "one tensor, one score, by whatever way"


def test_an_image_scores_the_same_by_every_way(front, sent):
    encoded, tensor = sent
    expected = v1_scores(front, encoded)
    by_bytes = calls.image_scores(front.target, encoded)
    assert by_bytes == dict.fromkeys(by_bytes, expected)
    assert calls.grpc_inference(front.target, tensor)["plain"]["scores"] == expected
    raw = []
    for image in encoded:
        status, _, body = front.post(PREDICT, image, "image/png")
        assert status == 200, body
        raw += images.scores(body)
    assert raw == expected


def test_metadata_tells_the_images_and_the_score(front):
    answers = calls.metadata(front.target)
    assert answers["http"]["live"] and answers["http"]["ready"] and answers["http"]["model ready"]
    assert not answers["http"]["unknown model ready"] and not answers["grpc"]["unknown model ready"]
    tensors = [("image", "BYTES", [-1, 1]), ("score", "FP32", [-1, 1])]
    assert answers["grpc"]["tensors"] == tensors
    listed = answers["http"]["inputs"] + answers["http"]["outputs"]
    assert [(t["name"], t["datatype"], t["shape"]) for t in listed] == tensors
    assert answers["http"]["max_batch_size"] == answers["grpc"]["max_batch_size"] == 256
    assert answers["http"]["index"] == answers["grpc"]["index"] == ["READY"]
    assert answers["http"]["unknown metadata"] == {"refused": "404"}
    assert answers["grpc"]["unknown metadata"] == {"refused": "StatusCode.NOT_FOUND"}


def test_our_predictor_is_a_triton_to_the_clients(of_triton, sent):
    with processes.predictor() as server:
        target = calls.Target(server.http, server.grpc, TRITON_MODEL)
        assert list(calls.differences(calls.metadata(target), of_triton["metadata"])) == []
        answers = calls.inference(target, sent[1])
    assert list(calls.differences(answers, of_triton["inference"])) == []
    given = list(calls.all_scores(answers))
    assert given == [given[0]] * len(given)


def kserve_calls(target, tensor, files, tmp_path):
    saved = tmp_path / "tensor.npy"
    np.save(saved, tensor)
    command = [
        str(KSERVE_PYTHON), str(processes.ROOT / "tests/clients/calls_kserve.py"),
        "--http", target.http, "--grpc", target.grpc, "--model", target.model, "--tensor", str(saved),
        *(["--ca", target.ca] if target.ca else []), *map(str, files),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_kserves_clients(front, triton, sent, tmp_path):
    encoded, tensor = sent
    files = []
    for n, image in enumerate(encoded):
        files.append(tmp_path / f"{n}.png")
        files[-1].write_bytes(image)
    answers = kserve_calls(front.target, tensor, files, tmp_path)
    measure = kserve_calls(calls.Target(triton.http, triton.grpc, TRITON_MODEL), tensor, [], tmp_path)

    for protocol in ("v2", "grpc"):
        common = {key: answers[protocol][key] for key in measure[protocol]}
        # This client asks for no output by name: the service's own is called score.
        assert list(calls.differences(common, measure[protocol], ("scores", "name"))) == []
    assert answers["v2"]["live"] is True and answers["v2"]["ready"] is True
    assert answers["v1"]["live"] is True and answers["v1"]["model ready"] is True
    assert answers["v1"]["unknown model"] == {"raised": "HTTPStatusError"}
    expected = v1_scores(front, encoded)
    given = list(calls.all_scores(answers))
    assert len(given) == 9
    assert given == [expected] * len(given)


def test_queued_calls_whose_time_is_up_are_cancelled_at_triton(triton):
    """The model takes half a second for one image; of ten at once with less time most never get their turn."""
    tensor = np.zeros([1, 3, 112, 112], np.float32)
    flags = ["--predictor_host", triton.grpc, "--predictor_model", "slow"]
    with processes.service(*flags) as service:
        target = calls.Target(service.http, service.grpc, "facequality")
        with target.grpc_client() as client:
            inputs = calls.given(calls.grpc_client, tensor)
            refusals = queue.Queue()
            for _ in range(10):
                keep = lambda result, error: refusals.put(error)
                client.async_infer("facequality", inputs, keep, client_timeout=0.2)
            statuses = [refusals.get(timeout=60).status() for _ in range(10)]
            assert statuses == ["StatusCode.DEADLINE_EXCEEDED"] * 10
        with calls.Target(triton.http, triton.grpc, "slow").grpc_client() as client:
            # This one waits for its turn, so that Triton has looked at all that stood before it.
            client.infer("slow", inputs)
    metrics = processes.triton_metrics(triton)
    assert metrics['nv_inference_request_failure{model="slow",reason="CANCELED",version="1"}'] >= 5
