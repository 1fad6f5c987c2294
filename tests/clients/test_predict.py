"""V1 predict in front of the real Triton: the answer's bytes, order, splitting, load, what old clients send, what is refused."""

import asyncio
import base64
import json

import aiohttp
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc

import images
import processes

PREDICT = "/v1/models/facequality:predict"


def direct_scores(triton, tensors):
    """What Triton gives for these tensors, without the service in between."""
    batch = np.stack(tensors)
    given = triton_grpc.InferInput("input.1", list(batch.shape), "FP32")
    given.set_data_from_numpy(batch)
    with triton_grpc.InferenceServerClient(triton.grpc) as client:
        return client.infer("face_quality_trt_fp16", [given]).as_numpy("1346").ravel()


@pytest.mark.parametrize("count", [1, 16])
def test_the_answer_is_tritons_score_in_the_contracts_bytes(triton, service, count):
    sent = images.different(count)
    status, headers, body = service.post(PREDICT, images.body(*sent))
    assert status == 200, body
    assert headers["content-type"] == "application/json"

    expected = direct_scores(triton, [images.tensor(p) for p in sent])
    assert np.abs(np.array(images.scores(body)) - expected).max() <= 1e-5
    assert body == images.answer(images.scores(body))
    assert body == images.answer(expected), "the tensor did not arrive bit for bit"


def test_more_images_than_tritons_batch_keep_their_order(triton, service):
    sent = images.different(33)
    status, _, body = service.post(PREDICT, images.body(*sent))
    assert status == 200, body
    tensors = [images.tensor(p) for p in sent]
    expected = np.concatenate([direct_scores(triton, tensors[:32]), direct_scores(triton, tensors[32:])])
    assert len(set(expected)) == 33, "the images must differ for the order to show"
    assert body == images.answer(expected)


def test_a_model_without_batch_axis_is_served(triton):
    sent = images.different(3)
    flags = ["--predictor_host", triton.grpc, "--predictor_model", "no_batching"]
    with processes.service(*flags) as service:
        status, _, body = service.post(PREDICT, images.body(*sent))
    assert status == 200, body
    assert body == images.answer(direct_scores(triton, [images.tensor(p) for p in sent]))


def test_five_hundred_at_once_are_all_answered_with_their_own_score(triton):
    sent = images.different(20)
    bodies = [images.body(p) for p in sent]
    expected = [images.answer(direct_scores(triton, [images.tensor(p)])) for p in sent]

    async def all_at_once(url):
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def one(n):
                async with session.post(url, data=bodies[n % 20]) as answer:
                    return answer.status, await answer.read()

            return await asyncio.gather(*map(one, range(500)))

    # On a slow machine the last of them wait for longer than they may by default.
    flags = ["--concurrency", "8", "--queue_timeout_ms", "60000", "--predictor_request_timeout_seconds", "120"]
    with processes.service("--predictor_host", triton.grpc, *flags) as service:
        answers = asyncio.run(all_at_once(f"http://{service.http}{PREDICT}"))
    assert [status for status, _ in answers] == [200] * 500
    assert [body for _, body in answers] == [expected[n % 20] for n in range(500)]


def old_client_bodies():
    jpeg, png = images.read("face.jpg"), images.read("face.png")
    yield "an f-string over bytes", jpeg, {
        "data": {"item": f"data:image/jpeg;base64,{base64.b64encode(jpeg)}"}
    }
    yield "every optional field null", png, {
        "multi_data": None,
        "data": {"item": images.data_uri(png)},
        "extra_info": {"type": None, "others": None},
    }
    yield "null extra_info in each place", png, {
        "multi_data": [{"data": {"item": images.data_uri(png)}, "extra_info": None}],
        "extra_info": None,
    }
    yield "png bytes under image/jpeg", png, images.request(images.data_uri(png, "image/jpeg"))
    yield "an escaped slash in the base64", png, None


@pytest.mark.parametrize("name, image, body", [pytest.param(*c, id=c[0]) for c in old_client_bodies()])
@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", None])
def test_what_existing_clients_send_scores(triton, service, name, image, body, content_type):
    text = json.dumps(body) if body else json.dumps(images.request(images.data_uri(image))).replace("/", "\\/")
    status, _, answer = service.post(PREDICT, text.encode("ascii"), content_type)
    assert status == 200, answer
    expected = direct_scores(triton, [images.tensor(image)])
    assert np.array_equal(images.scores(answer), expected), "the tensor is not OpenCV's"


BAD_BODIES = {
    "empty": b"",
    "white space": b" \n",
    "not json": b'{"data":',
    "cut inside a string": b'{"data":{"item":"data:image/png;base64,iVBO',
    "two values": b'{"data":{"item":"data:,"}} {}',
    "no known key": b'{"foo":1}',
    "data null": b'{"data":null}',
    "item missing": b'{"data":{}}',
    "item null": b'{"data":{"item":null}}',
    "item a number": b'{"data":{"item":5}}',
    "item a list": b'{"data":{"item":["data:"]}}',
    "item empty": b'{"data":{"item":""}}',
    "unknown form": b'{"data":{"item":"ftp://example.org/a.jpg"}}',
    "bare base64": b'{"data":{"item":"aGVsbG8="}}',
    "no base64 marker": b'{"data":{"item":"data:image/png,abc"}}',
    "bad base64": b'{"data":{"item":"data:image/png;base64,ab*d"}}',
    "base64 of nothing": b'{"data":{"item":"data:image/png;base64,"}}',
    "not an image": b'{"data":{"item":"data:image/png;base64,aGVsbG8gd29ybGQ="}}',
    "multi_data empty": b'{"multi_data":[]}',
    "multi_data an object": b'{"multi_data":{}}',
    "multi_data of strings": b'{"multi_data":["data:"]}',
    "null among the requests": b'{"multi_data":[null]}',
    "null item among the requests": b'{"multi_data":[{"data":{"item":null}}]}',
    "path item": b'{"data":{"item":"path:../../etc/passwd"}}',
    "metadata address": b'{"data":{"item":"http://169.254.169.254/latest/meta-data"}}',
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_bad_input_is_refused_with_a_text_and_harms_nobody(service, name):
    status, headers, body = service.post(PREDICT, BAD_BODIES[name])
    assert status == 400, body
    assert headers["content-type"] == "application/json"
    answer = json.loads(body)
    assert list(answer) == ["error"] and len(answer["error"]) > 10, body

    status, _, body = service.post(PREDICT, images.body(images.read("face.png")))
    assert status == 200, body


def test_a_refusal_names_the_place(service):
    good = images.request(images.data_uri(images.read("face.png")))
    body = json.dumps({"multi_data": [good, good, good, {"data": {"item": None}}]}).encode("ascii")
    status, _, answer = service.post(PREDICT, body)
    assert status == 400
    assert json.loads(answer)["error"].startswith("multi_data[3].data.item"), answer


def test_degraded_images_score_lower_with_the_embedded_model(embedded):
    names = ["face.png", "face_blurred.jpg", "face_dark.jpg", "face_low_resolution.png"]
    status, _, body = embedded.post(PREDICT, images.body(*map(images.read, names)))
    assert status == 200, body
    face, *degraded = images.scores(body)
    assert face > 0.85
    assert all(score < face - 0.3 for score in degraded), dict(zip(names, images.scores(body)))
