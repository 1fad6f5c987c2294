"""Whole photos: the embedded models and the same ones on the real Triton find the same faces and give the same scores."""

import json

import pytest

import images
import processes

PREDICT = "/v1/models/facephoto:predict"
QUALITY = "/v1/models/facequality:predict"


def faces(server):
    status, _, body = server.call("POST", PREDICT, images.read("astronaut.jpg"))
    assert status == 200, body
    [photo] = json.loads(body)["multi_data"]
    return photo["data"]


@pytest.fixture(scope="module")
def found_here(embedded):
    return faces(embedded)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_triton_gives_the_same_faces(triton, found_here, protocol):
    host = triton.grpc if protocol == "grpc" else triton.http
    flags = ["--predictor_host", host, "--predictor_model", "face_quality_fp32", "--enable_facephoto"]
    flags += ["--predictor_protocol", "grpc-v2" if protocol == "grpc" else "v2"]
    with processes.service(*flags) as service:
        [face] = faces(service)
    [here] = found_here
    assert face["score"] == pytest.approx(here["score"], abs=1e-3)
    assert face["detection"] == pytest.approx(here["detection"], abs=1e-3)
    assert face["box"] == pytest.approx(here["box"], abs=1)
    for point, expected in zip(face["landmarks"], here["landmarks"], strict=True):
        assert point == pytest.approx(expected, abs=1)


def test_one_face_where_it_is(found_here):
    [face] = found_here
    left, top, width, height = face["box"]
    shared = [min(a + b, c + d) - max(a, c) for a, b, c, d in [(left, width, 182, 88), (top, height, 58, 120)]]
    both = shared[0] * shared[1]
    assert both / (width * height + 88 * 120 - both) >= 0.7


@pytest.mark.parametrize("datatype", ["fp16", "uint8"])
def test_a_model_gets_its_input_in_its_own_datatype(triton, embedded, datatype):
    image = images.read("face.png")
    expected = json.loads(embedded.call("POST", QUALITY, image)[2])
    with processes.service("--predictor_host", triton.grpc, "--predictor_model", f"face_quality_{datatype}") as service:
        status, _, body = service.call("POST", QUALITY, image)
    assert status == 200, body
    score = [entry["multi_data"][0]["data"][0]["score"] for entry in (json.loads(body), expected)]
    # UINT8 loses nothing; FP16 rounds what is sent.
    assert score[0] == pytest.approx(score[1], abs=1e-6 if datatype == "uint8" else 2e-3)
