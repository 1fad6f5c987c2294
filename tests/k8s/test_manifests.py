"""Every overlay means what it should, and its transformer's args and probes work with the real binary before a real Triton."""

import os
import pathlib
import re

import pytest

import manifests
import processes
import rules
from certificates import Certificates

APPLIED = [(overlay,) for overlay in manifests.OVERLAYS] + [
    (overlay, *components)
    for overlay in ["standard", "kserve-0.15"]
    for components in [("keda",), ("tls",), ("keda", "tls")]
]


def test_every_overlay_and_component_is_tried():
    assert sorted(manifests.OVERLAYS) == sorted(each.name for each in (manifests.K8S / "overlays").iterdir())
    components = {component for _, *components in APPLIED for component in components}
    assert components == {each.name for each in (manifests.K8S / "components").iterdir()}


@pytest.mark.parametrize("applied", APPLIED, ids="+".join)
def test_the_manifests_mean_what_they_should(applied):
    assert rules.complaints(manifests.applied(*applied)) == {}


def replaced(args, values):
    """The args with other values for some flags, written `--flag value` or `--flag=value`."""
    words = [word for arg in args for word in arg.split("=", 1)]
    flags = dict(zip(words[::2], words[1::2], strict=True))
    return [word for flag, value in (flags | values).items() for word in (flag, value)]


def listening_ports(pid):
    """The TCP ports on which this process listens."""
    inodes = set()
    for descriptor in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(descriptor)
        except FileNotFoundError:
            continue  # Closed since it was listed: a connection, since a listener stays open.
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    rows = [line.split() for line in pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    listen = "0A"
    return [int(row[1].split(":")[1], 16) for row in rows if row[3] == listen and row[9] in inodes]


@pytest.mark.parametrize("applied", [*APPLIED[:4], ("standard", "tls")], ids="+".join)
def test_the_args_serve_on_one_port_and_the_probes_answer(triton, applied, tmp_path, monkeypatch):
    service = manifests.Service(manifests.applied(*applied))
    [port] = processes.free_ports(1)
    # By name where the manifest gives a name to look up.
    looked_up = service.settings["predictor_host"].startswith("dns:///")
    host = f"dns:///localhost:{triton.grpc_port}" if looked_up else triton.grpc
    args = replaced(service.args, {"--predictor_host": host, "--http_port": str(port)})
    tls = None
    if variables := service.container.get("env"):
        files = Certificates(tmp_path)
        monkeypatch.setenv(variables[0]["name"], str(files.certificate))
        monkeypatch.setenv(variables[1]["name"], str(files.key))
        tls = files.client_context()
    with processes.started([processes.binary(), *args], port, None, tls) as server:
        assert listening_ports(server.process.pid) == [port]
        for probe in ("readinessProbe", "livenessProbe"):
            assert server.get(service.container[probe]["httpGet"]["path"])[0] == 200


def test_the_image_is_of_this_version():
    [version] = re.findall(r'^version = "(.*)"', (processes.ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    for overlay in manifests.OVERLAYS:
        assert manifests.Service(manifests.applied(overlay)).container["image"] == f"facequality-transformer:{version}"
