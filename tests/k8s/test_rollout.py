"""What a rollout does, with the real Triton and the real service, under load: nothing may be lost."""

import contextlib

import pytest

import cluster
import manifests
import processes
from test_manifests import replaced


@contextlib.contextmanager
def transformer(service, predictor_host):
    """The manifest's container."""
    [port] = processes.free_ports(1)
    flags = {"--predictor_host": predictor_host, "--http_port": str(port)}
    with processes.started([processes.binary(), *replaced(service.args, flags)], port, None) as server:
        yield server


def triton_of(service, documents):
    """A Triton of its own, with the manifest's time for what it has taken."""
    seconds = manifests.flag(manifests.triton_container(documents, service)["args"], "--exit-timeout-secs")
    return processes.triton(*processes.ONE_MODEL, f"--exit-timeout-secs={seconds}")


@pytest.fixture
def address():
    address = cluster.ServiceAddress()
    yield address
    address.close()


@pytest.mark.parametrize("pre_stop", ["the manifest's preStop", "no preStop"])
def test_a_collocated_pod_leaves(triton, address, pre_stop):
    documents = manifests.applied("collocated")
    service = manifests.Service(documents)
    command = manifests.triton_container(documents, service)["lifecycle"]["preStop"]["exec"]["command"]
    with (
        triton_of(service, documents) as leaving_triton,
        transformer(service, leaving_triton.grpc) as leaving,
        transformer(service, triton.grpc) as staying,
    ):
        address.endpoints = [leaving.http_port]
        with cluster.Callers(address.port) as callers:
            if pre_stop == "the manifest's preStop":
                callers.begin_slow_body()
            while callers.answered < 10:
                assert not callers.failures
            address.endpoints.append(staying.http_port)
            before = callers.answered
            containers = [
                (leaving.process, None),
                (leaving_triton.process, command if pre_stop == "the manifest's preStop" else None),
            ]
            codes = cluster.end_pod(
                address, leaving.http_port, containers, service.predictor["terminationGracePeriodSeconds"]
            )
    if pre_stop == "no preStop":
        # The old manifest: so the load does see what is lost.
        assert callers.failures
    else:
        assert callers.failures == []
        assert codes == [0, 0]
        print(f"{callers.answered} answered, {callers.answered - before} of them while the pod left")
        assert callers.answered > before


def test_one_of_two_tritons_leaves_unnoticed(triton, address):
    """Harder than with the manifest, whose preStop gives the transformers time to look the name up again."""
    documents = manifests.applied("standard")
    service = manifests.Service(documents)
    with triton_of(service, documents) as leaving:
        with transformer(service, f"{leaving.grpc},{triton.grpc}") as staying:
            address.endpoints = [staying.http_port]
            with cluster.Callers(address.port) as callers:
                while callers.answered < 10:
                    assert not callers.failures
                leaving.process.terminate()
                assert leaving.process.wait() == 0
                before = callers.answered
                while callers.answered < before + 10:
                    assert not callers.failures
    assert callers.failures == []
