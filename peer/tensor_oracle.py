"""Parity oracle: what the Python service's image arithmetic makes of a file.

For every image it writes, into --out:

    <name>.resized.rgb   112*112*3 bytes, uint8, row-major HWC, RGB order
    <name>.tensor.f32    3*112*112 float32 little-endian, CHW, RGB order
    manifest.json        per file: decoded size, SHA-256 of the decoded RGB
                         pixels, of the resized bytes and of the tensor bytes,
                         plus the OpenCV build that made them

The arithmetic is
    cv2.imdecode(IMREAD_COLOR | IMREAD_IGNORE_ORIENTATION)
    cv2.resize to 112x112, INTER_LINEAR, uint8
    BGR -> RGB, HWC -> CHW, float32, (x - 127.5) / 128
A file that OpenCV cannot decode is listed with "error" and no other field.

    python tensor_oracle.py --out golden images/*
"""

import argparse
import hashlib
import json
import pathlib
import platform

import cv2
import numpy as np

SIDE = 112


def sha256(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def run(blob):
    """Returns (decoded RGB, resized RGB, float CHW) or None if undecodable."""
    if not blob:
        return None
    buf = np.frombuffer(blob, dtype=np.uint8)
    bgr = cv2.imdecode(buf, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None:
        return None
    resized = cv2.resize(bgr, (SIDE, SIDE))
    rgb = resized[:, :, ::-1]
    tensor = (rgb.transpose(2, 0, 1).astype(np.float32) - np.float32(127.5)) / np.float32(128.0)
    return bgr[:, :, ::-1], np.ascontiguousarray(rgb), np.ascontiguousarray(tensor)


def build_lines():
    wanted = ("JPEG:", "PNG:", "WEBP:", "Intel IPP:", "Custom HAL:", "Dispatched code generation:")
    lines = (line.strip() for line in cv2.getBuildInformation().splitlines())
    return [" ".join(line.split()) for line in lines if line.startswith(wanted)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--optimized", choices=("on", "off"), default="on",
                        help="off: cv2.setUseOptimized(False), the plain C++ code paths")
    parser.add_argument("--manifest-only", action="store_true")
    args = parser.parse_args()

    cv2.setNumThreads(1)
    cv2.setUseOptimized(args.optimized == "on")
    args.out.mkdir(parents=True, exist_ok=True)
    entries = {}
    for path in args.files:
        result = run(path.read_bytes())
        if result is None:
            entries[path.name] = {"error": "undecodable"}
            continue
        decoded, resized, tensor = result
        entries[path.name] = {
            "file_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "width": decoded.shape[1],
            "height": decoded.shape[0],
            "decoded_rgb_sha256": sha256(decoded),
            "resized_rgb_sha256": sha256(resized),
            "tensor_sha256": sha256(tensor.astype("<f4")),
        }
        if not args.manifest_only:
            (args.out / f"{path.name}.resized.rgb").write_bytes(resized.tobytes())
            (args.out / f"{path.name}.tensor.f32").write_bytes(tensor.astype("<f4").tobytes())
    manifest = {
        "opencv": cv2.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "optimized": args.optimized,
        "build": build_lines(),
        "files": entries,
    }
    (args.out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    main()
