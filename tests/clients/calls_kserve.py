"""The calls of KServe's own clients against a server, printed as one JSON object. Runs in the kserve environment.

    python calls_kserve.py --http 127.0.0.1:8080 --grpc 127.0.0.1:8081 --model facequality --tensor two.npy image.png...

With images, V1 and the `image` input are tried too; with a tensor alone the server may be a Triton.
"""

import argparse
import asyncio
import base64
import json
import ssl
import sys

import numpy as np


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--http", required=True, help="HOST:PORT")
    parser.add_argument("--grpc", required=True, help="HOST:PORT")
    parser.add_argument("--model", required=True)
    parser.add_argument("--tensor", required=True, help="file of numpy.save, FP32 [N,3,112,112]")
    parser.add_argument("--ca", help="certificate of the authority (PEM), where the server speaks TLS")
    parser.add_argument("images", nargs="*", help="the images that the tensor was made of")
    return parser.parse_args()


ARGS = arguments()
# The SDK reads the command line when it is imported, and refuses what it does not know.
sys.argv[1:] = []
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig  # noqa: E402

UNKNOWN = "no_such_model"


async def recorded(call):
    """What a call gives, or the type of what it raises."""
    try:
        return await call
    except Exception as error:  # whatever the client makes of a refusal is what its users see
        return {"raised": type(error).__name__}


def given(model, name, datatype, values, binary):
    tensor = InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values, binary_data=binary)
    parameters = {"binary_data_output": True} if binary else {}
    return InferRequest(model_name=model, infer_inputs=[tensor], request_id="k1", parameters=parameters)


def inferred(response):
    return {
        "id": response.id,
        "outputs": [{"name": o.name, "datatype": o.datatype, "shape": list(o.shape)} for o in response.outputs],
        "scores": response.outputs[0].as_numpy().ravel().tolist(),
    }


async def rest_v2(base, args, verify, tensor, raw, text):
    async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=60, verify=verify)) as client:
        async def infer(name, datatype, values, binary):
            request = given(args.model, name, datatype, values, binary)
            return inferred(await client.infer(base, request, model_name=args.model))

        answers = {
            "model ready": await client.is_model_ready(base, args.model),
            "tensor, binary": await infer("input.1", "FP32", tensor, True),
            "tensor, json": await infer("input.1", "FP32", tensor, False),
            "unknown model": await recorded(
                client.infer(base, given(UNKNOWN, "input.1", "FP32", tensor, True), model_name=UNKNOWN)
            ),
        }
        if raw is not None:
            answers |= {
                # A Triton's health answers have no body, which this client cannot read.
                "live": await client.is_server_live(base),
                "ready": await client.is_server_ready(base),
                "images, binary": await infer("image", "BYTES", raw, True),
                "images, json": await infer("image", "BYTES", text, False),
            }
        return answers


async def rest_v1(base, args, verify, items):
    async with InferenceRESTClient(RESTConfig(protocol="v1", timeout=60, verify=verify)) as client:
        def infer(body, model=args.model):
            return client.infer(base, body, model_name=model, headers={"x-request-id": "k1"})

        many = await infer({"multi_data": [{"data": {"item": item}} for item in items]})
        own = await infer({"instances": items})
        return {
            "live": await client.is_server_live(base),
            "model ready": await client.is_model_ready(base, args.model),
            "unknown model ready": await recorded(client.is_model_ready(base, UNKNOWN)),
            "unknown model": await recorded(infer({"instances": items}, UNKNOWN)),
            "multi_data": {"scores": [entry["data"][0]["score"] for entry in many["multi_data"]]},
            "instances": {"scores": own["predictions"]},
        }


async def grpc_v2(args, tensor, raw):
    secure = {"use_ssl": True, "root_certificates": args.ca} if args.ca else {}
    async with InferenceGRPCClient(args.grpc, timeout=60, **secure) as client:
        async def infer(name, datatype, values, binary=True):
            request = given(args.model, name, datatype, values, binary)
            return inferred(await client.infer(request, headers=[("x-request-id", "k1")]))

        answers = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model ready": await client.is_model_ready(args.model),
            "unknown model ready": await recorded(client.is_model_ready(UNKNOWN)),
            "tensor, raw": await infer("input.1", "FP32", tensor),
            "tensor, typed": await infer("input.1", "FP32", tensor, False),
            "unknown model": await recorded(client.infer(given(UNKNOWN, "input.1", "FP32", tensor, True))),
        }
        if raw is not None:
            answers["images, raw"] = await infer("image", "BYTES", raw)
        return answers


async def run(args):
    tensor = np.load(args.tensor)
    verify = ssl.create_default_context(cafile=args.ca) if args.ca else True
    base = f"{'https' if args.ca else 'http'}://{args.http}"
    encoded = [open(path, "rb").read() for path in args.images]
    base64s = [base64.b64encode(image) for image in encoded]
    raw = np.array(encoded, dtype=np.object_) if encoded else None
    text = np.array(base64s, dtype=np.object_)
    answers = {"v2": await rest_v2(base, args, verify, tensor, raw, text), "grpc": await grpc_v2(args, tensor, raw)}
    if encoded:
        items = [f"data:image/png;base64,{text.decode('ascii')}" for text in base64s]
        answers["v1"] = await rest_v1(base, args, verify, items)
    print(json.dumps(answers))


if __name__ == "__main__":
    asyncio.run(run(ARGS))
