"""An OpenTelemetry collector as far as receiving goes: OTLP over gRPC and over HTTP, with OpenTelemetry's own messages."""

import base64
import concurrent.futures
import contextlib
import gzip
import http.server
import json
import threading
import time
import types

import grpc
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

WITHIN_SECONDS = 60


def attributes_of(pairs):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}


class Collector:
    """What was received: spans, each with the resource it is of and the headers of its export."""

    def __init__(self):
        self.received = threading.Condition()
        self.spans = []

    def take(self, request, headers):
        with self.received:
            for of_resource in request.resource_spans:
                resource = attributes_of(of_resource.resource.attributes)
                for of_scope in of_resource.scope_spans:
                    self.spans += [span_of(span, resource, headers) for span in of_scope.spans]
            self.received.notify_all()

    def wait_for(self, found):
        """The first true value of `found(spans)`, or a failure with what was received."""
        deadline = time.monotonic() + WITHIN_SECONDS
        with self.received:
            while not (value := found(self.spans)):
                if not self.received.wait(deadline - time.monotonic()):
                    raise AssertionError(f"not received: {[(span.name, span.resource) for span in self.spans]}")
            return value


def span_of(span, resource, headers):
    return types.SimpleNamespace(
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        milliseconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e6,
        attributes=attributes_of(span.attributes),
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        resource=resource,
        headers=headers,
    )


class Grpc(TraceServiceServicer):
    def __init__(self, collector):
        self.collector = collector

    def Export(self, request, context):
        self.collector.take(request, dict(context.invocation_metadata()))
        return ExportTraceServiceResponse()


def from_json(body):
    """OTLP's JSON, which has ids in hexadecimal digits and not as protobuf's JSON has bytes."""

    def with_bytes(value):
        return {key: as_bytes(key, inner) for key, inner in value.items()}

    def as_bytes(key, value):
        return base64.b64encode(bytes.fromhex(value)).decode() if key in ("traceId", "spanId", "parentSpanId") else value

    value = json.loads(body, object_hook=with_bytes)
    return json_format.ParseDict(value, ExportTraceServiceRequest(), ignore_unknown_fields=True)


# By the content type.
MESSAGES = {"application/x-protobuf": ExportTraceServiceRequest.FromString, "application/json": from_json}


def handler(collector):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers["content-encoding"] == "gzip":
                body = gzip.decompress(body)
            read = MESSAGES.get(self.headers["content-type"])
            found = self.path == "/v1/traces" and read
            if found:
                headers = {name.lower(): value for name, value in self.headers.items()}
                collector.take(read(body), headers)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200 if found else 404)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    return Handler


@contextlib.contextmanager
def started():
    """A collector on free ports: `grpc` and `http` are its URLs."""
    collector = Collector()
    rpc = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(Grpc(collector), rpc)
    collector.grpc = f"http://127.0.0.1:{rpc.add_insecure_port('127.0.0.1:0')}"
    rpc.start()
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(collector))
    collector.http = f"http://127.0.0.1:{web.server_port}"
    threading.Thread(target=web.serve_forever, daemon=True).start()
    try:
        yield collector
    finally:
        web.shutdown()
        web.server_close()
        rpc.stop(None)
