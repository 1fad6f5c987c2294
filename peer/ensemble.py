"""The service before a real Triton, against the same work done inside Triton: an ensemble of a preprocessor in its Python
backend, with OpenCV, and the model. Both answer the same images with the same scores, which is checked first.

    bash tests/clients/setup.sh triton                         # the environment, once
    cargo build --profile dist
    target/venvs/triton/bin/python peer/ensemble.py            # some three minutes on two quiet cores

CPU is user and system time of all server processes, Triton's among them, per image; 8 requests in flight over gRPC. The two take
turns; shown is the median of the turns' ratios with the least and the most, and the median of each side.
"""

import asyncio
import statistics

import cv2
import numpy as np

from triton_peer import ROOT, Side, arguments, cpu_seconds, ratio, run_triton, servers, take_turns, write_files

MODEL = "face_quality_trt_fp16"

PREPROCESSOR = '''
import cv2
import numpy as np
import triton_python_backend_utils as pb

cv2.setNumThreads(1)


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        images = pb.get_input_tensor_by_name(request, "image").as_numpy().reshape(-1)
        tensor = np.empty((len(images), 3, 112, 112), np.float32)
        for image, planes in zip(images, tensor):
            flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            pixels = cv2.resize(cv2.imdecode(np.frombuffer(image, np.uint8), flags), (112, 112))
            planes[2], planes[1], planes[0] = cv2.split(pixels)
        tensor -= 127.5
        tensor *= 0.0078125
        return pb.InferenceResponse([pb.Tensor("input.1", tensor)])
'''

PREPROCESSOR_CONFIG = '''
name: "preprocessor" backend: "python" max_batch_size: 32
input [{ name: "image" data_type: TYPE_STRING dims: [1] }]
output [{ name: "input.1" data_type: TYPE_FP32 dims: [3, 112, 112] }]
instance_group [{ kind: KIND_CPU count: 2 }]
''' + run_triton.DYNAMIC_BATCHING

ENSEMBLE_CONFIG = '''
name: "facequality" platform: "ensemble" max_batch_size: 32
input [{ name: "image" data_type: TYPE_STRING dims: [1] }]
output [{ name: "1346" data_type: TYPE_FP32 dims: [1] }]
ensemble_scheduling { step [
  { model_name: "preprocessor" model_version: -1
    input_map { key: "image" value: "image" } output_map { key: "input.1" value: "tensor" } },
  { model_name: "face_quality_trt_fp16" model_version: -1
    input_map { key: "input.1" value: "tensor" } output_map { key: "1346" value: "1346" } }
] }
'''


def write_repository(repository):
    # The model costs nearly nothing, so that what is compared is the work before it.
    run_triton.write_model(repository, MODEL, 32, more=run_triton.DYNAMIC_BATCHING)
    write_files(repository, "preprocessor", PREPROCESSOR_CONFIG, PREPROCESSOR)
    write_files(repository, "facequality", ENSEMBLE_CONFIG)


async def compare(ensemble, service, pids, args):
    for side in (ensemble, service):
        await side.ready()
    face = (ROOT / "data/images/face.jpg").read_bytes()
    photo = cv2.imread(str(ROOT / "data/images/astronaut.jpg"))
    photo = cv2.resize(photo, (1920, 1920), interpolation=cv2.INTER_CUBIC)
    photo = cv2.imencode(".jpg", photo)[1].tobytes()
    print("| images | CPU, ensemble ÷ service | images/s, service ÷ ensemble | µs CPU per image | images/s | p50, p99 in ms |")
    print("|---|---|---|---|---|---|")
    for what, image, batch in (
        ("250×250, 1 per request", face, 1), ("250×250, 16 per request", face, 16), ("1920×1920, 1 per request", photo, 1),
    ):
        images = np.array([[image]] * batch, dtype=object)
        [[theirs], [ours]] = [await side.answer(images) for side in (ensemble, service)]
        assert theirs.tolist() == ours.tolist(), f"the two differ on {what}: {theirs} {ours}"
        turns = await take_turns((ensemble, service), images, batch, args, [lambda: cpu_seconds(pids)])
        (e_cpu, e_rate, e_p50, e_p99), (s_cpu, s_rate, s_p50, s_p99) = (zip(*its_turns) for its_turns in turns)
        (e_cpu,), (s_cpu,) = zip(*e_cpu), zip(*s_cpu)
        median = statistics.median
        print(
            f"| {what} | {ratio(e_cpu, s_cpu)} | {ratio(s_rate, e_rate)} | {median(e_cpu):.0f}, {median(s_cpu):.0f} "
            f"| {median(e_rate):.0f}, {median(s_rate):.0f} "
            f"| {median(e_p50):.1f}, {median(e_p99):.1f}; {median(s_p50):.1f}, {median(s_p99):.1f} |", flush=True,
        )


def main():
    args = arguments(__doc__).parse_args()
    with servers(args.binary, write_repository) as (triton_port, service_port, pids):
        sides = Side(triton_port, "facequality", ["1346"]), Side(service_port, "facequality", ["score"])
        asyncio.run(compare(*sides, pids, args))


if __name__ == "__main__":
    main()
