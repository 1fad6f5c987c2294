"""What callers, replicas and bursts can do to the service and each other, on the real binary: prints for each
row what was seen and whether it held, and ends with 1 if one did not.

    python3 tests/faults/run.py [--short] [--hours 1] [ROW ...]

Needs only Python. FACEQUALITY_BIN names the binary (target/release/facequality-transformer); figures of another
profile mean nothing. The load comes from the same machine as the service, so that a busy machine shows in the
times: the short form prints them and judges only what is counted (statuses, lines, bytes).
"""

import argparse
import base64
import contextlib
import gzip
import http.client
import json
import math
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("FACEQUALITY_BIN", str(ROOT / "target/release/facequality-transformer"))
FACE = ROOT / "data/images/face.jpg"
PHOTO = ROOT / "data/images/astronaut.jpg"
MODEL = "/v1/models/facequality:predict"
MIB = 1 << 20


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Process:
    """A server in a process of its own, on free ports, ended with the block that started it."""

    def __init__(self, *arguments, stderr=subprocess.DEVNULL):
        self.http, self.grpc = free_port(), free_port()
        ports = [f"--http_port={self.http}", f"--grpc_port={self.grpc}", "--host=127.0.0.1"]
        command = [BINARY, *arguments, *ports]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr)

    def __enter__(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.get("/v2/health/ready")[0] == 200:
                    return self
            time.sleep(0.05)
        self.process.kill()
        raise RuntimeError("a server is not ready within 30 s")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def send(self, method, path, body=None, headers=None, timeout=60):
        """Status and body of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read()

    def get(self, path, timeout=60):
        return self.send("GET", path, timeout=timeout)

    def post(self, body, headers=None, timeout=60):
        return self.send("POST", MODEL, body, headers, timeout)

    def metric(self, name):
        for line in self.get("/metrics")[1].decode().splitlines():
            if line.startswith(f"facequality_{name} "):
                return float(line.split()[-1])
        return 0.0

    def memory(self, field):
        """A field of /proc/PID/status in MiB: VmHWM (the peak) or VmRSS."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith(f"{field}:"):
                    return int(line.split()[1]) / 1024
        return 0.0


def predictor(delay_ms=0, **more):
    return Process("predictor", "--null", f"--delay_ms={delay_ms}", **more)


def service(*predictors, flags=(), **more):
    hosts = ",".join(f"127.0.0.1:{one.grpc}" for one in predictors)
    return Process("serve", f"--predictor_host={hosts}", "--predictor_protocol=grpc-v2", *flags, **more)


def loadtest(target, *flags, image=FACE):
    """Begins a load; its figures are for `figures`."""
    command = [BINARY, "loadtest", "--url", f"http://127.0.0.1:{target.http}", "--images", str(image), "--json", *flags]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def figures(load):
    out, error = load.communicate()
    try:
        return json.loads(out)["runs"][-1]
    except (ValueError, LookupError):
        raise RuntimeError(f"the load test ended with {load.returncode}: {error.decode()}") from None


def run_load(target, *flags, image=FACE):
    return figures(loadtest(target, *flags, image=image))


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, math.ceil(share * len(values)) - 1)]


def item(image):
    return {"data": {"item": "data:;base64," + base64.b64encode(image).decode()}}


def latencies_of(request, seconds, pause=0.02):
    """Milliseconds of a request that is made again and again."""
    taken = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.monotonic()
        with contextlib.suppress(TimeoutError, ConnectionError):
            request()
        taken.append((time.monotonic() - begin) * 1000)
        time.sleep(pause)
    return taken


class Callers:
    """Threads that do something again and again until the block ends."""

    def __init__(self, count, work):
        self.ended = threading.Event()
        self.results = []
        self.threads = [threading.Thread(target=self.repeat, args=(work,), daemon=True) for _ in range(count)]

    def repeat(self, work):
        while not self.ended.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.results.append(work())

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join()


def overload(options):
    """10 x the capacity: goodput >= 90 % of peak, only 429s besides, p99 of the accepted, memory"""
    delay, concurrency, queue_timeout = 20, 4, 500
    limits = {"queue": 256, "max_connections": 600}
    flags = [f"--concurrency={concurrency}", f"--queue_timeout_ms={queue_timeout}", "--max_bytes_in_flight=16MiB"]
    flags += [f"--{flag}={value}" for flag, value in limits.items()]
    with predictor(delay) as triton, service(triton, flags=[*flags, "--pixel_threads=2"]) as server:
        peak = run_load(server, "-c", str(2 * concurrency), "--duration", "4s")
        peak_rate = peak["requests"]["ok"] / peak["seconds"]
        # What is refused waits for nothing, so that few connections do for a high rate.
        load = run_load(server, "--rate", str(int(options.seconds(10, 4) * peak_rate)), "--duration", f"{options.seconds(60, 8)}s")
        rate = load["requests"]["ok"] / load["seconds"]
        others = [error for error in load["errors"] if error["kind"] != "http 429"]
        p99, memory = load["service"]["p99_ms"], server.memory("VmHWM")
    # docs/OPERATIONS.md, with the connections that the load test opens (HTTP/1.1: 20 KiB each).
    bound = 30 + 2 * 16 + limits["queue"] * 147 / 1024 + 2 * (16 + 40 * 0.2) + limits["max_connections"] * 20 / 1024
    most = queue_timeout + delay + peak["service"]["p99_ms"]
    seen = (
        f"{rate:.0f}/s of a peak of {peak_rate:.0f}/s at {load['offered']:.0f}/s; besides 429: {len(others)}; "
        f"p99 {p99:.0f} ms (at most {most:.0f}); peak memory {memory:.0f} MiB (at most {bound:.0f})"
    )
    return seen, not others and memory <= bound, rate >= 0.9 * peak_rate and p99 <= most


