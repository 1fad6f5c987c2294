"""The model `facephoto` inside Triton, in its Python backend: the faces of a photo, the best score first. It does with OpenCV and
NumPy what src/faces does, and calls the detector and the quality model by BLS. bls.py copies it into a model repository."""

import json

import cv2
import numpy as np
import triton_python_backend_utils as pb

cv2.setNumThreads(1)

DETECTOR, MAPS = "centerface", ["537", "538", "539", "540"]
QUALITY, SCORE, MAX_BATCH_SIZE = "face_quality_fp32", "1346", 32
SIDE = 112
INPUT_STEP, STRIDE = 32, 4
THRESHOLD, MAX_OVERLAP, MAX_FACES = 0.5, 0.3, 256
MAX_CELLS = 8 * MAX_FACES


def infer(model, tensor, outputs):
    response = pb.InferenceRequest(
        model_name=model, requested_output_names=outputs, inputs=[pb.Tensor("input.1", tensor)],
    ).exec()
    if response.has_error():
        raise pb.TritonModelException(response.error().message())
    return [pb.get_output_tensor_by_name(response, output).as_numpy() for output in outputs]


def fill(planes, pixels, size):
    planes[2], planes[1], planes[0] = cv2.split(cv2.resize(pixels, size))


def input_size(photo, detect_side):
    longer = max(photo)
    step = longer * INPUT_STEP
    return [-(-side * min(longer, detect_side) // step) * INPUT_STEP for side in photo]


def find_boxes(heat, scale, offset, photo):
    """Left, top, width and height of each face in the pixels of a photo of this width and height, the most certain first."""
    rows, columns = heat.shape[-2:]
    heat = heat.ravel()
    cells = np.flatnonzero(heat > THRESHOLD)
    # The maps have the vertical value first.
    scale, offset = (of_map.reshape(2, -1)[::-1, cells].T for of_map in (scale, offset))
    size = np.exp(scale) * np.float32(STRIDE)
    place = np.stack([cells % columns, cells // columns], 1).astype(np.float32)
    start = (place + offset + np.float32(0.5)) * np.float32(STRIDE) - size / 2
    photo = np.float32(photo)
    to_photo = photo / np.float32([columns * STRIDE, rows * STRIDE])
    start, end = (np.clip(corner * to_photo, 0, photo) for corner in (start, start + size))
    boxes = np.hstack([start, end - start])
    inside = (end > start).all(1)
    boxes, heat = boxes[inside], heat[cells[inside]]
    kept = cv2.dnn.NMSBoxes(boxes, heat, THRESHOLD, MAX_OVERLAP, top_k=MAX_CELLS) if len(boxes) else []
    return boxes[kept[:MAX_FACES]] if len(kept) else boxes[:0]


def squares(boxes, photo):
    """Left, top, right and bottom of the square around each box, as much of it as is in the photo; at least a pixel."""
    half = boxes[:, 2:].max(1, keepdims=True) / 2
    middle = boxes[:, :2] + boxes[:, 2:] / 2
    start, end = (np.floor(corner + np.float32(0.5)).astype(int) for corner in (middle - half, middle + half))
    start = np.clip(start, 0, np.array(photo) - 1)
    end = np.maximum(np.minimum(end, photo), start + 1)
    return np.hstack([start, end]).tolist()


class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        self.detect_side = int(parameters["detect_side"]["string_value"])

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        [image] = pb.get_input_tensor_by_name(request, "image").as_numpy()
        photo = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        boxes = self.detect(photo)
        scores = np.concatenate(
            [np.empty((0, 1), np.float32)]
            + [self.score(photo, boxes[at : at + MAX_BATCH_SIZE]) for at in range(0, len(boxes), MAX_BATCH_SIZE)]
        )
        best_first = np.argsort(-scores[:, 0], kind="stable")
        return pb.InferenceResponse([pb.Tensor("score", scores[best_first]), pb.Tensor("box", boxes[best_first])])

    def detect(self, photo):
        height, width = photo.shape[:2]
        size = input_size((width, height), self.detect_side)
        tensor = np.empty((1, 3, size[1], size[0]), np.float32)
        fill(tensor[0], photo, size)
        heat, scale, offset, _landmarks = infer(DETECTOR, tensor, MAPS)
        return find_boxes(heat, scale, offset, (width, height))

    def score(self, photo, boxes):
        height, width = photo.shape[:2]
        tensor = np.empty((len(boxes), 3, SIDE, SIDE), np.float32)
        for planes, (left, top, right, bottom) in zip(tensor, squares(boxes, (width, height))):
            fill(planes, photo[top:bottom, left:right], (SIDE, SIDE))
        tensor -= 127.5
        tensor *= 0.0078125
        [scores] = infer(QUALITY, tensor, [SCORE])
        return scores
