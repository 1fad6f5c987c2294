"""What a manifest must mean, beyond being well-formed. Each rule looks at the documents that are applied together and yields what
is wrong with them, in words; `test_rules.py` shows of each that it can fail.
"""

import functools
import json
import pathlib
import re

import jsonschema
import kubernetes_validate

import manifests
from manifests import AUTOSCALER, STANDARD, Service, flag, of_kind, triton_container

SCHEMA = pathlib.Path(__file__).parent / "schema"
KUBERNETES = "1.30"
OLDEST_TRITON = (25, 6)
# Kinds that others define and no schema here describes; what matters of them has rules of its own.
WITHOUT_SCHEMA = {"PodMonitor", "PrometheusRule"}


@functools.cache
def kserve_schema(version, kind):
    file = SCHEMA / version / f"{kind}.json"
    return jsonschema.Draft202012Validator(json.loads(file.read_text())) if file.exists() else None


@functools.cache
def kubernetes_complaint(text):
    """What is wrong with a document of one of Kubernetes' own kinds; by its text, since reading the schema takes half a second."""
    document = json.loads(text)
    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{document['kind']}: {'.'.join(map(str, error.path))}: {error.message}"
    return None


def fits_the_schema(documents):
    for document in documents:
        kind = document["kind"]
        if kind in WITHOUT_SCHEMA:
            continue
        legacy = kind == "InferenceService" and Service(documents).mode == "RawDeployment"
        versions = ["0.15"] if legacy else ["0.15", "0.20"]
        validators = [found for version in versions if (found := kserve_schema(version, kind))]
        for validator in validators:
            for error in validator.iter_errors(document):
                yield f"{kind}: {error.json_path}: {error.message}"
        if not validators and (complaint := kubernetes_complaint(json.dumps(document))):
            yield complaint


def names_and_mode_are_kserves(documents):
    service = Service(documents)
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", service.name):
        yield f"the webhook refuses the name {service.name}"
    if service.mode not in STANDARD | {"Knative"}:
        yield f"the deployment mode {service.mode} is not one of KServe's"
    for component in service.components.values():
        if "canaryTrafficPercent" in component:
            yield "a canary gets no traffic through a transformer"
    if any(each["name"] == "STORAGE_URI" for each in service.container.get("env", [])):
        yield "the webhook refuses STORAGE_URI on a transformer"


def arguments_are_seen(documents):
    for arg in Service(documents).args:
        if arg.startswith("--") and "-" in arg.split("=")[0].removeprefix("--"):
            yield f"{arg}: KServe looks for underscores, and would add its own beside it"


def one_port(documents):
    service = Service(documents)
    ports = service.container.get("ports", [])
    tls = {each["name"] for each in service.container.get("env", [])} >= {"KSERVE_TLS_CERT_FILE", "KSERVE_TLS_KEY_FILE"}
    expected = ("https", 8443) if tls else ("h2c", 8080)
    if [(port["name"], port["containerPort"]) for port in ports] != [expected]:
        yield f"the transformer's ports are {ports}, expected only {expected}"
    if service.settings["http_port"] != str(expected[1]):
        yield f"the service listens on {service.settings['http_port']}, the manifest declares {expected[1]}"
    if service.settings["enable_grpc"] != "false":
        yield "the service opens a second port, which nothing reaches"
    predictor = [(port["name"], port["containerPort"]) for port in service.predictor["model"].get("ports", [])]
    if not service.collocated and predictor[:1] != [("h2c", 9000)]:
        yield f"the first of the predictor's ports {predictor} must be its gRPC one: port 80 of KServe's Service leads there"


def probes_ask_the_service(documents):
    service = Service(documents)
    port = service.container["ports"][0]
    for probe, path in [("readinessProbe", "/v2/health/ready"), ("livenessProbe", "/v2/health/live")]:
        asked = service.container.get(probe, {}).get("httpGet", {})
        if (asked.get("path"), asked.get("port")) != (path, port["containerPort"]):
            yield f"{probe} asks {asked}, expected {path} on {port['containerPort']}"
        if (asked.get("scheme") == "HTTPS") != (port["name"] == "https"):
            yield f"{probe} does not speak as the port does"
    if triton_container(documents, service).get("readinessProbe", {}).get("grpc") != {"port": 9000}:
        yield "Triton's readiness must be asked by gRPC: Knative moves HTTP probes to the declared port"