def gzip_bombs(options):
    """8 callers of gzip bodies (59 KB for 60 MiB): liveness <= 50 ms (p99)"""
    bomb = gzip.compress(b" " * (60 * MIB), 9)
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    flags = ["--max_bytes_in_flight=16MiB", "--pixel_threads=2"]
    with predictor() as triton, service(triton, flags=flags) as server:
        with Callers(8, lambda: server.post(bomb, headers)[0]) as callers:
            live = latencies_of(lambda: server.get("/v2/health/live"), options.seconds(20, 6))
        memory = server.memory("VmHWM")
    p99 = percentile(live, 0.99)
    # Inflated on two threads into buffers that double.
    bound = 30 + 2 * 16 + 2 * (16 + 40 * 0.2 + 2 * 64)
    seen = (
        f"{len(callers.results)} bombs; liveness p99 {p99:.1f} ms, longest {max(live):.1f} ms; "
        f"peak memory {memory:.0f} MiB (at most {bound:.0f})"
    )
    return seen, memory <= bound and len(callers.results) > 0, p99 <= 50


def slow_twin(options):
    """one of two predictors ten times slower: p99 <= 2 x that of the fast one alone"""
    flags = ["--rate", "60", "--duration", f"{options.seconds(15, 4)}s"]
    # Slow enough that the moments of a busy machine are small beside it.
    with predictor(30) as fast, predictor(300) as slow:
        with service(fast) as one, service(fast, slow) as two:
            # In turns, since a busy moment of the machine would be taken for the fast one's own.
            before, both, after = (run_load(server, *flags)["latency"]["p99_ms"] for server in (one, two, one))
    seen = f"p99 {both:.1f} ms beside the slow one, {before:.1f} and {after:.1f} ms alone"
    return seen, True, both <= 2 * min(before, after)


def p90_beside_large_requests(options):
    """a single image beside two callers of 256: p90 <= 20 ms"""
    seconds = options.seconds(20, 8)
    with predictor() as triton, service(triton, flags=["--pixel_threads=2"]) as server:
        alone = run_load(server, "-c", "1", "--duration", "3s", image=PHOTO)["latency"]
        large = loadtest(server, "-c", "2", "--batch", "256", "--duration", f"{seconds + 3}s", image=PHOTO)
        time.sleep(1.5)
        beside = run_load(server, "-c", "1", "--duration", f"{seconds}s", "--warmup", "0s", image=PHOTO)["latency"]
        batches = figures(large)
    seen = (
        f"p50 {beside['p50_ms']:.1f}, p90 {beside['p90_ms']:.1f}, p99 {beside['p99_ms']:.1f} ms; alone p90 "
        f"{alone['p90_ms']:.1f} ms; the large ones {batches['images_per_second']:.0f} images/s"
    )
    return seen, True, beside["p90_ms"] <= 20


def webp_of_one_colour(side):
    """A WebP of 38 bytes with side x side pixels."""
    bits = (side - 1) | (side - 1) << 14  # no alpha, version 0
    codes = 0
    # No transform, no colour cache, no meta codes; then five prefix codes of the one symbol 0.
    for place in range(5):
        codes |= 1 << (3 + 4 * place)
    data = b"\x2f" + (bits | codes << 32).to_bytes(8, "little")
    data += bytes(18 - len(data))
    chunk = b"VP8L" + len(data).to_bytes(4, "little") + data
    return b"RIFF" + (4 + len(chunk)).to_bytes(4, "little") + b"WEBP" + chunk


def small_files_of_large_images(options):
    """WebPs of 38 bytes with 40 MP each: 128 in a request are refused from their headers; beside as many as are taken, a face waits <= 1 s"""
    webp = webp_of_one_colour(6320)
    many = json.dumps({"multi_data": [item(webp)] * 128})
    some = json.dumps({"multi_data": [item(webp)] * 20})
    face = json.dumps(item(FACE.read_bytes()))
    with predictor() as triton, service(triton, flags=["--pixel_threads=2"]) as server:
        begin = time.monotonic()
        status, text = server.post(many)
        refused = (time.monotonic() - begin) * 1000
        with Callers(2, lambda: server.post(some)[0]) as callers:
            time.sleep(0.5)
            waits = latencies_of(lambda: server.post(face), options.seconds(20, 6), pause=0.1)
    p90 = percentile(waits, 0.9)
    seen = (
        f"{len(webp)} bytes each; 128: {status} after {refused:.0f} ms; beside two callers of 20: a face p90 {p90:.0f} ms, "
        f"longest {max(waits):.0f} ms; they got {sorted(set(callers.results))}"
    )
    return seen, status == 400 and b"--max_request_pixels" in text, p90 <= 1000


