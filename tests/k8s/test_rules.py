"""Every rule can fail: a fault is planted in manifests that have none, and the rule that should see it does."""

import json

import pytest

import manifests
import rules
from manifests import AUTOSCALER, MODE


def service(documents):
    [found] = manifests.of_kind(documents, "InferenceService")
    return found["spec"]


def at(documents, path):
    """The object that the path's last part is in, and that part: a kind, or a field of the InferenceService's spec."""
    first, *parts = path.split("/")
    [place] = manifests.of_kind(documents, first)[:1] if first[0].isupper() else [service(documents)]
    parts = parts if first[0].isupper() else [first, *parts]
    for part in parts[:-1]:
        place = place[int(part)] if part.isdecimal() else place.setdefault(part, {})
    return place, int(parts[-1]) if parts[-1].isdecimal() else parts[-1]


def put(path, value):
    def plant(documents):
        place, last = at(documents, path)
        place[last] = value
    return plant


def take(path):
    def plant(documents):
        place, last = at(documents, path)
        del place[last]
    return plant


def arg(flag, value):
    """Another value for one of the transformer's args."""
    def plant(documents):
        args = manifests.Service(documents).container["args"]
        args[:] = [each for each in args if not each.startswith(f"{flag}=")] + [f"{flag}={value}"]
    return plant


def without(kind):
    def plant(documents):
        documents[:] = [each for each in documents if each["kind"] != kind]
    return plant


def respelt(documents):
    args = manifests.Service(documents).container["args"]
    args[:] = [each.replace("--predictor_host", "--predictor-host") for each in args]


H2C, HTTP1 = {"name": "h2c", "containerPort": 8080}, {"name": "http1", "containerPort": 8081}
METRICS = {"name": "metrics", "containerPort": 8002}
SLEEP = {"preStop": {"exec": {"command": ["sleep", "5"]}}}

# What is done to which overlay, and the rule that must see it.
FAULTS = {
    "a misspelt field": ("standard", put("transformer/minReplica", 2), "fits_the_schema"),
    "a misspelt field of a core kind": (
        "standard", put("PodDisruptionBudget/spec/maxUnavailble", 1), "fits_the_schema",
    ),
    "a field of a newer KServe": ("kserve-0.15", put("tracing", {}), "fits_the_schema"),
    "a mode that KServe lacks": (
        "standard", put("InferenceService/metadata/annotations", {MODE: "Raw"}), "names_and_mode_are_kserves",
    ),
    "a canary": ("knative", put("predictor/canaryTrafficPercent", 10), "names_and_mode_are_kserves"),
    "hyphens in a flag that KServe looks for": ("standard", respelt, "arguments_are_seen"),
    "two ports": ("standard", put("transformer/containers/0/ports", [HTTP1, H2C]), "one_port"),
    "a port that nothing listens on": ("collocated", arg("--http_port", 9080), "one_port"),
    "a gRPC port besides": ("knative", arg("--enable_grpc", "true"), "one_port"),
    "port 80 of the predictor is not gRPC": (
        "standard", put("predictor/model/ports", [METRICS]), "one_port",
    ),
    "KServe's own readiness probe": ("standard", take("transformer/containers/0/readinessProbe"), "probes_ask_the_service"),
    "an HTTP probe of Triton": (
        "knative", put("predictor/model/readinessProbe", {"httpGet": {"path": "/v2/health/ready", "port": 8000}}),
        "probes_ask_the_service",
    ),
    "no maxReplicas": ("standard", take("transformer/maxReplicas"), "replicas_scale"),
    "one Triton": ("standard", put("predictor/minReplicas", 1), "replicas_scale"),
    "KEDA's class on the InferenceService": (
        "standard", put("InferenceService/metadata/annotations", {MODE: "Standard", AUTOSCALER: "keda"}),
        "autoscaler_can_read_its_metric",
    ),
    "a metric that HPA cannot read": ("standard", put("transformer/scaleMetric", "concurrency"), "autoscaler_can_read_its_metric"),
    "the version in a second place": ("standard", put("predictor/model/runtimeVersion", "25.06-py3"), "triton_is_pinned_once"),
    "an old Triton": (
        "collocated", put("ClusterServingRuntime/spec/containers/0/image", "tritonserver:24.10-py3"), "triton_is_pinned_once",
    ),
    "Triton ends with the transformer": ("collocated", take("predictor/model/lifecycle"), "nothing_is_lost_at_a_rollout"),
    "Triton waits too briefly": ("standard", put("predictor/model/lifecycle", SLEEP), "nothing_is_lost_at_a_rollout"),
    "Triton is killed": ("collocated", put("predictor/terminationGracePeriodSeconds", 30), "nothing_is_lost_at_a_rollout"),
    "the transformer is killed": ("standard", arg("--grace_seconds", 60), "nothing_is_lost_at_a_rollout"),
    "a rollout that needs a spare GPU": ("standard", take("predictor/deploymentStrategy"), "nothing_is_lost_at_a_rollout"),
    "a gateway that cuts requests off": ("knative", put("transformer/timeout", 20), "nothing_is_lost_at_a_rollout"),
    "one address for several Tritons": (
        "standard", arg("--predictor_host", "facequality-predictor:80"), "calls_are_spread_over_tritons",
    ),
    "no headless Service": ("standard", without("Service"), "calls_are_spread_over_tritons"),
    "a grace period under Knative": (
        "knative", put("transformer/terminationGracePeriodSeconds", 30), "knative_takes_the_fields",
    ),
    "a second port under Knative": (
        "knative", put("predictor/model/ports", [{"name": "h2c", "containerPort": 9000}, METRICS]), "knative_takes_the_fields",
    ),
    "no seccomp profile": (
        "standard", take("transformer/containers/0/securityContext/seccompProfile"), "pods_are_restricted",
    ),
    "a token for the API server": ("collocated", put("predictor/automountServiceAccountToken", True), "pods_are_restricted"),
    "Services as variables": ("standard", take("transformer/enableServiceLinks"), "pods_are_restricted"),
    "no PodDisruptionBudget": ("knative", without("PodDisruptionBudget"), "selectors_find_the_pods"),
    "a selector that finds nothing": (
        "collocated", put("NetworkPolicy/spec/podSelector/matchLabels", {"app": "facequality"}), "selectors_find_the_pods",
    ),
    "a closed port": ("standard", put("NetworkPolicy/spec/ingress/0/ports/0/port", 8081), "selectors_find_the_pods"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault):
    overlay, plant, rule = FAULTS[fault]
    documents = manifests.applied(overlay)
    sound = json.dumps(documents)
    plant(documents)
    assert json.dumps(documents) != sound
    assert rule in rules.complaints(documents)


def test_every_rule_has_its_fault():
    assert {rule for _, _, rule in FAULTS.values()} == {rule.__name__ for rule in rules.RULES}