def replicas_scale(documents):
    service = Service(documents)
    for name, component in service.components.items():
        least, most = component.get("minReplicas", 1), component.get("maxReplicas", 0)
        if least < 2:
            yield f"{name}: a single replica is an outage at each rollout"
        if most < least or (component is service.component and most == least):
            yield f"{name}: maxReplicas {most} does not let {least} scale"


def autoscaler_can_read_its_metric(documents):
    service = Service(documents)
    if AUTOSCALER in service.document["metadata"].get("annotations", {}):
        yield "on the InferenceService the autoscaler's class would count for the predictor too"
    chosen = service.component.get("annotations", {}).get(AUTOSCALER, "hpa")
    metric = service.component.get("scaleMetric")
    external = [each for each in service.component.get("autoScaling", {}).get("metrics", []) if each["type"] == "External"]
    if service.mode == "Knative":
        expected = metric in ("concurrency", "rps") and not external
    elif chosen == "keda":
        expected = metric is None and bool(external)
    else:
        expected = metric in ("cpu", "memory") and not external
    if not expected:
        yield f"{service.mode} with {chosen} cannot scale by {metric or external}"
    for each in external:
        metric, target = each["external"]["metric"], each["external"]["target"]
        if not metric.get("query") or target.get("type") != "Value" or not float(target.get("value", 0)) > 0:
            yield "KEDA's trigger needs a query and a value above 0"
    if "cpu" not in service.container.get("resources", {}).get("requests", {}):
        yield "without a CPU request its utilisation cannot be told"


def triton_is_pinned_once(documents):
    service = Service(documents)
    if "runtimeVersion" in service.predictor["model"] or "image" in service.predictor["model"]:
        yield "the version of Triton stands in the runtime only"
    image = triton_container(documents, service)["image"]
    version = re.search(r":(\d+)\.(\d+)-py3$", image)
    if not version or tuple(map(int, version.groups())) < OLDEST_TRITON:
        yield f"{image}: cancelled calls can crash a Triton older than 25.06"


def seconds_of_pre_stop(container):
    command = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
    assert command[0] == "sleep"
    return int(command[1])


def nothing_is_lost_at_a_rollout(documents):
    service = Service(documents)
    settings = service.settings
    grace, notice = int(settings["grace_seconds"]), float(settings["drain_notice_seconds"])
    request = float(settings["predictor_request_timeout_seconds"])
    triton = triton_container(documents, service)
    finish = int(flag(triton["args"], "--exit-timeout-secs") or 30)
    wait = seconds_of_pre_stop(triton)
    if finish < request:
        yield f"Triton ends after {finish} s what may take {request}"
    if service.component.get("timeout", 0) <= request:
        yield f"the gateway would cut a request off before the service does, after {request} s"
    if service.mode == "Knative":
        # Its proxy holds SIGTERM back until the last call is done; its grace period is the timeout.
        if notice:
            yield "Knative has told the gateway before SIGTERM: no drain notice is needed"
        if service.predictor.get("timeout", 0) <= finish or service.component["timeout"] <= grace:
            yield "Knative's grace period is the timeout, which is too short"
        return
    if notice < 1:
        yield "gateways and kube-proxy need time to see that a pod leaves"
    if service.collocated and wait < grace + 1:
        yield f"Triton waits {wait} s and refuses calls then; the transformer may need it for {grace}"
    if not service.collocated and wait < float(settings["dns_refresh_seconds"]) + 2:
        yield f"Triton waits {wait} s; the transformers look its name up every {settings['dns_refresh_seconds']}"
    if service.predictor.get("terminationGracePeriodSeconds", 30) < wait + finish:
        yield f"Triton is killed before preStop ({wait} s) and what it has taken ({finish} s) are over"
    if service.component.get("terminationGracePeriodSeconds", 30) < grace + 2:
        yield f"the transformer is killed before --grace_seconds {grace} are over"
    rolling = service.predictor.get("deploymentStrategy", {}).get("rollingUpdate", {})
    if (rolling.get("maxSurge"), rolling.get("maxUnavailable")) != (0, 1):
        yield "a rollout of the predictor needs a spare GPU"


