"""Traces of the real binary, switched on by OpenTelemetry's variables as KServe's controller sets them; the real Triton's
spans hang below ours."""

import json
import re

import pytest

import collector
import images
import processes

PREDICT = "/v1/models/facequality:predict"
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def receiver():
    with collector.started() as server:
        yield server


def variables(monkeypatch, **more):
    # What the service has in common with Triton here is how soon it exports.
    given = {"OTEL_SERVICE_NAME": "faces", "OTEL_TRACES_EXPORTER": "otlp", "OTEL_BSP_SCHEDULE_DELAY": "100", **more}
    for name, value in given.items():
        monkeypatch.setenv(name, value)


def post(service, sampled=True, path=PREDICT, image="face.png", trace=TRACE):
    headers = {"traceparent": f"00-{trace}-{CALLER}-0{int(sampled)}", "x-request-id": "one"}
    status, answer, body = service.call("POST", path, images.read(image), headers)
    assert status == 200, body
    stages = dict(stage.split(";dur=") for stage in answer["server-timing"].split(", "))
    return {name: float(milliseconds) for name, milliseconds in stages.items()}


def request_of(spans):
    """The span of the request with all below it, once it has come: it is exported last."""
    for span in spans:
        if span.kind == "SERVER" and span.resource["service.name"] == "faces":
            return span
    return None


def tritons(spans, trace=None):
    """The real Triton's span of a request, of that trace."""
    for span in spans:
        if span.name == "InferRequest" and trace in (None, span.trace):
            return span
    return None


def below(spans, span):
    return [other for other in spans if other.parent == span.id]


def stages_of(fields):
    """The stages among a log line's or a span's fields, in milliseconds."""
    return {name.removesuffix("_ms"): value for name, value in fields.items() if name.endswith("_ms")}


def test_tritons_spans_hang_below_ours_and_the_log_and_metrics_name_the_same_stages(receiver, monkeypatch, capfd):
    variables(
        monkeypatch,
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.grpc,
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        OTEL_EXPORTER_OTLP_HEADERS="x-tenant=faces",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
        OTEL_TRACES_SAMPLER="parentbased_traceidratio",
        OTEL_TRACES_SAMPLER_ARG="0",
    )
    settings = ["mode=opentelemetry", "rate=1", "level=TIMESTAMPS"]
    settings += [f"opentelemetry,url={receiver.http}/v1/traces", "opentelemetry,bsp_schedule_delay=100"]
    flags = [part for setting in settings for part in ("--trace-config", setting)]
    with processes.triton(*flags) as triton, processes.service(
        "--predictor_host", triton.grpc, "--enable_latency_logging", "--log_format", "json"
    ) as service:
        # Triton may read no traceparent with the first request that it traces.
        post(service, sampled=False, trace=TRACE[::-1])
        receiver.wait_for(tritons)
        stages = post(service)
        request = receiver.wait_for(request_of)
        theirs = receiver.wait_for(lambda spans: tritons(spans, request.trace))
        metrics = service.get("/metrics")[2].decode()
    assert (request.trace, request.parent) == (TRACE, CALLER)
    assert request.resource["deployment.environment.name"] == "test"
    assert request.headers["x-tenant"] == "faces"
    assert request.attributes["request_id"] == "one"

    ours = [span for span in receiver.spans if span.resource["service.name"] == "faces"]
    [call] = [span for span in ours if span.kind == "CLIENT"]
    assert call.attributes["server.port"] == triton.grpc_port
    assert (call.attributes["inference.outcome"], call.attributes["inference.attempt"]) == ("ok", 1)
    assert (theirs.trace, theirs.parent) == (TRACE, call.id)
    found = {span.name: span.milliseconds for span in ours if span.kind == "INTERNAL"}
    # Those that the pixel threads add up are attributes.
    found |= stages_of(request.attributes)
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if '"prediction"' in line]
    [line] = [line for line in lines if line.get("trace_id") == TRACE]
    assert (line["id"], line["code"]) == ("one", "200")
    logged = stages_of(line)
    for each in stages, logged:
        each.pop("total")
    # The header has three decimals.
    assert found == pytest.approx(stages, abs=0.002)
    assert logged == pytest.approx(stages, abs=0.002)
    assert stages.keys() <= set(re.findall(r'facequality_stage_seconds_count\{[^}]*stage="(\w+)"', metrics))


def test_over_http_when_the_port_is_not_grpcs_and_the_end_exports_the_rest(receiver, monkeypatch):
    # So late that only the end of the service can be it.
    variables(monkeypatch, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http, OTEL_BSP_SCHEDULE_DELAY="600000")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    with processes.service() as service:
        post(service, path="/v1/models/facephoto:predict", image="astronaut.jpg")
        assert receiver.spans == []
    request = request_of(receiver.spans)
    assert request.headers["content-encoding"] == "gzip"
    models = [span.attributes["inference.model"] for span in receiver.spans if span.name == "infer"]
    assert models == ["centerface", "face_quality_trt_fp16"]
    assert {span.name for span in below(receiver.spans, request)} >= {"read", "parse", "preprocess", "predict", "postprocess"}


def test_flags_win_and_the_callers_decision_is_kept(receiver, monkeypatch):
    variables(monkeypatch, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_SDK_DISABLED="true")
    with processes.service("--otlp_endpoint", receiver.http, "--trace_sample", "1") as service:
        post(service, sampled=False)
        post(service, sampled=True)
    assert [span.name for span in receiver.spans if span.kind == "SERVER"] == ["POST /v1/models/{model}:predict"]


def test_disabled_by_opentelemetrys_variable(receiver, monkeypatch):
    variables(monkeypatch, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http, OTEL_SDK_DISABLED="true")
    with processes.service() as service:
        post(service)
    assert receiver.spans == []
