"""Images on one thread, from bytes to the tensor: this project against OpenCV, and JPEG against libjpeg-turbo.

    bash tests/clients/setup.sh opencv
    target/venvs/opencv/bin/python benches/opencv.py              # all rows
    target/venvs/opencv/bin/python benches/opencv.py webp png     # those whose names have one of the words
    target/venvs/opencv/bin/python benches/opencv.py --turbo      # and libjpeg-turbo's; needs cmake and nasm

CPU time; the sides take turns, and a row is the median of the ratios with the least and the most. Ours also normalises.
"""

import argparse
import datetime
import json
import pathlib
import statistics
import subprocess
import time

import cv2
import numpy as np
from PIL import Image, ImageFile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FACE = ROOT / "data/images/face.jpg"
PHOTO = ROOT / "tests/golden/pixels/jpeg-photo-1920x1920.jpg"
OUT = ROOT / "target/bench-images"
ImageFile.MAXBLOCK = 1 << 26  # or progressive JPEGs do not fit the buffer


def images():
    """The images by name; those that are not in the clone are made of the two that are."""
    OUT.mkdir(parents=True, exist_ok=True)
    face, photo = Image.open(FACE).convert("RGB"), Image.open(PHOTO).convert("RGB")
    large = np.asarray(photo.resize((4000, 4000), Image.BICUBIC).crop((0, 500, 4000, 3500))).astype(np.int16)
    grain = np.random.default_rng(1).normal(0, 3, large.shape).astype(np.int16)
    large = Image.fromarray(np.clip(large + grain, 0, 255).astype(np.uint8))
    rgba = photo.convert("RGBA")
    rgba.putalpha(photo.convert("L"))
    made = {
        "JPEG 4000x3000": (large, "jpg", {"quality": 90}),
        "progressive JPEG 250x250": (face, "jpg", {"quality": 90, "progressive": True}),
        "progressive JPEG 1920x1920": (photo, "jpg", {"quality": 90, "progressive": True}),
        "progressive JPEG 4000x3000": (large, "jpg", {"quality": 90, "progressive": True}),
        "lossy WebP 1920x1920": (photo, "webp", {"quality": 85}),
        "lossless WebP 1920x1920": (photo, "webp", {"lossless": True, "method": 2}),
        "grey PNG 250x250": (face.convert("L"), "png", {}),
        "RGB PNG 250x250": (face, "png", {}),
        "grey PNG 1920x1920": (photo.convert("L"), "png", {}),
        "RGB PNG 1920x1920": (photo, "png", {}),
        "RGBA PNG 1920x1920": (rgba, "png", {}),
    }
    paths = {"JPEG 250x250": FACE, "JPEG 1920x1920": PHOTO}
    for name, (image, extension, options) in made.items():
        paths[name] = OUT / f"{name.replace(' ', '-')}.{extension}"
        image.save(paths[name], **options)
    return paths


def build(turbo):
    """The program with our side, in the profile of the benchmarks."""
    command = ["cargo", "bench", "--bench", "decode", "--no-run", "--message-format=json"]
    command += ["--features", "oracle"] if turbo else []
    lines = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    built = (json.loads(line) for line in lines)
    return next(each["executable"] for each in built if each.get("executable") and each["target"]["name"] == "decode")


def opencv(path, milliseconds):
    blob = np.fromfile(path, np.uint8)

    def once():
        cv2.resize(cv2.imdecode(blob, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION), (112, 112))

    once()
    start, count = time.thread_time(), 0
    while (time.thread_time() - start) * 1e3 < milliseconds:
        once()
        count += 1
    return (time.thread_time() - start) * 1e6 / count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="rows whose names have one of these; all without")
    parser.add_argument("--turbo", action="store_true", help="JPEG against libjpeg-turbo with our resize, too")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--milliseconds", type=float, default=400, help="of CPU, for a turn of a side")
    parser.add_argument("--program", help="our side, if it is built already")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    program = args.program or build(args.turbo)

    def ours(path, *decoder):
        command = [program, path, str(args.milliseconds), *decoder]
        return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)

    print(f"{datetime.date.today()}, OpenCV {cv2.__version__}, {args.turns} turns of {args.milliseconds:.0f} ms CPU\n")
    print("| image | against | ours / theirs | ours, µs | theirs, µs |\n|---|---|---|---|---|")
    for name, path in images().items():
        if args.words and not any(word.lower() in name.lower() for word in args.words):
            continue
        sides = {"OpenCV": lambda: opencv(path, args.milliseconds)}
        if args.turbo and name.startswith("JPEG"):
            sides["libjpeg-turbo + our resize"] = lambda: ours(path, "libjpeg-turbo")
        for other, measure in sides.items():
            pairs = [(ours(path), measure()) for _ in range(args.turns)]
            ratios = sorted(mine / theirs for mine, theirs in pairs)
            spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} … {ratios[-1]:.2f})"
            mine, theirs = (statistics.median(side) for side in zip(*pairs))
            print(f"| {name} | {other} | {spread} | {mine:,.0f} | {theirs:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
