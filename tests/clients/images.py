"""Images as clients send them, and the tensors that OpenCV makes of them."""

import base64
import json
import pathlib

import cv2
import numpy as np

IMAGES = pathlib.Path(__file__).resolve().parents[2] / "data/images"
SIDE = 112


def read(name):
    return (IMAGES / name).read_bytes()


def different(count):
    """PNG crops of the photograph, each moved by some pixels, so that their scores differ and decoders cannot disagree."""
    photo = cv2.imdecode(np.frombuffer(read("astronaut.jpg"), np.uint8), cv2.IMREAD_COLOR)
    crops = (photo[4 * k : 4 * k + 90 + k, 3 * k : 3 * k + 130] for k in range(count))
    return [cv2.imencode(".png", crop)[1].tobytes() for crop in crops]


def tensor(image_bytes):
    """FP32 [3,112,112] as the contract's arithmetic has it."""
    pixels = cv2.imdecode(
        np.frombuffer(image_bytes, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    )
    planes = cv2.resize(pixels, (SIDE, SIDE))[:, :, ::-1].transpose(2, 0, 1)
    return np.ascontiguousarray((planes.astype(np.float32) - np.float32(127.5)) / np.float32(128.0))


def data_uri(image_bytes, mime="image/png"):
    return f"data:{mime};base64,{base64.b64encode(image_bytes).decode('ascii')}"


def request(item):
    return {"data": {"item": item}}


def body(*images):
    """A Request for one image, a MultiRequest for several."""
    requests = [request(data_uri(p)) for p in images]
    return json.dumps(requests[0] if len(requests) == 1 else {"multi_data": requests}).encode("ascii")


def answer(scores):
    """The MultiResponse for these scores, byte for byte."""
    entries = (
        f'{{"data":[{{"score":{float(score)!r}}}],"extra_info":{{"source":"face_quality_score"}}}}'
        for score in scores
    )
    return ('{"multi_data":[' + ",".join(entries) + "]}").encode("ascii")


def scores(answer_body):
    return [entry["data"][0]["score"] for entry in json.loads(answer_body)["multi_data"]]