def calls_are_spread_over_tritons(documents):
    service = Service(documents)
    host = service.settings["predictor_host"]
    if service.collocated:
        if host != "localhost:9000":
            yield f"Triton is in the same pod, not at {host}"
    elif service.mode == "Knative":
        if host != f"{service.name}-predictor.default:80":
            yield f"{host}: Knative's gateway spreads the calls, by the host that KServe names"
    else:
        headless = [
            f"dns:///{each['metadata']['name']}:{each['spec']['ports'][0]['port']}"
            for each in of_kind(documents, "Service")
            if each["spec"].get("clusterIP") == "None" and each["spec"]["selector"] == service.labels("predictor")
        ]
        if host not in headless:
            yield f"calls to {host} stay with one pod: expected one of the headless {headless}"


def knative_takes_the_fields(documents):
    service = Service(documents)
    if service.mode != "Knative":
        return
    refused = {
        "terminationGracePeriodSeconds", "deploymentStrategy", "topologySpreadConstraints", "securityContext", "affinity",
        "nodeSelector", "tolerations", "initContainers",
    }
    for name, component in service.components.items():
        for field in sorted(refused & component.keys()):
            yield f"{name}: Knative refuses {field}"
        for container in [*component.get("containers", []), component.get("model", {})]:
            if "lifecycle" in container:
                yield f"{name}: Knative refuses lifecycle"
            if len(container.get("ports", [])) > 1:
                yield f"{name}: Knative refuses a second port"


def pods_are_restricted(documents):
    service = Service(documents)
    for name, component in service.components.items():
        if component.get("automountServiceAccountToken") is not False:
            yield f"{name}: a token for the API server is mounted that nobody needs"
        if component.get("enableServiceLinks") is not False:
            yield f"{name}: every Service of the namespace becomes a variable, and FACEQUALITY_… are flags"
    for container in [service.container, triton_container(documents, service)]:
        context = container.get("securityContext", {})
        expected = {
            "runAsNonRoot": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for field, value in expected.items():
            if context.get(field) != value:
                yield f"{container['image']}: {field} is {context.get(field)}, expected {value}"
    if not service.container.get("securityContext", {}).get("readOnlyRootFilesystem"):
        yield "the transformer writes no files: its root can be read-only"


def selectors_find_the_pods(documents):
    service = Service(documents)
    pods = sorted(sorted(service.labels(component).items()) for component in service.components)
    chosen = [(each, each["spec"]["selector"]["matchLabels"]) for each in of_kind(documents, "PodDisruptionBudget")]
    if pods != sorted(sorted(labels.items()) for _, labels in chosen):
        yield "each component needs one PodDisruptionBudget: KServe makes none"
    for budget, _ in chosen:
        if budget["spec"].get("maxUnavailable") != 1:
            yield f"{budget['metadata']['name']} lets more than one replica go"
    policies = [(each, each["spec"]["podSelector"]["matchLabels"]) for each in of_kind(documents, "NetworkPolicy")]
    if service.mode != "Knative" and pods != sorted(sorted(labels.items()) for _, labels in policies):
        yield "each component needs one NetworkPolicy"
    for policy, labels in policies:
        allowed = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        transformer = service.collocated or labels["component"] == "transformer"
        needed = service.container["ports"][0]["containerPort"] if transformer else 9000
        if needed not in allowed:
            yield f"{policy['metadata']['name']} lets nobody reach port {needed}"
    if service.mode != "Knative":
        spread = [
            each["labelSelector"]["matchLabels"] for each in service.component.get("topologySpreadConstraints", [])
        ]
        if spread != [service.labels("predictor" if service.collocated else "transformer")]:
            yield "replicas may all come to one node"


RULES = [
    fits_the_schema, names_and_mode_are_kserves, arguments_are_seen, one_port, probes_ask_the_service, replicas_scale,
    autoscaler_can_read_its_metric, triton_is_pinned_once, nothing_is_lost_at_a_rollout, calls_are_spread_over_tritons,
    knative_takes_the_fields, pods_are_restricted, selectors_find_the_pods,
]


def complaints(documents):
    """What is wrong, by the rule that says so."""
    return {rule.__name__: found for rule in RULES if (found := list(rule(documents)))}
