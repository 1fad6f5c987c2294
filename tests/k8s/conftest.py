"""A real Triton that several tests share, and the modules of tests/clients, which start it."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "clients"))

import processes  # noqa: E402


@pytest.fixture(scope="session")
def triton():
    with processes.triton(*processes.ONE_MODEL) as server:
        yield server
