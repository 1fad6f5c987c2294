"""The service before a real Triton, against the same work done inside Triton: an ensemble of a preprocessor in its Python
backend, with OpenCV, and the model. Both answer the same images with the same scores, which is checked first.

    bash tests/clients/setup.sh triton                         # the environment, once
    cargo build --profile dist
    target/venvs/triton/bin/python peer/ensemble.py            # some three minutes on two quiet cores

CPU is user and system time of all server processes, Triton's among them, per image; 8 requests in flight over gRPC. The two take
turns; shown is the median of the turns' ratios with the least and the most, and the median of each side.
"""

import argparse
import asyncio
import contextlib
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import cv2
import numpy as np
import tritonclient.grpc.aio as grpc
from tritonclient.utils import InferenceServerException

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/clients"))
import run_triton  # noqa: E402

MODEL = "face_quality_trt_fp16"
IN_FLIGHT = 8
READY_WITHIN_SECONDS = 60

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
    for name, code, config in (
        ("preprocessor", PREPROCESSOR, PREPROCESSOR_CONFIG), ("facequality", None, ENSEMBLE_CONFIG),
    ):
        version = repository / name / "1"
        version.mkdir(parents=True)
        if code:
            (version / "model.py").write_text(code)
        (repository / name / "config.pbtxt").write_text(config)


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@contextlib.contextmanager
def process(command, **how):
    started = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **how)
    try:
        yield started.pid
    finally:
        started.terminate()
        started.wait()


def cpu_seconds(pid):
    """User and system time of a process and its children, whose children are asked in turn."""
    seconds, waiting = 0, [pid]
    while waiting:
        process = pathlib.Path("/proc", str(waiting.pop()))
        with contextlib.suppress(FileNotFoundError):
            fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
            seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            for task in (process / "task").iterdir():
                waiting += (task / "children").read_text().split()
    return seconds


class Side:
    """A server that takes the images, and what its output is called."""

    def __init__(self, port, output):
        self.address = f"127.0.0.1:{port}"
        self.output = output

    async def ready(self):
        until = time.monotonic() + READY_WITHIN_SECONDS
        async with grpc.InferenceServerClient(self.address) as client:
            while time.monotonic() < until:
                with contextlib.suppress(InferenceServerException):
                    if await client.is_model_ready("facequality"):
                        return
                await asyncio.sleep(0.1)
        sys.exit(f"{self.address} is not ready after {READY_WITHIN_SECONDS} s")

    async def infer(self, client, image, batch):
        tensor = grpc.InferInput("image", [batch, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[image]] * batch, dtype=object))
        result = await client.infer("facequality", [tensor], outputs=[grpc.InferRequestedOutput(self.output)])
        return result.as_numpy(self.output).ravel().tolist()

    async def score(self, image):
        async with grpc.InferenceServerClient(self.address) as client:
            return (await self.infer(client, image, 1))[0]

    async def turn(self, image, batch, seconds, pids):
        """CPU µs per image, images per second, p50 and p99 in ms."""
        times = []
        async with grpc.InferenceServerClient(self.address) as client:
            begun, spent = time.monotonic(), sum(map(cpu_seconds, pids))

            async def caller():
                while time.monotonic() < begun + seconds:
                    sent = time.monotonic()
                    assert len(await self.infer(client, image, batch)) == batch
                    times.append(time.monotonic() - sent)

            await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
            images = len(times) * batch
            spent = sum(map(cpu_seconds, pids)) - spent
            rate = images / (time.monotonic() - begun)
        p50, p99 = np.percentile(times, [50, 99]) * 1e3
        return spent / images * 1e6, rate, p50, p99


def ratio(values, others):
    ratios = sorted(a / b for a, b in zip(values, others))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} … {ratios[-1]:.2f})"


async def compare(ensemble, service, pids, args):
    for side in (ensemble, service):
        await side.ready()
    face = (ROOT / "data/images/face.jpg").read_bytes()
    photo = cv2.imdecode(np.frombuffer((ROOT / "data/images/astronaut.jpg").read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    photo = cv2.resize(photo, (1920, 1920), interpolation=cv2.INTER_CUBIC)
    photo = cv2.imencode(".jpg", photo)[1].tobytes()
    print("| images | CPU, ensemble ÷ service | images/s, service ÷ ensemble | µs CPU per image | images/s | p50, p99 in ms |")
    print("|---|---|---|---|---|---|")
    for what, image, batch in (
        ("250×250, 1 per request", face, 1), ("250×250, 16 per request", face, 16), ("1920×1920, 1 per request", photo, 1),
    ):
        scores = [await side.score(image) for side in (ensemble, service)]
        assert scores[0] == scores[1], f"the two differ on {what}: {scores}"
        turns = {ensemble: [], service: []}
        for side in (ensemble, service):  # warm
            await side.turn(image, batch, args.seconds / 4, pids)
        for _ in range(args.rounds):
            for side in (ensemble, service):
                turns[side].append(await side.turn(image, batch, args.seconds, pids))
        (e_cpu, e_rate, e_p50, e_p99), (s_cpu, s_rate, s_p50, s_p99) = (zip(*turns[side]) for side in (ensemble, service))
        median = statistics.median
        print(
            f"| {what} | {ratio(e_cpu, s_cpu)} | {ratio(s_rate, e_rate)} | {median(e_cpu):.0f}, {median(s_cpu):.0f} "
            f"| {median(e_rate):.0f}, {median(s_rate):.0f} "
            f"| {median(e_p50):.1f}, {median(e_p99):.1f}; {median(s_p50):.1f}, {median(s_p99):.1f} |", flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=ROOT / "target/dist/facequality-transformer")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--seconds", type=float, default=5, help="of each turn")
    args = parser.parse_args()
    ports = dict(zip(("http", "grpc", "metrics"), free_ports(3)))
    http_port, grpc_port = free_ports(2)
    with tempfile.TemporaryDirectory(prefix="ensemble-") as work, contextlib.ExitStack() as stack:
        work = pathlib.Path(work)
        write_repository(work / "models")
        run_triton.write_backends(work / "backends")
        command = run_triton.command(argparse.Namespace(**ports), work / "models", work, [])
        triton = stack.enter_context(process(command, env=run_triton.environment(), stderr=subprocess.DEVNULL))
        command = [
            str(args.binary), "--http_port", str(http_port), "--grpc_port", str(grpc_port),
            "--predictor_host", f"127.0.0.1:{ports['grpc']}", "--predictor_protocol", "grpc-v2",
            "--log_level", "error", "--drain_notice_seconds", "0",
        ]
        service = stack.enter_context(process(command))
        sides = Side(ports["grpc"], "1346"), Side(http_port, "score")
        asyncio.run(compare(*sides, (triton, service), args))


if __name__ == "__main__":
    main()
