"""Where the CPU goes, by leaving work out.

Starts the service once per stage, each stage doing everything up to and
including itself, and prints CPU per image and the difference to the stage
before.  (A sampling profiler misleads on a busy machine: samples fall where
the process is preempted, which is at system calls.)

    python breakdown.py [--image photo_1920.jpg -n 200] [-b 16]
"""

import argparse
import os
import pathlib
import statistics
import sys

HERE = pathlib.Path(__file__).resolve().parent
STAGES = ["http", "json", "base64", "decode", "resize", "normalise", "grpc"]


def serve(stage, rest):
    sys.argv = ["facequality_transformer", *rest]
    import cv2
    import numpy as np
    from facequality_transformer import __main__ as entry
    from facequality_transformer import prediction as p
    from facequality_transformer.common_data_type import parse_items
    from facequality_transformer.transformer import FaceQualityTransformer

    reach = STAGES.index(stage)

    class Partial(FaceQualityTransformer):
        async def preprocess(self, payload, headers=None):
            if stage == "grpc":
                return await super().preprocess(payload, headers)
            if self._client is None:
                self._open()
            if reach <= 1:
                return len(payload.get("multi_data") or [0])
            items = parse_items(payload)
            if stage == "normalise":
                await self._loader.batch(items)
                return len(items)
            for item in items:
                blob = p.base64_payload(item)
                if reach >= 3:
                    image = cv2.imdecode(np.frombuffer(blob, np.uint8), p.DECODE_FLAGS)
                if reach >= 4:
                    cv2.resize(image, (p.SIDE, p.SIDE))
            return len(items)

        async def predict(self, payload, headers=None, response_headers=None):
            if stage == "grpc":
                return await super().predict(payload, headers)
            return np.full(payload, 0.93127435, np.float32)

    entry.FaceQualityTransformer = Partial
    entry.main()


def main():
    if os.environ.get("BREAKDOWN_STAGE"):
        serve(os.environ["BREAKDOWN_STAGE"], sys.argv[1:])
        return
    import bench

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", default="face_250.jpg")
    parser.add_argument("-n", "--requests", type=int, default=3000)
    parser.add_argument("-b", "--batch", type=int, default=1)
    parser.add_argument("-c", "--connections", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--images", type=pathlib.Path, default=HERE / "images")
    parser.add_argument("--predictor", default="127.0.0.1:8001")
    parser.add_argument("--args", default="", help="more arguments for the transformer")
    args = parser.parse_args()
    args.images = args.images.resolve()
    args.url = "http://127.0.0.1:8080/v1/models/facequality:predict"
    args.scale = 1.0
    command = (f"{sys.executable} {HERE / 'breakdown.py'} "
               f"--predictor_host {args.predictor} {args.args}")
    cpu = {stage: [] for stage in STAGES}
    for _ in range(args.runs):
        for stage in STAGES:
            os.environ["BREAKDOWN_STAGE"] = stage
            process, _s = bench.start(command, "http://127.0.0.1:8080/v1/models/facequality")
            try:
                # The http stage sends a tiny image: the framework without the payload.
                image = "face_1x1.png" if stage == "http" else args.image
                result = bench.case(args, process.pid, image, args.batch, args.connections,
                                    args.requests, max(8, args.requests // 20))
            finally:
                bench.stop(process)
            cpu[stage].append(result["cpu_us_per_image"])
    print("| stage | CPU us per image, up to here | this stage | runs |\n|---|---:|---:|---|")
    before = 0.0
    for stage in STAGES:
        now = statistics.median(cpu[stage])
        print(f"| {stage} | {now:.0f} | {now - before:.0f} | {cpu[stage]} |")
        before = now


if __name__ == "__main__":
    main()
