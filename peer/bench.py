"""The whole measurement: start a service, run every case, print the medians.

    python bench.py --start "python -m facequality_transformer --predictor_host 127.0.0.1:8001"

The predictor (null_predictor.py) must be running.  --start may be any command
that serves the same endpoint, so the same script measures the Rust service.
The cases are interleaved (run 1 of each, run 2 of each, ...) so that a busy
spell on the machine falls on all of them.
"""

import argparse
import json
import pathlib
import shlex
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

import load

HERE = pathlib.Path(__file__).resolve().parent
# name, image, batch, connections, requests, warm-up requests
CASES = [
    ("250x250, 1 connection", "face_250.jpg", 1, 1, 1500, 100),
    ("250x250, 8 connections", "face_250.jpg", 1, 8, 3000, 100),
    ("250x250, 64 connections", "face_250.jpg", 1, 64, 3000, 200),
    ("250x250 x16, 8 connections", "face_250.jpg", 16, 8, 300, 16),
    ("1920x1920, 8 connections", "photo_1920.jpg", 1, 8, 240, 16),
]
COLUMNS = ["cpu_us_per_image", "cpu_user_us_per_image", "images_per_s", "p50_ms", "p99_ms",
           "cores_used", "rss_mib", "peak_rss_mib", "load_cpu_us_per_image", "loadavg"]


def wait_ready(url, process, limit=60):
    start = time.perf_counter()
    while time.perf_counter() - start < limit:
        if process.poll() is not None:
            raise SystemExit(f"the service ended with status {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.005)
    raise SystemExit("the service did not become ready")


def start(command, ready_url):
    began = time.perf_counter()
    process = subprocess.Popen(
        shlex.split(command), cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_ready(ready_url, process)
    return process, time.perf_counter() - began


def stop(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def case(args, pid, image, batch, connections, requests, warmup):
    command = [
        sys.executable, str(HERE / "load.py"), "--json", "--url", args.url,
        "--image", str(args.images / image), "--pid", str(pid), "--tree",
        "-b", str(batch), "-c", str(connections), "-n", str(max(1, int(requests * args.scale))),
        "--warmup", str(warmup),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--start", required=True, help="command that starts the service")
    parser.add_argument("--url", default="http://127.0.0.1:8080/v1/models/facequality:predict")
    parser.add_argument("--ready-url", default="http://127.0.0.1:8080/v1/models/facequality")
    parser.add_argument("--images", type=pathlib.Path, default=HERE / "images")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the request counts")
    parser.add_argument("--only", default="", help="run only cases whose name contains this")
    parser.add_argument("--json", type=pathlib.Path, help="also write every run here")
    args = parser.parse_args()
    args.images = args.images.resolve()

    starts, idle = [], []
    for _ in range(args.runs):
        process, seconds = start(args.start, args.ready_url)
        time.sleep(0.5)
        starts.append(seconds)
        idle.append(load.memory_mib([process.pid] + load.children(process.pid))[0])
        stop(process)
    print(f"start to ready: {statistics.median(starts):.2f} s   "
          f"idle RSS: {statistics.median(idle):.1f} MiB   (medians of {args.runs})\n", flush=True)

    cases = [c for c in CASES if args.only in c[0]]
    results = {name: [] for name, *_ in cases}
    for _ in range(args.runs):
        for name, *parameters in cases:
            # A fresh process per case, so that memory under load is the case's own.
            process, _seconds = start(args.start, args.ready_url)
            try:
                results[name].append(case(args, process.pid, *parameters))
            finally:
                stop(process)
    print("| case | " + " | ".join(COLUMNS) + " |")
    print("|---|" + "---:|" * len(COLUMNS))
    for name, runs in results.items():
        cells = [f"{statistics.median(float(r[c]) for r in runs):g}" for c in COLUMNS]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("\nCPU us per image, every run: " + "; ".join(
        f"{name}: {', '.join(str(r['cpu_us_per_image']) for r in runs)}"
        for name, runs in results.items()))
    if args.json:
        args.json.write_text(json.dumps(
            {"start_s": starts, "idle_rss_mib": idle, "cases": results}, indent=1))


if __name__ == "__main__":
    main()
