"""Closed-loop HTTP load: N requests over C keep-alive connections.

Each connection sends its next request when the last one is answered.  The
request bytes are built once, so the generator costs little.  With --pid it
also prints the CPU time (user + system, all threads) that the service, and
with --tree its child processes, spent per image.

    python load.py --image images/face_250.jpg -c 8 -n 4000 --pid $PID
"""

import argparse
import asyncio
import base64
import json
import os
import pathlib
import time
import urllib.parse

TICK = os.sysconf("SC_CLK_TCK")


def children(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children(int(child))]
    return found


def cpu_seconds(pids):
    total = user = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        user += int(fields[11])
        total += int(fields[11]) + int(fields[12])
    return total / TICK, user / TICK


def memory_mib(pids):
    rss = peak = 0
    for pid in pids:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                rss += int(line.split()[1])
            elif line.startswith("VmHWM:"):
                peak += int(line.split()[1])
    return rss / 1024, peak / 1024


def item(blob, style):
    text = base64.b64encode(blob)
    # quirk: the old client formats bytes into the string, so b'...' arrives.
    return f"data:image/jpeg;base64,{text}" if style == "quirk" else \
        "data:image/jpeg;base64," + text.decode()


def request_bytes(args, host, path):
    items = [item(p.read_bytes(), args.style) for p in args.image]
    one = [{"data": {"item": i}, "extra_info": None} for i in items]
    bodies = []
    for k in range(len(one)):
        if args.batch == 1 and not args.multi:
            body = one[k]
        else:
            body = {"multi_data": [one[(k + j) % len(one)] for j in range(args.batch)],
                    "extra_info": None}
        data = json.dumps(body).encode()
        head = (f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(data)}\r\n\r\n").encode()
        bodies.append(head + data)
    return bodies


class Connection(asyncio.Protocol):
    def __init__(self, run):
        self.run = run
        self.buffer = bytearray()
        self.need = -1

    def connection_made(self, transport):
        transport.set_write_buffer_limits(high=1 << 26)
        self.transport = transport

    def go(self):
        body = self.run.next_body()
        if body is None:
            self.transport.close()
            self.run.finished()
            return
        self.started = time.perf_counter()
        self.transport.write(body)

    def data_received(self, data):
        self.buffer += data
        if self.need < 0:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self.buffer[:end]).lower()
            at = head.find(b"content-length:")
            if at < 0:
                self.run.fail("response without Content-Length: " + head.decode("latin1"))
                return
            self.need = end + 4 + int(head[at + 15:].split(b"\r\n", 1)[0])
            self.status = int(head[9:12])
        if len(self.buffer) < self.need:
            return
        self.run.answered(time.perf_counter() - self.started, self.status, self.buffer)
        self.buffer.clear()
        self.need = -1
        self.go()

    def connection_lost(self, exc):
        if not self.run.done.is_set() and self.run.left > 0:
            self.run.fail(f"connection lost: {exc}")


class Run:
    def __init__(self, bodies, requests, connections):
        self.bodies, self.left, self.open = bodies, requests, connections
        self.times, self.errors, self.sample = [], 0, None
        self.done = asyncio.Event()
        self.failure = None
        self.sent = 0

    def next_body(self):
        if self.left <= 0:
            return None
        self.left -= 1
        self.sent += 1
        return self.bodies[self.sent % len(self.bodies)]

    def answered(self, seconds, status, response):
        self.times.append(seconds)
        if status != 200:
            self.errors += 1
        if self.sample is None or (status != 200 and self.errors == 1):
            self.sample = bytes(response)

    def finished(self):
        self.open -= 1
        if self.open == 0:
            self.done.set()

    def fail(self, why):
        self.failure = self.failure or why
        self.done.set()


async def drive(host, port, bodies, requests, connections):
    loop = asyncio.get_running_loop()
    connections = min(connections, requests)
    run = Run(bodies, requests, connections)
    links = [
        (await loop.create_connection(lambda: Connection(run), host, port))[1]
        for _ in range(connections)
    ]
    start = time.perf_counter()
    for link in links:
        link.go()
    await run.done.wait()
    wall = time.perf_counter() - start
    if run.failure:
        raise SystemExit(run.failure)
    return run, wall


def percentile(ordered, p):
    return ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))] * 1000


def measure(args):
    url = urllib.parse.urlsplit(args.url)
    bodies = request_bytes(args, url.netloc, url.path)
    pids = []
    if args.pid:
        pids = [args.pid] + (children(args.pid) if args.tree else [])

    async def everything():
        if args.warmup:
            await drive(url.hostname, url.port, bodies, args.warmup, args.connections)
        before, own = cpu_seconds(pids), time.process_time()
        run, wall = await drive(url.hostname, url.port, bodies, args.requests, args.connections)
        return run, wall, before, cpu_seconds(pids), time.process_time() - own

    run, wall, before, after, own = asyncio.run(everything())
    images = args.requests * args.batch
    times = sorted(run.times)
    result = {
        "requests": args.requests,
        "batch": args.batch,
        "connections": args.connections,
        "request_bytes": len(bodies[0]),
        "errors": run.errors,
        "wall_s": round(wall, 3),
        "images_per_s": round(images / wall, 1),
        "p50_ms": round(percentile(times, 50), 3),
        "p95_ms": round(percentile(times, 95), 3),
        "p99_ms": round(percentile(times, 99), 3),
        "max_ms": round(times[-1] * 1000, 3),
        "load_cpu_us_per_image": round(own / images * 1e6, 1),
        "loadavg": pathlib.Path("/proc/loadavg").read_text().split()[0],
    }
    if pids:
        cpu = after[0] - before[0]
        rss, peak = memory_mib(pids)
        result |= {
            "cpu_us_per_image": round(cpu / images * 1e6, 1),
            "cpu_user_us_per_image": round((after[1] - before[1]) / images * 1e6, 1),
            "cores_used": round(cpu / wall, 2),
            "rss_mib": round(rss, 1),
            "peak_rss_mib": round(peak, 1),
        }
    if args.show:
        print(run.sample.decode("utf-8", "replace"))
    return result


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8080/v1/models/facequality:predict")
    parser.add_argument("--image", type=pathlib.Path, action="append", required=True)
    parser.add_argument("-n", "--requests", type=int, default=1000)
    parser.add_argument("-c", "--connections", type=int, default=8)
    parser.add_argument("-b", "--batch", type=int, default=1)
    parser.add_argument("--multi", action="store_true", help="multi_data even for one image")
    parser.add_argument("--style", choices=("quirk", "plain"), default="quirk")
    parser.add_argument("--warmup", type=int, default=0, help="requests before the clock starts")
    parser.add_argument("--pid", type=int)
    parser.add_argument("--tree", action="store_true", help="count child processes of --pid too")
    parser.add_argument("--show", action="store_true", help="print one response")
    parser.add_argument("--json", action="store_true")
    return parser


def main():
    args = build_parser().parse_args()
    try:
        import uvloop
        uvloop.install()
    except ImportError:
        pass
    result = measure(args)
    if args.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"{key:24} {value}")
    if result["errors"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
