"""The calls of NVIDIA's clients, as users make them, and what came back in a form that two servers can be compared by.

The same functions talk to a real Triton, to `facequality-transformer predictor` and to the service. Left out of the answers:
the server's and the model's name, versions and timings. A refusal is recorded by its status alone, since texts differ.
"""

import asyncio
import base64
import dataclasses
import pathlib
import queue

import gevent.ssl
import grpc
import numpy as np
import tritonclient.grpc as grpc_client
import tritonclient.grpc.aio as aio_client
import tritonclient.http as http_client
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

ANSWER_WITHIN_SECONDS = 60


@dataclasses.dataclass
class Target:
    """Where a model is served. One port may serve both protocols."""

    http: str
    grpc: str
    model: str
    # The authority's certificate (PEM file) where both are TLS.
    ca: str | None = None

    def http_client(self):
        if not self.ca:
            return http_client.InferenceServerClient(self.http)
        context = lambda: gevent.ssl.create_default_context(cafile=self.ca)
        return http_client.InferenceServerClient(self.http, ssl=True, ssl_context_factory=context)

    def tls(self):
        return {"ssl": True, "root_certificates": self.ca} if self.ca else {}

    def grpc_client(self):
        return grpc_client.InferenceServerClient(self.grpc, **self.tls())

    def channel(self):
        if not self.ca:
            return grpc.insecure_channel(self.grpc)
        return grpc.secure_channel(self.grpc, grpc.ssl_channel_credentials(pathlib.Path(self.ca).read_bytes()))

    def aio_client(self):
        return aio_client.InferenceServerClient(self.grpc, **self.tls())


def recorded(call):
    """What a call gives, or the status it is refused with."""
    try:
        return call()
    except InferenceServerException as refusal:
        return {"refused": refusal.status()}


def inferred(result, output="1346"):
    response = result.get_response()
    if not isinstance(response, dict):
        response = {
            "id": response.id,
            "outputs": [{"name": o.name, "datatype": o.datatype, "shape": list(o.shape)} for o in response.outputs],
        }
    outputs = [{key: o[key] for key in ("name", "datatype", "shape")} for o in response["outputs"]]
    return {"id": response.get("id", ""), "outputs": outputs, "scores": result.as_numpy(output).ravel().tolist()}


def given(client, tensor, name="input.1", datatype="FP32", **how):
    """A tensor as the input type of one of the three clients; `how` is HTTP's choice between binary and JSON."""
    tensor_input = client.InferInput(name, list(tensor.shape), datatype)
    tensor_input.set_data_from_numpy(tensor, **how)
    return [tensor_input]


def http_metadata(target):
    with target.http_client() as client:
        model, unknown = target.model, "no_such_model"
        metadata = client.get_model_metadata(model)
        config = client.get_model_config(model)
        return {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model ready": client.is_model_ready(model),
            "model ready in version 1": client.is_model_ready(model, "1"),
            "unknown model ready": client.is_model_ready(unknown),
            "server": sorted(client.get_server_metadata()),
            "inputs": metadata["inputs"],
            "outputs": metadata["outputs"],
            "unknown metadata": recorded(lambda: client.get_model_metadata(unknown)),
            "unknown version": recorded(lambda: client.get_model_metadata(model, "7")),
            "config": [
                (tensor["name"], tensor["data_type"], tensor["dims"]) for tensor in config["input"] + config["output"]
            ],
            "max_batch_size": config["max_batch_size"],
            "index": [m["state"] for m in client.get_model_repository_index() if m["name"] == model],
            "statistics": sorted(client.get_inference_statistics(model)["model_stats"][0]["inference_stats"]),
        }


