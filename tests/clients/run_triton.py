"""Start a real tritonserver on the CPU: the binary and the Python backend from the nvidia-pytriton wheel, without pytriton's
proxy, so that no API is restricted and errors are Triton's own.

    python run_triton.py --http 8000 --grpc 8001 --metrics 8002 [--configs FOLDER] [flags of tritonserver]

The score of an image is the mean of its tensor: cheap, and it tells whether content and order arrived.
SIGTERM and SIGINT are passed on to tritonserver, whose exit status becomes ours.
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile

import pytriton

HOME = pathlib.Path(pytriton.__file__).parent / "tritonserver"

MODEL = '''
import time

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        time.sleep({delay_ms} / 1000)
        return [self.answer(request) for request in requests]

    def answer(self, request):
        images = pb.get_input_tensor_by_name(request, "{input}").as_numpy()
        means = images.reshape(-1, 3 * 112 * 112).mean(1, keepdims=True)
        return pb.InferenceResponse([pb.Tensor("1346", means.astype(np.float32))])
'''

CONFIG = '''
name: "{name}"
backend: "python"
max_batch_size: {max_batch_size}
input [{{ name: "{input}" data_type: TYPE_FP32 dims: [{batch}3, 112, 112] }}]
output [{{ name: "1346" data_type: TYPE_FP32 dims: [{batch}1] }}]
instance_group [{{ kind: KIND_CPU count: 1 }}]
{more}
'''

# One of the embedded models, run by onnxruntime. Where it takes UINT8 or FP16, the rest of the arithmetic is its first node's.
ONNX_MODEL = '''
import time

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, _):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # more of them wait for each other by spinning
        self.session = onnxruntime.InferenceSession("{file}", options, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        time.sleep({delay_ms} / 1000)
        return [self.answer(request) for request in requests]

    def answer(self, request):
        images = pb.get_input_tensor_by_name(request, "input.1").as_numpy()
        values = images.astype(np.float32)
        if images.dtype == np.uint8:
            values = (values - 127.5) / 128
        names = {outputs}
        outputs = self.session.run(names, {{"input.1": values}})
        return pb.InferenceResponse([pb.Tensor(*named) for named in zip(names, outputs)])
'''

ONNX_CONFIG = '''
name: "{name}"
backend: "python"
max_batch_size: 32
input [{{ name: "input.1" data_type: {datatype} dims: {dims} }}]
output [{outputs}]
instance_group [{{ kind: KIND_CPU count: 1 }}]
'''

MODELS = pathlib.Path(__file__).resolve().parents[2] / "data/models"

DYNAMIC_BATCHING = "dynamic_batching { max_queue_delay_microseconds: 100 }"


def write_model(repository, name, max_batch_size, input="input.1", delay_ms=0, more=""):
    version = repository / name / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(MODEL.format(input=input, delay_ms=delay_ms))
    batch = "" if max_batch_size else "-1, "
    (repository / name / "config.pbtxt").write_text(
        CONFIG.format(name=name, max_batch_size=max_batch_size, input=input, batch=batch, more=more)
    )


def write_onnx_model(repository, name, file, dims, outputs, datatype="TYPE_FP32"):
    version = repository / name / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(ONNX_MODEL.format(file=MODELS / file, outputs=list(outputs), delay_ms=0))
    described = [f'{{ name: "{output}" data_type: TYPE_FP32 dims: {shape} }}' for output, shape in outputs.items()]
    (repository / name / "config.pbtxt").write_text(
        ONNX_CONFIG.format(name=name, datatype=datatype, dims=dims, outputs=", ".join(described))
    )


def write_centerface(repository):
    maps = {"537": [1, -1, -1], "538": [2, -1, -1], "539": [2, -1, -1], "540": [10, -1, -1]}
    write_onnx_model(repository, "centerface", "centerface.onnx", [3, -1, -1], maps)


def write_face_quality(repository, datatype):
    name = f"face_quality_{datatype.lower()}"
    write_onnx_model(repository, name, "face_quality.onnx", [3, 112, 112], {"1346": [1]}, f"TYPE_{datatype}")


def write_stand_ins(repository, configs, delay_ms):
    """The models of a repository for TensorRT, by their own configurations; the embedded ones stand in for the plans."""
    files = {"centerface": "centerface.onnx", "face_quality_trt_fp16": "face_quality.onnx"}
    for config in configs.glob("*/config.pbtxt"):
        name = config.parent.name
        text = config.read_text()
        outputs = re.findall(r'name: "(\w+)"', text.split("output")[1])
        version = repository / name / "1"
        version.mkdir(parents=True)
        (version / "model.py").write_text(ONNX_MODEL.format(file=MODELS / files[name], outputs=outputs, delay_ms=delay_ms))
        (repository / name / "config.pbtxt").write_text(text.replace('platform: "tensorrt_plan"', 'backend: "python"'))


def write_repository(repository):
    # The predecessor's model: name, tensors and batch size are what the service expects by default.
    write_model(repository, "face_quality_trt_fp16", 32, more=DYNAMIC_BATCHING)
    # Another name for its input: the service must say so and stay unready.
    write_model(repository, "other_input", 32, input="image")
    # The batch axis is part of the shape.
    write_model(repository, "no_batching", 0)
    # One image at a time, half a second each: what waits behind it can be cancelled.
    write_model(repository, "slow", 1, delay_ms=500, more=DYNAMIC_BATCHING)

    # The embedded models, as Triton would have them.
    write_centerface(repository)
    for datatype in ["FP32", "FP16", "UINT8"]:
        write_face_quality(repository, datatype)


def write_backends(backends):
    """The Python backend with the stub of this interpreter's version beside it."""
    shutil.copytree(HOME / "backends", backends)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = HOME / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy2(stub, backends / "python" / stub.name)


