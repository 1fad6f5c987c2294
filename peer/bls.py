"""Whole photos: the service's `facephoto` before a real Triton, against the same two stages inside Triton: a model of its Python
backend that finds and cuts out faces with OpenCV and NumPy (bls_model.py), and calls the same detector and the same quality model by
BLS (business logic scripting). That both find the same faces, with the same scores, is checked first.

    bash tests/clients/setup.sh triton                         # the environment, once
    cargo build --profile dist
    target/venvs/triton/bin/python peer/bls.py                 # some four minutes
    target/venvs/triton/bin/python peer/bls.py --null_models   # models that cost nearly nothing

CPU is user and system time of all server processes, Triton's among them, per photo; "without models" leaves out the two processes in
which Triton runs the detector and the quality model, which do the same on both sides. 8 requests in flight over gRPC. The two take
turns; shown is the median of the turns' ratios with the least and the most, and the median of each side.
"""

import asyncio
import functools
import pathlib
import statistics

import cv2
import numpy as np

from triton_peer import ROOT, Side, arguments, cpu_seconds, ratio, run_triton, servers, take_turns, write_files

DETECTOR = "centerface"
QUALITY = "face_quality_fp32"

# Whose CPU is measured, by the command line: that of a model has the path of its file.
MEASURED = {
    "all": lambda _command: True,
    "without models": lambda command: not any(f"/{model}/" in command for model in (DETECTOR, QUALITY)),
    "detector": lambda command: f"/{DETECTOR}/" in command,
    "quality": lambda command: f"/{QUALITY}/" in command,
}

CONFIG = '''
name: "facephoto" backend: "python" max_batch_size: 0
input [{{ name: "image" data_type: TYPE_STRING dims: [1] }}]
output [
  {{ name: "score" data_type: TYPE_FP32 dims: [-1, 1] }},
  {{ name: "box" data_type: TYPE_FP32 dims: [-1, 4] }}
]
parameters {{ key: "detect_side" value: {{ string_value: "{detect_side}" }} }}
instance_group [{{ kind: KIND_CPU count: {instances} }}]
'''

# Gives for each size of its input what the detector gave for the first one.
NULL_DETECTOR = '''
import numpy as np
import onnxruntime
import triton_python_backend_utils as pb

NAMES = ["537", "538", "539", "540"]


class TritonPythonModel:
    def initialize(self, _):
        self.session = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])
        self.maps = {{}}

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        photos = pb.get_input_tensor_by_name(request, "input.1").as_numpy()
        if photos.shape not in self.maps:
            self.maps[photos.shape] = self.session.run(NAMES, {{"input.1": photos}})
        return pb.InferenceResponse([pb.Tensor(*named) for named in zip(NAMES, self.maps[photos.shape])])
'''


def write_repository(repository, args):
    run_triton.write_centerface(repository)
    if args.null_models:
        code = NULL_DETECTOR.format(file=run_triton.MODELS / "centerface.onnx")
        (repository / DETECTOR / "1/model.py").write_text(code)
        run_triton.write_model(repository, QUALITY, 32)
    else:
        run_triton.write_face_quality(repository, "FP32")
    code = pathlib.Path(__file__).with_name("bls_model.py").read_text()
    config = CONFIG.format(detect_side=args.detect_side, instances=args.instances)
    write_files(repository, "facephoto", config, code)


def photos():
    """What it is, how many faces it has, and the file."""
    path = ROOT / "data/images/astronaut.jpg"
    face = cv2.imread(str(path))[:256, 96:352]
    eight = np.tile(face, (2, 4, 1))
    yield "512×512, 1 face", 1, path.read_bytes()
    for factor in (1, 2):
        photo = cv2.resize(eight, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        height, width = photo.shape[:2]
        yield f"{width}×{height}, 8 faces", 8, cv2.imencode(".jpg", photo)[1].tobytes()


def check_equal(theirs, ours, faces):
    """The same faces in any order: equal ones may change places. By how much they differ at most, in pixels and in score."""
    (scores, boxes), (our_scores, our_boxes) = theirs, ours
    assert len(boxes) == len(our_boxes) == faces, f"{len(boxes)} and {len(our_boxes)} faces instead of {faces}"
    distances = np.abs(boxes[:, None] - our_boxes[None]).max(2)
    nearest = distances.argmin(1)
    assert sorted(nearest) == list(range(faces)), f"other faces: {boxes} {our_boxes}"
    distance, difference = distances.min(1).max(), np.abs(scores - our_scores[nearest]).max()
    assert distance <= 1, f"boxes differ by {distance} pixels"
    assert difference <= 1e-3, f"scores differ by {difference}"
    return distance, difference


async def compare(bls, service, pids, args):
    for side in (bls, service):
        await side.ready()
    meters = [functools.partial(cpu_seconds, pids, wanted) for wanted in MEASURED.values()]
    columns = ["photo", "CPU, BLS ÷ service", "without models, BLS ÷ service", "photos/s, service ÷ BLS"]
    columns += [f"µs CPU per photo, {what}" for what in MEASURED] + ["photos/s", "p50, p99 in ms", "boxes, scores differ by"]
    print("|", " | ".join(columns), "|")
    print("|" + "---|" * len(columns))
    for what, faces, photo in photos():
        images = np.array([photo], dtype=object)
        difference = check_equal(*[await side.answer(images) for side in (bls, service)], faces)
        turns = await take_turns((bls, service), images, faces, args, meters)
        # Of each meter the turns of the two sides.
        cpu = list(zip(*(zip(*(turn.cpu for turn in its_turns)) for its_turns in turns)))
        rates = [[turn.rate for turn in its_turns] for its_turns in turns]
        waits = [[statistics.median(times) for times in zip(*(turn[2:] for turn in its_turns))] for its_turns in turns]
        cells = [what, ratio(*cpu[0]), ratio(*cpu[1]), ratio(*reversed(rates))]
        cells += [", ".join(f"{statistics.median(values):.0f}" for values in sides) for sides in (*cpu, rates)]
        cells += ["; ".join(f"{p50:.0f}, {p99:.0f}" for p50, p99 in waits), "{:.2g}, {:.2g}".format(*difference)]
        print("|", " | ".join(cells), "|", flush=True)


def main():
    parser = arguments(__doc__)
    parser.add_argument("--detect_side", type=int, default=320, help="of both; the product's default of 640 costs more in the detector")
    parser.add_argument("--instances", type=int, default=4, help="of the model that calls the others, each a process")
    parser.add_argument("--null_models", action="store_true", help="a detector that repeats its maps, a quality model that takes means")
    args = parser.parse_args()
    flags = ["--enable_facephoto", "--predictor_model", QUALITY, "--detect_side", str(args.detect_side)]
    with servers(args.binary, functools.partial(write_repository, args=args), flags) as (triton_port, service_port, pids):
        sides = (Side(port, "facephoto", ["score", "box"]) for port in (triton_port, service_port))
        asyncio.run(compare(*sides, pids, args))


if __name__ == "__main__":
    main()
