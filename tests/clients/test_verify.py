"""A golden set written by OpenCV and the real Triton, as the predecessor's environment would, and what `verify` says of it."""

import json
import subprocess
import sys

import numpy as np
import pytest

import images
import processes


@pytest.fixture
def golden(triton, tmp_path):
    """The set's folder. No JPEG, so that it holds for either decoder."""
    source = tmp_path / "source"
    source.mkdir()
    for n, image in enumerate(images.different(6)):
        (source / f"{n}.png").write_bytes(image)
    (source / "face.webp").write_bytes(images.read("face.webp"))
    out = tmp_path / "golden"
    command = [
        sys.executable, str(processes.ROOT / "data/golden/write_golden.py"),
        "--out", str(out), "--predictor", triton.grpc, *map(str, sorted(source.iterdir())),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return out


def verify(folder, *flags):
    run = subprocess.run(
        [processes.binary(), "verify", str(folder), *flags], capture_output=True, text=True, timeout=120
    )
    return run.returncode, run.stdout + run.stderr


def test_the_same_arithmetic_is_equal_on_all(triton, service, golden):
    for flags in (["--predictor_host", triton.grpc], ["--url", f"http://{service.http}"]):
        # The last digit of a double may get lost in reading JSON; a score has only those of a float32.
        status, text = verify(golden, *flags, "--max_difference", "1e-12")
        assert status == 0, text
    status, text = verify(golden, "--predictor_host", triton.grpc)
    assert "7 of 7" in text, text


def test_one_grey_level_more_is_found_and_named(triton, golden):
    manifest = json.loads((golden / "manifest.json").read_text())
    name = sorted(manifest["files"])[3]
    file = golden / f"{name}.tensor.f32"
    values = np.fromfile(file, "<f4")
    values[5000] += np.float32(1 / 128)
    values.tofile(file)
    status, text = verify(golden, "--predictor_host", triton.grpc)
    assert status == 2, text
    assert name in text and "6 of 7" in text, text