def unread_log(options):
    """a log pipe that nobody reads: requests are served, lines are dropped and counted"""
    with predictor() as triton:
        server = service(triton, flags=["--log_level=debug"], stderr=subprocess.PIPE)
        with server:
            # Each writes a few lines; the queue of the log's thread takes 8192.
            connection = http.client.HTTPConnection("127.0.0.1", server.http, timeout=5)
            for _ in range(options.seconds(20000, 8000)):
                connection.request("POST", MODEL, b"not JSON")
                connection.getresponse().read()
            live = latencies_of(lambda: server.get("/v2/health/live", timeout=5), 2)
            dropped = server.metric("log_lines_dropped_total")
    p99 = percentile(live, 0.99)
    return f"{dropped:.0f} lines dropped; liveness p99 {p99:.1f} ms", dropped > 0, p99 <= 50


def mixed_load(options):
    """mixed load at 70 % of the capacity: memory and latency flat, no log line that nobody caused"""
    seconds = options.hours * 3600 if options.hours else options.seconds(120, 8)
    # The predictor takes 16 calls at once, so that it is what bounds the capacity.
    capacity = 16_000 / options.call_ms
    if options.short:
        capacity /= 4
    rates = {"v1": 0.35 * capacity, "grpc-bytes": 0.30 * capacity, "v2": 0.05 * capacity}
    log_path = ROOT / "target/faults-log.txt"
    with open(log_path, "w+", encoding="utf-8") as log, predictor(options.call_ms) as triton:
        with service(triton, flags=["--concurrency=16", "--log_level=warn"], stderr=log) as server:
            parts = []
            for _ in range(4):
                loads = []
                for protocol, rate in rates.items():
                    flags = ["--protocol", protocol, "--rate", f"{rate:.0f}", "--duration", f"{seconds / 4:.0f}s"]
                    loads.append(loadtest(server, *flags, "--arrival", "poisson"))
                runs = [figures(load) for load in loads]
                parts.append((server.memory("VmRSS"), runs))
        log.seek(0)
        lines = [line for line in log if "WARN" in line or "ERROR" in line]
    memory = [part[0] for part in parts]
    p50 = [part[1][0]["latency"]["p50_ms"] for part in parts]
    p99 = [part[1][0]["latency"]["p99_ms"] for part in parts]
    failed = sum(run["requests"]["failed"] for part in parts for run in part[1])
    sent = sum(run["requests"]["sent"] for part in parts for run in part[1])
    errors = [error for part in parts for run in part[1] for error in run["errors"]]
    # The first quarter warms up: what is compared are the second and the last.
    flat = memory[3] <= 1.15 * memory[1] + 4
    seen = (
        f"{seconds:.0f} s, {sent} requests, {failed} failed; memory {', '.join(f'{m:.0f}' for m in memory)} MiB; "
        f"p50 {', '.join(f'{p:.1f}' for p in p50)} ms; p99 {', '.join(f'{p:.0f}' for p in p99)} ms; "
        f"{len(lines)} lines in the log{f'; {errors}' if errors else ''}"
    )
    return seen, flat and failed == 0 and not lines, p50[3] <= 1.25 * p50[1]


ROWS = {
    "overload": overload,
    "gzip_bombs": gzip_bombs,
    "slow_twin": slow_twin,
    "p90_beside_large_requests": p90_beside_large_requests,
    "small_files_of_large_images": small_files_of_large_images,
    "unread_log": unread_log,
    "mixed_load": mixed_load,
}


class Options(argparse.Namespace):
    def seconds(self, long, short):
        return short if self.short else long


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a minute and a half in all, as CI does it")
    parser.add_argument("--hours", type=float, default=0, help="how long the mixed load lasts (an hour: 1)")
    parser.add_argument(
        "--call_ms", type=int, default=20,
        help="a call's time under the mixed load: the longer, the less of a busy machine it needs (20)",
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"some of {', '.join(ROWS)} (all)")
    options = parser.parse_args(namespace=Options())
    unknown = set(options.rows) - set(ROWS)
    if unknown:
        parser.error(f"unknown row {', '.join(sorted(unknown))}")
    broken = 0
    for name in options.rows or ROWS:
        row = ROWS[name]
        print(f"{name}: {row.__doc__}", flush=True)
        seen, counts_held, times_held = row(options)
        held = counts_held and (times_held or options.short)
        verdict = "held" if held else "NOT held"
        if held and not times_held:
            verdict = "held, but for its times, which --short does not judge"
        print(f"  seen: {seen}\n  {verdict}", flush=True)
        broken += not held
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
