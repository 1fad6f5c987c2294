"""Servers that several tests share: started once, stopped at the end."""

import pytest

import processes


@pytest.fixture(scope="session")
def triton():
    with processes.triton() as server:
        yield server


@pytest.fixture(scope="session")
def service(triton):
    """The service in front of the real Triton, over gRPC."""
    with processes.service("--predictor_host", triton.grpc) as server:
        yield server


@pytest.fixture(scope="session")
def embedded():
    """The service with its embedded model."""
    with processes.service() as server:
        yield server
