"""The alerts, the dashboard and KEDA's query against what the real service exports, evaluated by Prometheus' own promtool.

A scrape of a service that has had some traffic is repeated as time series. Nothing may fire on it; and on the same with one thing
wrong, that alert and no other.
"""

import json
import re
import subprocess

import pytest
import yaml

import manifests
import processes
from certificates import Certificates

MONITORING = manifests.K8S / "monitoring"
TARGET = 'namespace="default",job="facequality",pod="facequality-transformer-0",instance="10.0.0.1:8080"'
MINUTES = 80
PREDICT = "/v1/models/facequality:predict"
FAST, SLOW = 0.1, 10


class Series(dict):
    """The value that each series begins with, and how much it grows in a minute."""

    def copy(self):
        return Series(self)

    def matching(self, name, label=""):
        found = [series for series in self if re.match(rf"{name}\b", series) and label in series]
        assert found, f"the service exports no {name} with {label}"
        return found

    def set(self, name, value, label=""):
        for series in self.matching(name, label):
            self[series] = (value, 0)

    def grow(self, name, label=""):
        for series in self.matching(name, label):
            self[series] = (0, 60)

    def take(self, seconds):
        """All requests take this long, so that no judgement hangs on this machine's speed."""
        for series in self.matching("facequality_request_seconds_bucket"):
            within = float(re.search(r'le="([^"]+)"', series)[1]) >= seconds
            self[series] = (0, 60 * within)

    def written(self, text):
        """As promtool reads them; only those of metrics that the text names."""
        named = [(series, values) for series, values in self.items() if series.partition("{")[0] in text]
        return [{"series": series, "values": f"{value}+{step}x{MINUTES}"} for series, (value, step) in named]


def parsed(text):
    series = Series()
    for line in text.splitlines():
        if not line.startswith("#"):
            series_text, value = line.rsplit(" ", 1)
            name, _, labels = series_text.partition("{")
            labels = labels.removesuffix("}").removesuffix(",")
            grows = name.endswith(("_total", "_bucket", "_sum", "_count"))
            value = float(value)
            series[f"{name}{{{','.join(filter(None, [labels, TARGET]))}}}"] = (value, value if grows else 0)
    return series


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    image = (processes.ROOT / "data/images/face.png").read_bytes()
    files = Certificates(tmp_path_factory.mktemp("certificates"))
    with processes.predictor("--null") as predictor, processes.service(
        "--predictor_host", predictor.grpc, *files.flags, tls=files.client_context()
    ) as service:
        assert service.post(PREDICT, image, None)[0] == 200
        # The caller's doing, about which nobody is to be woken.
        assert service.post(PREDICT, b"no image", None)[0] == 400
        series = parsed(service.get("/metrics")[2].decode())
    series.take(FAST)
    return series


def new_version(series):
    for each in series.matching("facequality_build_info"):
        series[re.sub(r'version="[^"]*"', 'version="0.0.1"', each)] = (1, 0)


# What is wrong, by the alert that must fire.
FAULTS = [
    ("FacequalityAbsent", lambda series: series.clear()),
    ("FacequalityPredictorNotReady", lambda series: series.set("facequality_predictor_ready", 0)),
    ("FacequalityReplicaOfPredictorDown", lambda series: series.set("facequality_predictor_up", 0)),
    ("FacequalityFailing", lambda series: series.grow("facequality_predictions_total", 'outcome="failed"')),
    *[
        ("FacequalityRefusing", lambda series, reason=reason: series.grow("facequality_errors_total", f'reason="{reason}"'))
        for reason in ("queue_full", "queue_wait", "no_bytes", "no_pixels")
    ],
    ("FacequalityNearlyFull", lambda series: series.set("facequality_images_in_flight", 1000)),
    ("FacequalitySlow", lambda series: series.take(SLOW)),
    ("FacequalityRetriesRunOut", lambda series: series.set("facequality_predictor_retry_budget", 0, 'fund="reserve"')),
    ("FacequalityFilesRunOut", lambda series: series.set("process_open_fds", 1_000_000_000)),
    ("FacequalityCertificateEnds", lambda series: series.set("facequality_tls_certificate_not_after_seconds", 6 * 86400)),
    ("FacequalityLogUnread", lambda series: series.grow("facequality_log_lines_dropped_total")),
    ("FacequalityRolloutStuck", new_version),
]


def groups():
    [rule] = manifests.of_kind(manifests.render(MONITORING), "PrometheusRule")
    return {"groups": rule["spec"]["groups"]}


def promtool(*args, folder):
    run = subprocess.run(["promtool", *args], cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr


def hold(tests, folder):
    """Has promtool compare what expressions give for series: tests are (series, {expression: samples})."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(groups()))
    tests = [
        {
            "interval": "1m",
            "input_series": series.written(f"{groups()} {list(samples)}"),
            "promql_expr_test": [
                {"expr": expression, "eval_time": f"{MINUTES}m", "exp_samples": expected}
                for expression, expected in samples.items()
            ],
        }
        for series, samples in tests
    ]
    file = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (folder / "tests.yaml").write_text(yaml.safe_dump(file))
    promtool("test", "rules", "tests.yaml", folder=folder)


def firing(series, *alerts):
    samples = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts]
    return series, {'count by (alertname) (ALERTS{alertstate="firing"})': samples}


def test_the_rules_are_well_formed(tmp_path):
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(groups()))
    promtool("check", "rules", "rules.yaml", folder=tmp_path)


def test_every_alert_is_tried():
    alerts = [rule["alert"] for group in groups()["groups"] for rule in group["rules"]]
    assert sorted(alerts) == sorted({alert for alert, _ in FAULTS})


def test_no_alert_fires_on_a_service_that_is_well(healthy, tmp_path):
    hold([firing(healthy)], tmp_path)


@pytest.mark.parametrize("alert, break_it", FAULTS, ids=lambda value: value if isinstance(value, str) else "")
def test_an_alert_fires_alone(healthy, alert, break_it, tmp_path):
    series = healthy.copy()
    break_it(series)
    hold([firing(series, alert)], tmp_path)


def queries_of_the_dashboard():
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "5m")
            yield query.replace("$namespace", "default").replace("$job", "facequality")


def query_of_keda():
    service = manifests.Service(manifests.applied("standard", "keda"))
    [metric] = service.component["autoScaling"]["metrics"]
    return metric["external"]["metric"]["query"]


def test_every_query_finds_something(healthy, tmp_path):
    queries = [*queries_of_the_dashboard(), query_of_keda()]
    assert len(queries) > 20
    one = [{"labels": "{}", "value": 1}]
    hold([(healthy, {f"count({query}) > bool 0": one for query in queries})], tmp_path)


def test_a_query_that_finds_nothing_is_seen(healthy, tmp_path):
    query = "count(sum(facequality_images_in_flight{job=\"another\"})) > bool 0"
    with pytest.raises(AssertionError, match="another"):
        hold([(healthy, {query: [{"labels": "{}", "value": 1}]})], tmp_path)


def test_the_pod_monitor_finds_the_transformers():
    [monitor] = manifests.of_kind(manifests.render(MONITORING), "PodMonitor")
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    [kept] = endpoint["relabelings"]
    for overlay in manifests.OVERLAYS:
        service = manifests.Service(manifests.applied(overlay))
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service.labels("transformer").items()
        [port] = service.container["ports"]
        assert kept["regex"] == str(port["containerPort"])
    assert endpoint["path"] == "/metrics"
