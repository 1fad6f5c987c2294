"""The manifests' own argument lists start the real binary, and their probes ask for routes that it has."""

import pathlib
import subprocess

import pytest
import yaml

import processes

ROOT = pathlib.Path(__file__).resolve().parents[2]
MANIFESTS = sorted((ROOT / "k8s").glob("*.yaml"))
# What KServe's controller adds to the args of a transformer that is a component of its own.
CONTROLLER = ["--model_name", "facequality", "--predictor_host", "facequality-predictor.default", "--http_port", "8080"]


def containers(manifest):
    """The transformer's containers with the args that they are started with."""
    spec = yaml.safe_load(manifest.read_text())["spec"]
    if "transformer" in spec:
        for container in spec["transformer"]["containers"]:
            yield container, container["args"] + CONTROLLER
    for container in spec["predictor"].get("containers", []):
        if container["name"] == "transformer-container":
            yield container, container["args"]


def cases():
    return [
        pytest.param(container, args, id=manifest.name)
        for manifest in MANIFESTS
        for container, args in containers(manifest)
    ]


def replaced(args, values):
    """The args with other values for some flags, written `--flag value` or `--flag=value`."""
    words = [word for arg in args for word in arg.split("=", 1)]
    flags = dict(zip(words[::2], words[1::2]))
    return [word for flag, value in (flags | values).items() for word in (flag, value)]


def test_each_manifest_has_one_transformer():
    assert [len(list(containers(manifest))) for manifest in MANIFESTS] == [1, 1]


@pytest.mark.parametrize("container, args", cases())
def test_config_takes_the_args(container, args):
    run = subprocess.run([processes.binary(), "config", *args], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert "face_quality_trt_fp16" in run.stdout


@pytest.mark.parametrize("container, args", cases())
def test_the_args_serve_and_the_probes_answer(triton, container, args):
    http_port, grpc_port = processes.free_ports(2)
    here = {
        "--predictor_host": triton.grpc, "--http_port": str(http_port), "--grpc_port": str(grpc_port),
    }
    command = [processes.binary(), *replaced(args, here)]
    declared = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert declared == {"http1": 8080, "h2c": 8081}
    with processes.started(command, http_port, grpc_port) as server:
        for probe in ("readinessProbe", "livenessProbe"):
            asked = container[probe]["httpGet"]
            assert asked["port"] == declared["http1"]
            assert server.get(asked["path"])[0] == 200
