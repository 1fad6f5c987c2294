"""What `kubectl apply -k` would send, and what KServe's controller makes of it.

`rules.py` judges it. No cluster is asked; what is said of KServe and Knative here was read from their sources.
"""

import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import yaml

import processes

K8S = processes.ROOT / "k8s"
OVERLAYS = ["standard", "knative", "collocated", "kserve-0.15"]
# How KServe calls the two modes, the former names at the end.
STANDARD = {"Standard", "RawDeployment"}
MODE = "serving.kserve.io/deploymentMode"
AUTOSCALER = "serving.kserve.io/autoscalerClass"


def render(folder):
    """The documents that the kustomization in this folder makes."""
    kubectl = pathlib.Path(sys.executable).parent / "kubectl"
    run = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    return list(yaml.safe_load_all(run.stdout))


@functools.cache
def rendered(overlay, *components):
    """An overlay with components, as text so that a caller's changes are its own."""
    with tempfile.TemporaryDirectory() as folder:
        # Kustomize takes folders by relative paths only.
        k8s = os.path.relpath(K8S, os.path.realpath(folder))
        kustomization = {
            "resources": [f"{k8s}/overlays/{overlay}", f"{k8s}/runtime"],
            "components": [f"{k8s}/components/{component}" for component in components],
        }
        (pathlib.Path(folder) / "kustomization.yaml").write_text(yaml.dump(kustomization))
        return json.dumps(render(folder))


def applied(overlay, *components):
    """The documents of an overlay and of the runtime."""
    return json.loads(rendered(overlay, *components))


def of_kind(documents, kind):
    return [document for document in documents if document["kind"] == kind]


class Service:
    """The InferenceService among the documents, by what its fields mean."""

    def __init__(self, documents):
        [self.document] = of_kind(documents, "InferenceService")
        self.name = self.document["metadata"]["name"]
        self.spec = self.document["spec"]
        self.predictor = self.spec["predictor"]
        self.collocated = "transformer" not in self.spec
        # The component whose pods the transformer runs in.
        self.component = self.predictor if self.collocated else self.spec["transformer"]
        containers = self.component["containers"]
        [self.container] = containers if not self.collocated else [
            each for each in containers if each["name"] == "transformer-container"
        ]

    @property
    def mode(self):
        return self.document["metadata"].get("annotations", {}).get(MODE)

    @property
    def components(self):
        return {"predictor": self.predictor} | ({} if self.collocated else {"transformer": self.component})

    def labels(self, component):
        """Labels that KServe gives to a component's pods, in either mode."""
        return {"serving.kserve.io/inferenceservice": self.name, "component": component}

    @property
    def args(self):
        """The container's args, with what the controller adds. It looks for these prefixes, so for underscores."""
        args = list(self.container.get("args", []))
        added = {
            "--model_name": self.name, "--predictor_host": f"{self.name}-predictor.default", "--http_port": "8080",
        }
        if not self.collocated:
            for flag, value in added.items():
                if not any(arg.startswith(flag) for arg in args):
                    args += [flag, value]
            if "containerConcurrency" in self.component:
                args += ["--workers", str(self.component["containerConcurrency"])]
        return args

    @property
    def settings(self):
        """The effective settings, as the real binary prints them."""
        return settings(tuple(self.args), tuple((each["name"], each["value"]) for each in self.container.get("env", [])))


@functools.cache
def settings(args, env):
    command = [processes.binary(), "config", "--json", *args]
    # Certificates of a volume that is not here: the variables are judged by rules.py.
    assert all(name.startswith("KSERVE_TLS_") for name, _ in env), env
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    return {name: each["value"] for name, each in json.loads(run.stdout)["settings"].items()}


def triton_container(documents, service):
    """Triton's container as the controller merges it: the runtime's, overlaid by `predictor.model`; args are appended."""
    name = service.predictor["model"].get("runtime")
    runtimes = [each for each in of_kind(documents, "ClusterServingRuntime") if each["metadata"]["name"] == name]
    assert runtimes, f"there is no ClusterServingRuntime {name}"
    [container] = [each for each in runtimes[0]["spec"]["containers"] if each["name"] == "kserve-container"]
    model = service.predictor["model"]
    return {**container, **model, "args": container["args"] + model.get("args", [])}


def flag(args, name):
    """The value of the last `--name=value`, which counts."""
    values = [arg.split("=", 1)[1] for arg in args if arg.startswith(f"{name}=")]
    return values[-1] if values else None
