"""The programs under test as child processes on free ports of 127.0.0.1: the service, and a real Triton.

Waiting is always for an answer, with a limit; the limit is there to fail, not to pace anything.
"""

import contextlib
import http.client
import os
import pathlib
import socket
import ssl
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
READY_WITHIN_SECONDS = 60
# Flags of a Triton that loads nothing but the predecessor's model, which takes a fifth of the time.
ONE_MODEL = ["--model-control-mode=explicit", "--load-model=face_quality_trt_fp16"]


def binary():
    return os.environ.get("FACEQUALITY_BIN", str(ROOT / "target/debug/facequality-transformer"))


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Server:
    """A started server: its ports, and plain HTTP calls to it."""

    def __init__(self, process, http_port, grpc_port, tls=None):
        self.process = process
        self.http_port = http_port
        self.grpc_port = grpc_port
        self.tls = tls

    @property
    def http(self):
        return f"127.0.0.1:{self.http_port}"

    @property
    def grpc(self):
        return f"127.0.0.1:{self.grpc_port}"

    def call(self, method, path, body=None, headers=None):
        """Status, headers and body of one request on a connection of its own."""
        if self.tls:
            connection = http.client.HTTPSConnection("127.0.0.1", self.http_port, timeout=60, context=self.tls)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def get(self, path):
        return self.call("GET", path)

    def post(self, path, body, content_type="application/json"):
        return self.call("POST", path, body, {"content-type": content_type} if content_type else {})

    def status(self, path):
        """The status of a GET, or None while nobody listens."""
        try:
            return self.get(path)[0]
        except (ConnectionError, http.client.HTTPException, ssl.SSLError):
            return None


def wait_for(server, path, status=200):
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while server.status(path) != status:
        if server.process.poll() is not None:
            raise RuntimeError(f"{server.process.args[0]} ended with {server.process.returncode}, see its output")
        if time.monotonic() > deadline:
            raise RuntimeError(f"no {status} from {path} within {READY_WITHIN_SECONDS} s")
        time.sleep(0.05)


@contextlib.contextmanager
def started(command, http_port, grpc_port, tls=None, wait_path="/v2/health/ready"):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    server = Server(process, http_port, grpc_port, tls)
    try:
        wait_for(server, wait_path)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def triton(*flags, venv="triton"):
    """A real Triton with the models of run_triton.py, by further flags of that or of tritonserver."""
    http_port, grpc_port, metrics_port = free_ports(3)
    command = [
        str(ROOT / f"target/venvs/{venv}/bin/python"), str(ROOT / "tests/clients/run_triton.py"),
        "--http", str(http_port), "--grpc", str(grpc_port), "--metrics", str(metrics_port), *flags,
    ]
    with started(command, http_port, grpc_port) as server:
        server.metrics_port = metrics_port
        yield server


def triton_metrics(server):
    """Triton's counters by name and labels, as its metrics port writes them."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.metrics_port, timeout=60)) as connection:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    return {name: float(value) for name, value in (l.rsplit(" ", 1) for l in lines if not l.startswith("#"))}


def service(*flags, tls=None, wait_path="/v2/health/ready"):
    """`facequality-transformer serve` under the model name facequality."""
    http_port, grpc_port = free_ports(2)
    command = [
        binary(), "--model_name", "facequality",
        "--http_port", str(http_port), "--grpc_port", str(grpc_port), "--drain_notice_seconds", "0", *flags,
    ]
    return started(command, http_port, grpc_port, tls, wait_path)


def predictor(*flags):
    """`facequality-transformer predictor`: the embedded model over Triton's protocols."""
    http_port, grpc_port = free_ports(2)
    command = [
        binary(), "predictor", "--http_port", str(http_port), "--grpc_port", str(grpc_port), *flags,
    ]
    return started(command, http_port, grpc_port)
