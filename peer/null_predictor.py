"""A predictor that costs almost nothing, to measure a transformer's own cost.

gRPC GRPCInferenceService: ServerLive, ServerReady, ModelReady, ServerMetadata,
ModelMetadata, ModelConfig, ModelInfer (input.1 -> 1346, FP32 [N,1]).
With --http-port also the V2 REST ModelInfer with binary tensors.

    --score constant   (default) 0.9312743544578552 for every image; the batch
                       size is taken from the length of the request, unparsed
    --score mean       the request is parsed and checked, and the score of a
                       image is the mean of its tensor: for correctness tests

Do not import kserve here: its messages clash with tritonclient's.
"""

import argparse
import asyncio
import json
import signal

import grpc
import numpy as np
from tritonclient.grpc import model_config_pb2, service_pb2 as pb

INPUT, OUTPUT = "input.1", "1346"
IMAGE_BYTES = 3 * 112 * 112 * 4
CONSTANT = np.float32(0.93127435)
SERVICE = "inference.GRPCInferenceService"


def constant_scores(n):
    return np.full(n, CONSTANT, dtype="<f4").tobytes()


def mean_scores(raw):
    return np.frombuffer(raw, dtype="<f4").reshape(-1, IMAGE_BYTES // 4).mean(axis=1).astype("<f4").tobytes()


def infer_response(model, n, raw):
    return pb.ModelInferResponse(
        model_name=model,
        model_version="1",
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(name=OUTPUT, datatype="FP32", shape=[n, 1])
        ],
        raw_output_contents=[raw],
    )


class Service:
    def __init__(self, model, score, max_batch, delay):
        self.model, self.score, self.max_batch, self.delay = model, score, max_batch, delay
        self._cache = {}

    async def model_infer_fast(self, request, context):
        """request is the serialized message; the answer is serialized too."""
        if self.delay:
            await asyncio.sleep(self.delay)
        n = len(request) // IMAGE_BYTES
        answer = self._cache.get(n)
        if answer is None:
            answer = infer_response(self.model, n, constant_scores(n)).SerializeToString()
            self._cache[n] = answer
        return answer

    async def model_infer_checked(self, request, context):
        if self.delay:
            await asyncio.sleep(self.delay)
        message = pb.ModelInferRequest.FromString(request)
        problem = self._problem(message)
        if problem:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)
        raw = message.raw_input_contents[0]
        n = message.inputs[0].shape[0]
        answer = infer_response(self.model, n, mean_scores(raw))
        answer.id = message.id
        return answer.SerializeToString()

    def _problem(self, m):
        if m.model_name != self.model:
            return f"unknown model {m.model_name!r}"
        if len(m.inputs) != 1 or len(m.raw_input_contents) != 1:
            return "expected one input in raw_input_contents"
        tensor = m.inputs[0]
        if tensor.name != INPUT or tensor.datatype != "FP32":
            return f"unexpected input {tensor.name} {tensor.datatype}"
        if list(tensor.shape[1:]) != [3, 112, 112]:
            return f"unexpected shape {list(tensor.shape)}"
        if self.max_batch and tensor.shape[0] > self.max_batch:
            return f"batch {tensor.shape[0]} exceeds {self.max_batch}"
        if len(m.raw_input_contents[0]) != tensor.shape[0] * IMAGE_BYTES:
            return "raw_input_contents has the wrong length"
        return None

    async def server_live(self, request, context):
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, request, context):
        return pb.ServerReadyResponse(ready=True)

    async def model_ready(self, request, context):
        return pb.ModelReadyResponse(ready=request.name == self.model)

    async def server_metadata(self, request, context):
        return pb.ServerMetadataResponse(name="null", version="0", extensions=[])

    async def model_metadata(self, request, context):
        if request.name != self.model:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown model {request.name!r}")
        tensor = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name=self.model,
            versions=["1"],
            platform="null",
            inputs=[tensor(name=INPUT, datatype="FP32", shape=[-1, 3, 112, 112])],
            outputs=[tensor(name=OUTPUT, datatype="FP32", shape=[-1, 1])],
        )

    async def model_config(self, request, context):
        if request.name != self.model:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown model {request.name!r}")
        c = model_config_pb2
        return pb.ModelConfigResponse(
            config=c.ModelConfig(
                name=self.model,
                max_batch_size=self.max_batch,
                input=[c.ModelInput(name=INPUT, data_type=c.TYPE_FP32, dims=[3, 112, 112])],
                output=[c.ModelOutput(name=OUTPUT, data_type=c.TYPE_FP32, dims=[1])],
            )
        )

    def handlers(self):
        def unary(behaviour, request, response):
            return grpc.unary_unary_rpc_method_handler(
                behaviour, request.FromString, response.SerializeToString
            )

        infer = self.model_infer_fast if self.score == "constant" else self.model_infer_checked
        return {
            "ServerLive": unary(self.server_live, pb.ServerLiveRequest, pb.ServerLiveResponse),
            "ServerReady": unary(self.server_ready, pb.ServerReadyRequest, pb.ServerReadyResponse),
            "ModelReady": unary(self.model_ready, pb.ModelReadyRequest, pb.ModelReadyResponse),
            "ServerMetadata": unary(
                self.server_metadata, pb.ServerMetadataRequest, pb.ServerMetadataResponse),
            "ModelMetadata": unary(
                self.model_metadata, pb.ModelMetadataRequest, pb.ModelMetadataResponse),
            "ModelConfig": unary(self.model_config, pb.ModelConfigRequest, pb.ModelConfigResponse),
            "ModelInfer": grpc.unary_unary_rpc_method_handler(infer),
        }


async def start_http(service, port):
    from aiohttp import web

    async def infer(request):
        body = await request.read()
        n = len(body) // IMAGE_BYTES
        if service.score == "mean":
            raw = mean_scores(body[int(request.headers["Inference-Header-Content-Length"]):])
        else:
            raw = constant_scores(n)
        head = json.dumps({
            "model_name": service.model,
            "model_version": "1",
            "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [n, 1],
                         "parameters": {"binary_data_size": 4 * n}}],
        }).encode()
        return web.Response(
            body=head + raw,
            content_type="application/octet-stream",
            headers={"Inference-Header-Content-Length": str(len(head))},
        )

    app = web.Application(client_max_size=1 << 30)
    app.router.add_post(f"/v2/models/{service.model}/infer", infer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--http-port", type=int, default=0)
    parser.add_argument("--model", default="face_quality_trt_fp16")
    parser.add_argument("--score", choices=("constant", "mean"), default="constant")
    parser.add_argument("--max-batch", type=int, default=0, help="refuse larger (--score mean)")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="wait before each answer")
    args = parser.parse_args()

    service = Service(args.model, args.score, args.max_batch, args.delay_ms / 1000)
    server = grpc.aio.server(
        options=[
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.so_reuseport", 0),  # a second predictor on the port fails instead of sharing it
        ]
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, service.handlers()),)
    )
    bound = server.add_insecure_port(f"{args.host}:{args.port}")
    await server.start()
    if args.http_port:
        await start_http(service, args.http_port)
    print(f"null predictor on {args.host}:{bound}", flush=True)
    stop = asyncio.Event()
    for sig in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sig, stop.set)
    await stop.wait()
    await server.stop(1)


if __name__ == "__main__":
    asyncio.run(main())