def http_inference(target, tensor):
    with target.http_client() as client:
        def infer(binary, outputs=True, model=target.model, tensor=tensor, **more):
            inputs = given(http_client, tensor, binary_data=binary)
            wanted = [http_client.InferRequestedOutput("1346", binary_data=binary)] if outputs else None
            return inferred(client.infer(model, inputs, outputs=wanted, request_id="r1", **more))

        def later():
            inputs = given(http_client, tensor, binary_data=True)
            wanted = [http_client.InferRequestedOutput("1346")]
            return inferred(client.async_infer(target.model, inputs, outputs=wanted).get_result())

        unknown_output = [http_client.InferRequestedOutput("no_such_output")]
        other_input = given(http_client, tensor, name="no_such_input")
        return {
            "binary": infer(True),
            "json": infer(False),
            "parameters": infer(True, parameters={"one": 1, "two": "2", "three": True}),
            "version": infer(True, model_version="1"),
            "async": later(),
            **{
                f"{request} in, {response} out": infer(
                    True, request_compression_algorithm=request, response_compression_algorithm=response
                )
                for request, response in [("gzip", "deflate"), ("deflate", "gzip"), ("gzip", None), (None, "gzip")]
            },
            "unknown model": recorded(lambda: infer(True, model="no_such_model")),
            "unknown version": recorded(lambda: infer(True, model_version="7")),
            "wrong shape": recorded(lambda: infer(True, tensor=tensor[:, :, :, :100].copy())),
            "unknown input": recorded(lambda: client.infer(target.model, other_input)),
            "unknown output": recorded(
                lambda: client.infer(target.model, given(http_client, tensor), outputs=unknown_output)
            ),
        }


def grpc_metadata(target):
    with target.grpc_client() as client:
        model, unknown = target.model, "no_such_model"
        metadata = client.get_model_metadata(model)
        config = client.get_model_config(model).config
        index = client.get_model_repository_index()
        statistics = client.get_inference_statistics(model).model_stats[0]
        return {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model ready": client.is_model_ready(model),
            "unknown model ready": client.is_model_ready(unknown),
            "extensions": len(client.get_server_metadata().extensions) > 0,
            "tensors": [(t.name, t.datatype, list(t.shape)) for t in [*metadata.inputs, *metadata.outputs]],
            "unknown metadata": recorded(lambda: client.get_model_metadata(unknown)),
            "config": [(t.name, t.data_type, list(t.dims)) for t in [*config.input, *config.output]],
            "max_batch_size": config.max_batch_size,
            "index": [m.state for m in index.models if m.name == model],
            "statistics": statistics.HasField("inference_stats"),
        }


def grpc_inference(target, tensor):
    with target.grpc_client() as client:
        def infer(model=target.model, tensor=tensor, outputs=("1346",), **more):
            wanted = [grpc_client.InferRequestedOutput(name) for name in outputs] or None
            inputs = given(grpc_client, tensor)
            more.setdefault("client_timeout", ANSWER_WITHIN_SECONDS)
            return inferred(client.infer(model, inputs, outputs=wanted, request_id="r1", **more))

        def later():
            answers = queue.Queue()
            keep = lambda result, error: answers.put((result, error))
            wanted = [grpc_client.InferRequestedOutput("1346")]
            client.async_infer(target.model, given(grpc_client, tensor), keep, outputs=wanted)
            result, error = answers.get(timeout=ANSWER_WITHIN_SECONDS)
            assert error is None, error
            return inferred(result)

        other_input = given(grpc_client, tensor, name="no_such_input")
        return {
            "plain": infer(),
            "gzip": infer(compression_algorithm="gzip"),
            "deflate": infer(compression_algorithm="deflate"),
            "version": infer(model_version="1"),
            "async": later(),
            "unknown model": recorded(lambda: infer(model="no_such_model")),
            "unknown version": recorded(lambda: infer(model_version="7")),
            "wrong shape": recorded(lambda: infer(tensor=tensor[:, :, :, :100].copy())),
            "unknown input": recorded(lambda: client.infer(target.model, other_input)),
            "unknown output": recorded(lambda: infer(outputs=["no_such_output"])),
        }


def by_id(answers):
    """In the order of their ids; a refusal has none."""
    return sorted(answers, key=lambda answer: "" if answer == "refused" else answer["id"])


def grpc_stream(target, tensor, count=20):
    """Answers of one stream, which come as they are ready; the seventh request asks for a model that is not there."""
    answers = queue.Queue()
    with target.grpc_client() as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        wanted = [grpc_client.InferRequestedOutput("1346")]
        for n in range(count):
            model = "no_such_model" if n == 6 else target.model
            client.async_stream_infer(model, given(grpc_client, tensor), request_id=f"s{n}", outputs=wanted)
        came = [answers.get(timeout=ANSWER_WITHIN_SECONDS) for _ in range(count)]
        client.stop_stream()
    return by_id("refused" if error else inferred(result) for result, error in came)


