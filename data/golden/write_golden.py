"""Writes a golden set: what OpenCV, and a predictor, make of images.

`facequality-transformer verify DIR` compares with it. Run this where the scores that count are
made today; it needs Python 3.6, OpenCV (4.5 or later; before 4.11 it also takes truncated images, of which
`verify` then says that they are rejected here), and tritonclient[grpc] for scores.

    python write_golden.py --out DIR IMAGE…
    python write_golden.py --out DIR --predictor 127.0.0.1:8001 IMAGE…

For every image it writes into --out the image itself, its tensor NAME.tensor.f32 (3×112×112
float32 little-endian, planes red, green, blue) and an entry of manifest.json: sizes, SHA-256 of
the file, the decoded and the resized pixels and the tensor, the score. The arithmetic is

    cv2.imdecode(IMREAD_COLOR | IMREAD_IGNORE_ORIENTATION)
    cv2.resize to 112×112, INTER_LINEAR, uint8
    BGR to RGB, planes first, float32, (x - 127.5) / 128

An image that OpenCV rejects is listed with "error" alone.
"""

import argparse
import hashlib
import json
import pathlib
import platform
import shutil

import cv2
import numpy as np

SIDE = 112


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def tensor_of(blob):
    """Decoded and resized RGB pixels and the tensor, or None if OpenCV rejects the image."""
    if not blob:
        return None
    bgr = cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None:
        return None
    resized = cv2.resize(bgr, (SIDE, SIDE))[:, :, ::-1]
    planes = resized.transpose(2, 0, 1).astype(np.float32)
    tensor = (planes - np.float32(127.5)) / np.float32(128.0)
    return bgr[:, :, ::-1], resized, np.ascontiguousarray(tensor)


def scorer(args):
    """A function from tensor to score, or None without --predictor."""
    if not args.predictor:
        return None
    import tritonclient.grpc as triton

    client = triton.InferenceServerClient(args.predictor)

    def score(tensor):
        tensor_in = triton.InferInput(args.input, [1, 3, SIDE, SIDE], "FP32")
        tensor_in.set_data_from_numpy(tensor[np.newaxis])
        response = client.infer(args.model, [tensor_in], outputs=[triton.InferRequestedOutput(args.output)])
        return float(response.as_numpy(args.output).reshape(-1)[0])

    return score


def entry_of(path, args, score):
    blob = path.read_bytes()
    made = tensor_of(blob)
    if args.out.resolve() != path.resolve().parent and not args.no_images:
        shutil.copyfile(path, args.out / path.name)
    if made is None:
        return {"error": "undecodable"}
    decoded, resized, tensor = made
    values = tensor.astype("<f4").tobytes()
    if not args.manifest_only:
        (args.out / f"{path.name}.tensor.f32").write_bytes(values)
    entry = {
        "file_sha256": sha256(blob),
        "width": decoded.shape[1],
        "height": decoded.shape[0],
        "decoded_rgb_sha256": sha256(np.ascontiguousarray(decoded)),
        "resized_rgb_sha256": sha256(np.ascontiguousarray(resized)),
        "tensor_sha256": sha256(values),
    }
    if score:
        entry["score"] = score(tensor)
    return entry


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=pathlib.Path, metavar="IMAGE")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder to write to")
    parser.add_argument("--predictor", metavar="HOST:PORT", help="Triton's gRPC port; without it no scores")
    parser.add_argument("--model", default="face_quality_trt_fp16")
    parser.add_argument("--input", default="input.1")
    parser.add_argument("--output", default="1346")
    parser.add_argument("--manifest_only", action="store_true", help="hashes of tensors, not their values")
    parser.add_argument("--no_images", action="store_true", help="do not copy the images")
    args = parser.parse_args()

    names = [path.name for path in args.files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        parser.error(f"several images have the same name: {', '.join(twice)}")

    args.out.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    score = scorer(args)
    manifest = {
        "opencv": cv2.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "files": {path.name: entry_of(path, args, score) for path in args.files},
    }
    if score:
        manifest["model"] = args.model
    (args.out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    main()
