"""Triton's own load generator completes against the service, fed with images, by gRPC, by a gRPC stream and by HTTP."""

import json
import os
import subprocess

import pytest

import images
import processes

PERF = processes.ROOT / "target/venvs/perf"


@pytest.fixture(scope="session")
def input_data(tmp_path_factory):
    file = tmp_path_factory.mktemp("perf") / "images.json"
    items = [images.data_uri(image) for image in images.different(8)]
    file.write_text(json.dumps({"data": [{"image": {"content": [item], "shape": [1]}} for item in items]}))
    return file


HOW = [["-i", "grpc"], ["-i", "grpc", "--streaming"], ["-i", "http"], ["-i", "grpc", "-b", "4"], ["-i", "http", "-b", "4"]]


@pytest.mark.parametrize("how", HOW, ids=" ".join)
def test_perf_analyzer_completes(service, input_data, how):
    libraries = PERF / "lib/python3.11/site-packages/nvidia/cuda_runtime/lib"
    command = [
        str(PERF / "bin/perf_analyzer"), "-m", "facequality", "-u", service.http, *how,
        "--input-data", str(input_data), "--async", "--concurrency-range", "4:4",
        # It is to complete, not to measure: on a busy machine its windows never agree.
        "--measurement-mode", "count_windows", "--measurement-request-count", "50", "--stability-percentage", "999",
    ]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=os.environ | {"LD_LIBRARY_PATH": str(libraries)}
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Throughput:" in run.stdout and "Failed" not in run.stdout, run.stdout
