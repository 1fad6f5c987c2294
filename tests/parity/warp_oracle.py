"""Parity oracle: what OpenCV's warpAffine makes of noise, and of aligned faces.

    python warp_oracle.py --out ../golden/warp/manifest.json              # the committed set
    python warp_oracle.py --seed 7 --cases 2000 --out /tmp/warp.json      # FACEQUALITY_WARP_MANIFEST names it

The pixels of each case come from its number by a formula that tests/parity/warp.rs has too, so that only
hashes are written. Transforms are written as the bits of their numbers. OpenCV 4.5 to 4.14 on x86-64 write the
same file; OpenCV 5 has other kernels and is refused.
"""

import argparse
import hashlib
import json
import math
import pathlib
import struct

import cv2
import numpy as np

SIDE = 112
TEMPLATE = [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]


def pixels(case, width, height):
    """RGB noise for even cases, waves of light for odd ones."""
    at = np.arange(width * height * 3, dtype=np.uint64)
    if case % 2 == 0:
        values = (at + np.uint64(case * 1_000_003)) * np.uint64(2_654_435_761) % np.uint64(1 << 32) >> np.uint64(21)
    else:
        x, y = at // np.uint64(3) % np.uint64(width), at // np.uint64(3 * width)
        values = x * x // np.uint64(7) + y * np.uint64(3 + case % 5) + at % np.uint64(3) * np.uint64(80)
    return (values % np.uint64(256)).astype(np.uint8).reshape(height, width, 3)


def bits(values):
    return [struct.unpack("<Q", struct.pack("<d", value))[0] for value in values]


def warp(rgb, transform, size, border):
    """In OpenCV's order of colours, and back."""
    warped = cv2.warpAffine(np.ascontiguousarray(rgb[:, :, ::-1]), np.array(transform), size, flags=cv2.INTER_LINEAR,
                            borderMode=cv2.BORDER_CONSTANT, borderValue=border[::-1])
    return hashlib.sha256(np.ascontiguousarray(warped.reshape(size[1], size[0], 3)[:, :, ::-1]).tobytes()).hexdigest()


def transform_of(kind, random, width, height):
    if kind == "whole steps":
        return [[1, 0, int(random.integers(-20, 20))], [0, 1, int(random.integers(-20, 20))]]
    if kind == "flip":
        return [[-1, 0, width - 1], [0, [1, -1][int(random.integers(2))], int(random.integers(0, height))]]
    if kind == "quarter turn":
        return [[0, -1, height - 1], [1, 0, 0]]
    if kind == "any":
        return (random.normal(0, 1, (2, 3)) * [1, 1, 100]).tolist()
    if kind == "flat":
        return [[1, 2, 3], [2, 4, 5]]
    angle, scale = random.uniform(0, 2 * math.pi), math.exp(random.uniform(-3, 3))
    a, b = scale * math.cos(angle), scale * math.sin(angle)
    mirror = -1 if kind == "mirrored" else 1
    return [[mirror * a, -b, random.uniform(-50, 150)], [mirror * b, a, random.uniform(-50, 150)]]


def similarity(landmarks):
    """Umeyama's least squares in the plane, step by step as the service has it."""
    mean = [[sum(point[axis] for point in points) / 5.0 for axis in (0, 1)] for points in (landmarks, TEMPLATE)]
    cosine = sine = spread = 0.0
    for point, target in zip(landmarks, TEMPLATE):
        x, y = point[0] - mean[0][0], point[1] - mean[0][1]
        u, v = target[0] - mean[1][0], target[1] - mean[1][1]
        cosine += x * u + y * v
        sine += x * v - y * u
        spread += x * x + y * y
    a, b = cosine / spread, sine / spread
    result = [[a, -b, mean[1][0] - (a * mean[0][0] - b * mean[0][1])],
              [b, a, mean[1][1] - (b * mean[0][0] + a * mean[0][1])]]
    assert np.allclose(result, umeyama(np.array(landmarks), np.array(TEMPLATE)), rtol=0, atol=1e-9)
    return result


def umeyama(source, target):
    """S. Umeyama, Least-squares estimation of transformation parameters, 1991: by singular values."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    source, target = source - source_mean, target - target_mean
    u, d, vt = np.linalg.svd(target.T @ source)
    signs = np.array([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    turned = u @ np.diag(signs) @ vt * ((d * signs).sum() / (source ** 2).sum())
    return np.column_stack([turned, target_mean - turned @ source_mean])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--cases", type=int, default=200)
    args = parser.parse_args()
    if int(cv2.__version__.split(".")[0]) != 4:
        parser.error(f"OpenCV {cv2.__version__} has other bits: use 4.5 to 4.14")
    cv2.setNumThreads(1)
    print(f"seed {args.seed}")
    random = np.random.default_rng(args.seed)
    kinds = ["turned", "turned", "turned", "mirrored", "any", "any", "whole steps", "flip", "quarter turn", "flat"]
    warped, aligned = [], []
    for case in range(args.cases):
        width, height = (int(random.integers(1, 300)) for _ in range(2))
        size = [int(random.integers(1, 200)) for _ in range(2)]
        kind = kinds[case % len(kinds)]
        transform = [[float(value) for value in row] for row in transform_of(kind, random, width, height)]
        border = [0, 0, 0] if case % 3 else [int(value) for value in random.integers(0, 256, 3)]
        warped.append({"case": case, "kind": kind, "image": [width, height], "transform": bits(sum(transform, [])),
                       "size": size, "border": border,
                       "sha256": warp(pixels(case, width, height), transform, size, border)})
    for case in range(args.cases):
        width, height = (int(random.integers(20, 300)) for _ in range(2))
        # A face anywhere, also cut, also too large, with landmarks that are a little off.
        angle, scale = random.normal(0, 0.6), math.exp(random.uniform(-2, 1.5))
        turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        points = (np.array(TEMPLATE) - 56 + random.normal(0, 3, (5, 2))) @ turn.T
        points = (points + random.uniform(0, 1, 2) * [width, height]).astype(np.float32)
        # The numbers are FP32, so that FP64 holds them as they are.
        landmarks = [[float(value) for value in point] for point in points]
        sha256 = warp(pixels(case, width, height), similarity(landmarks), (SIDE, SIDE), [0, 0, 0])
        aligned.append({"case": case, "image": [width, height], "landmarks": bits(sum(landmarks, [])),
                        "sha256": sha256})
    args.out.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f'"{name}": [\n' + ",\n".join(map(json.dumps, cases)) + "\n]"
                       for name, cases in (("warped", warped), ("aligned", aligned)))
    args.out.write_text(f'{{"opencv": "{cv2.__version__}",\n{lines}}}\n')


if __name__ == "__main__":
    main()