def aio_inference(target, tensor, count=16):
    """Calls side by side and a stream, by the asyncio client."""

    async def run():
        async with target.aio_client() as client:
            inputs = given(aio_client, tensor)
            wanted = [aio_client.InferRequestedOutput("1346")]

            async def requests():
                for n in range(count):
                    yield {"model_name": target.model, "inputs": inputs, "outputs": wanted, "request_id": f"a{n}"}

            calls = [
                client.infer(target.model, inputs, outputs=wanted, request_id=f"c{n}") for n in range(count)
            ]
            called = [inferred(result) for result in await asyncio.gather(*calls)]
            streamed = by_id([inferred(result) async for result, error in client.stream_infer(requests())])
            return {"live": await client.is_server_live(), "called": called, "streamed": streamed}

    return asyncio.run(run())


def inference(target, tensor):
    return {
        "http": http_inference(target, tensor),
        "grpc": grpc_inference(target, tensor),
        "stream": grpc_stream(target, tensor),
        "aio": aio_inference(target, tensor),
    }


def metadata(target):
    return {"http": http_metadata(target), "grpc": grpc_metadata(target)}


def differences(answers, measure, leave_out=("scores",), place=""):
    """Where answers differ from those of another server, but for the keys left out: what two servers may call by other names
    and judge otherwise."""
    if isinstance(answers, dict) and isinstance(measure, dict):
        for key in sorted((set(answers) | set(measure)) - set(leave_out)):
            yield from differences(answers.get(key), measure.get(key), leave_out, f"{place}/{key}")
    elif isinstance(answers, list) and isinstance(measure, list) and len(answers) == len(measure):
        for n, pair in enumerate(zip(answers, measure)):
            yield from differences(*pair, leave_out, f"{place}[{n}]")
    elif answers != measure:
        yield f"{place}: {answers} instead of {measure}"


def all_scores(answers):
    """Every list of scores in the answers."""
    if isinstance(answers, dict):
        if "scores" in answers:
            yield answers["scores"]
        for value in answers.values():
            yield from all_scores(value)
    elif isinstance(answers, list):
        for value in answers:
            yield from all_scores(value)


def image_scores(target, encoded):
    """Scores of encoded images, sent as BYTES in each way that the clients know."""
    raw = np.array(encoded, dtype=np.object_)
    # JSON cannot carry bytes: there an element is the image in base64, or an item.
    texts = {
        "base64": [base64.b64encode(image) for image in encoded],
        "data uri": [b"data:;base64," + base64.b64encode(image) for image in encoded],
    }
    scores = {}
    with target.http_client() as client:
        def by_http(elements, binary):
            inputs = given(http_client, elements, "image", "BYTES", binary_data=binary)
            wanted = [http_client.InferRequestedOutput("score", binary_data=binary)]
            return inferred(client.infer(target.model, inputs, outputs=wanted), "score")["scores"]

        scores["http binary"] = by_http(raw, True)
        scores["http binary, two axes"] = by_http(raw.reshape(-1, 1), True)
        for form, elements in texts.items():
            scores[f"http json, {form}"] = by_http(np.array(elements, dtype=np.object_), False)
    with target.grpc_client() as client:
        inputs = given(grpc_client, raw, "image", "BYTES")
        scores["grpc"] = inferred(client.infer(target.model, inputs), "score")["scores"]
        scores["grpc typed"] = typed_grpc_scores(target, encoded)
        answers = queue.Queue()
        client.start_stream(lambda result, error: answers.put((result, error)))
        client.async_stream_infer(target.model, inputs)
        result, error = answers.get(timeout=ANSWER_WITHIN_SECONDS)
        client.stop_stream()
        scores["stream"] = {"refused": str(error)} if error else inferred(result, "score")["scores"]
    return scores


def typed_grpc_scores(target, encoded):
    """By `contents` instead of raw bytes, which no tritonclient sends but other languages' clients do; typed in, typed out."""
    request = service_pb2.ModelInferRequest(model_name=target.model)
    request.inputs.add(name="image", datatype="BYTES", shape=[len(encoded)]).contents.bytes_contents.extend(encoded)
    with target.channel() as channel:
        answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    assert not answer.raw_output_contents
    return list(answer.outputs[0].contents.fp32_contents)