def environment():
    """The stub must load the libpython of the interpreter whose standard library it will use, and numpy from here."""
    libraries = [sysconfig.get_config_var("LIBDIR"), str(HOME.parent.parent / "nvidia_pytriton.libs")]
    env = dict(os.environ)
    env["LD_LIBRARY_PATH"] = ":".join(libraries)
    env["PYTHONPATH"] = sysconfig.get_path("purelib")
    env["PATH"] = f"{pathlib.Path(sys.executable).parent}:{env['PATH']}"
    return env


def command(args, models, work, flags):
    return [
        str(HOME / "bin" / "tritonserver"),
        f"--model-repository={models}",
        f"--backend-directory={work / 'backends'}",
        "--http-address=127.0.0.1", f"--http-port={args.http}",
        "--grpc-address=127.0.0.1", f"--grpc-port={args.grpc}",
        "--metrics-address=127.0.0.1", f"--metrics-port={args.metrics}",
        "--log-info=false",
        f"--backend-config=python,shm-region-prefix-name=facequality{os.getpid()}",
        *flags,
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--http", type=int, default=8000)
    parser.add_argument("--grpc", type=int, default=8001)
    parser.add_argument("--metrics", type=int, default=8002)
    parser.add_argument("--configs", type=pathlib.Path, help="model repository without models, in place of the one made here")
    parser.add_argument("--delay-ms", type=int, default=0, help="of those models")
    args, flags = parser.parse_known_args()

    with tempfile.TemporaryDirectory(prefix="triton-") as directory:
        work = pathlib.Path(directory)
        models = work / "models"
        if args.configs:
            write_stand_ins(models, args.configs, args.delay_ms)
        else:
            write_repository(models)
        write_backends(work / "backends")
        triton = subprocess.Popen(command(args, models, work, flags), env=environment())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _frame: triton.send_signal(received))
        status = triton.wait()
    sys.exit(status)


if __name__ == "__main__":
    main()
