"""OpenCV and numpy alone, one thread: milliseconds per step for both images."""

import argparse
import base64
import pathlib
import statistics
import time

import cv2
import numpy as np

from facequality_transformer import prediction as p, tuning


def cpu_ms(work, seconds=0.4, rounds=7):
    work()
    start = time.thread_time()
    work()
    count = max(3, int(seconds / max(time.thread_time() - start, 1e-6)))
    times = []
    for _ in range(rounds):
        start = time.thread_time()
        for _ in range(count):
            work()
        times.append((time.thread_time() - start) / count * 1000)
    return statistics.median(times), min(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent / "images")
    parser.add_argument("--keep-heap", action="store_true", help="as the service's --keep_heap")
    args = parser.parse_args()
    if args.keep_heap:
        tuning.keep_heap()
    cv2.setNumThreads(1)
    slot = np.empty((3, p.SIDE, p.SIDE), np.float32)
    print(f"OpenCV {cv2.__version__}, numpy {np.__version__}; thread CPU, median (best) in ms\n")
    print("| step | face_250.jpg | photo_1920.jpg |\n|---|---:|---:|")
    columns = []
    for name in ("face_250.jpg", "photo_1920.jpg"):
        blob = (args.images / name).read_bytes()
        text = base64.b64encode(blob).decode()
        buf = np.frombuffer(blob, np.uint8)
        image = cv2.imdecode(buf, p.DECODE_FLAGS)
        small = cv2.resize(image, (p.SIDE, p.SIDE))

        def normalise():
            slot[2], slot[1], slot[0] = cv2.split(small)
            np.subtract(slot, 127.5, out=slot)
            np.multiply(slot, 0.0078125, out=slot)

        columns.append({
            "base64, standard library": cpu_ms(lambda: base64.b64decode(text)),
            "base64, as used": cpu_ms(lambda: p.b64decode(text)),
            "imdecode": cpu_ms(lambda: cv2.imdecode(buf, p.DECODE_FLAGS)),
            "resize": cpu_ms(lambda: cv2.resize(image, (p.SIDE, p.SIDE))),
            "normalise": cpu_ms(normalise),
            "imdecode + resize + normalise": cpu_ms(lambda: p.fill_slot(blob, slot)),
        })
    for step in columns[0]:
        print(f"| {step} | " + " | ".join(f"{c[step][0]:.3f} ({c[step][1]:.3f})" for c in columns) + " |")


if __name__ == "__main__":
    main()
