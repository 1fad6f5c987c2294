"""What ensemble.py and bls.py share: a real Triton that does the whole work, the service before the same Triton, and turns of
load in which both answer the same images."""

import argparse
import asyncio
import contextlib
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import typing

import numpy as np
import tritonclient.grpc.aio as grpc
from tritonclient.utils import InferenceServerException

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/clients"))
import run_triton  # noqa: E402
from processes import READY_WITHIN_SECONDS, free_ports  # noqa: E402

IN_FLIGHT = 8

# Triton's Python processes keep freed memory, too, as the service does: the large images would be half page faults otherwise.
KEEP_HEAP = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


def arguments(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=ROOT / "target/dist/facequality-transformer")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--seconds", type=float, default=5, help="of each turn")
    return parser


def write_files(repository, name, config, code=None):
    version = repository / name / "1"
    version.mkdir(parents=True)
    if code:
        (version / "model.py").write_text(code)
    (repository / name / "config.pbtxt").write_text(config)


@contextlib.contextmanager
def process(command, **how):
    started = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **how)
    try:
        yield started.pid
    finally:
        started.terminate()
        started.wait()


class Servers(typing.NamedTuple):
    triton_port: int
    service_port: int
    pids: list


@contextlib.contextmanager
def servers(binary, write_repository, flags=()):
    """A Triton with the models that `write_repository` writes into a folder, and the service before it, with these flags."""
    ports = dict(zip(("http", "grpc", "metrics"), free_ports(3)))
    http_port, grpc_port = free_ports(2)
    with tempfile.TemporaryDirectory(prefix="triton-peer-") as work, contextlib.ExitStack() as stack:
        work = pathlib.Path(work)
        write_repository(work / "models")
        run_triton.write_backends(work / "backends")
        command = run_triton.command(argparse.Namespace(**ports), work / "models", work, [])
        triton = stack.enter_context(process(command, env=run_triton.environment() | KEEP_HEAP, stderr=subprocess.DEVNULL))
        command = [
            str(binary), "--http_port", str(http_port), "--grpc_port", str(grpc_port),
            "--predictor_host", f"127.0.0.1:{ports['grpc']}", "--predictor_protocol", "grpc-v2",
            "--log_level", "error", "--drain_notice_seconds", "0", *flags,
        ]
        service = stack.enter_context(process(command))
        yield Servers(ports["grpc"], http_port, [triton, service])


def cpu_seconds(pids, wanted=lambda _command: True):
    """User and system time of the processes and of their children, whose children are asked in turn: of those whose command
    line is wanted."""
    seconds, waiting = 0, list(pids)
    while waiting:
        process = pathlib.Path("/proc", str(waiting.pop()))
        with contextlib.suppress(FileNotFoundError):
            if wanted((process / "cmdline").read_text()):
                fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
                seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            for task in (process / "task").iterdir():
                waiting += (task / "children").read_text().split()
    return seconds


class Turn(typing.NamedTuple):
    cpu: list  # µs per image, as measured by each of the meters
    rate: float  # images per second
    p50: float  # ms
    p99: float


class Side:
    """A server that takes the images, and what its model and outputs are called."""

    def __init__(self, port, model, outputs):
        self.address = f"127.0.0.1:{port}"
        self.model = model
        self.outputs = outputs

    async def ready(self):
        until = time.monotonic() + READY_WITHIN_SECONDS
        async with grpc.InferenceServerClient(self.address) as client:
            while time.monotonic() < until:
                with contextlib.suppress(InferenceServerException):
                    if await client.is_model_ready(self.model):
                        return
                await asyncio.sleep(0.1)
        sys.exit(f"{self.address} is not ready after {READY_WITHIN_SECONDS} s")

    async def infer(self, client, images):
        tensor = grpc.InferInput("image", images.shape, "BYTES")
        tensor.set_data_from_numpy(images)
        outputs = [grpc.InferRequestedOutput(output) for output in self.outputs]
        result = await client.infer(self.model, [tensor], outputs=outputs)
        return [result.as_numpy(output) for output in self.outputs]

    async def answer(self, images):
        async with grpc.InferenceServerClient(self.address) as client:
            return await self.infer(client, images)

    async def turn(self, images, rows, seconds, meters):
        """Requests of these images, each answered with so many rows."""
        times = []
        async with grpc.InferenceServerClient(self.address) as client:
            begun, before = time.monotonic(), [meter() for meter in meters]

            async def caller():
                while time.monotonic() < begun + seconds:
                    sent = time.monotonic()
                    assert len((await self.infer(client, images))[0]) == rows
                    times.append(time.monotonic() - sent)

            await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
            done = len(times) * len(images)
            cpu = [(meter() - at) / done * 1e6 for meter, at in zip(meters, before)]
            rate = done / (time.monotonic() - begun)
        return Turn(cpu, rate, *np.percentile(times, [50, 99]) * 1e3)


async def take_turns(sides, images, rows, args, meters):
    """The turns of each side."""
    for side in sides:  # warm
        await side.turn(images, rows, args.seconds / 4, meters)
    turns = [[] for _ in sides]
    for _ in range(args.rounds):
        for side, its_turns in zip(sides, turns):
            its_turns.append(await side.turn(images, rows, args.seconds, meters))
    return turns


def ratio(values, others):
    ratios = sorted(a / b for a, b in zip(values, others))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} … {ratios[-1]:.2f})"
