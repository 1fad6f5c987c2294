"""Compare services on a noisy machine: all alive at once, short alternating bursts.

Each --service is NAME=COMMAND, where {port} in the command becomes the HTTP
port it must listen on.  A burst goes to each in turn, many rounds; a busy spell
on the machine then falls on all alike.  The minimum is the best estimate of the
undisturbed cost, the median of the cost under the load that was there.

    python compare.py \\
      --service "stub=python -m facequality_transformer --http_port {port} --enable_grpc false --predictor_host 127.0.0.1:8001" \\
      --service "rust=../target/dist/facequality-transformer --http_port {port} --enable_grpc false --predictor_host 127.0.0.1:8001"
"""

import argparse
import pathlib
import statistics

import bench


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--service", action="append", required=True, metavar="NAME=COMMAND")
    parser.add_argument("--images", type=pathlib.Path, default=bench.HERE / "images")
    parser.add_argument("--image", default="face_250.jpg")
    parser.add_argument("--path", default="/v1/models/facequality:predict")
    parser.add_argument("--ready-path", default="/v1/models/facequality")
    parser.add_argument("--first-port", type=int, default=9101)
    parser.add_argument("-n", "--requests", type=int, default=600)
    parser.add_argument("-b", "--batch", type=int, default=1)
    parser.add_argument("-c", "--connections", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=12)
    args = parser.parse_args()
    args.images, args.scale = args.images.resolve(), 1.0

    services = []
    try:
        for k, text in enumerate(args.service):
            name, command = text.split("=", 1)
            base = f"http://127.0.0.1:{args.first_port + k}"
            process, _ = bench.start(
                command.replace("{port}", str(args.first_port + k)), base + args.ready_path)
            services.append((name, process, base + args.path))
        results = {name: [] for name, *_ in services}
        for round_ in range(args.rounds):
            # Rotate the order, so that no service always follows the same one.
            for k in range(len(services)):
                name, process, args.url = services[(k + round_) % len(services)]
                results[name].append(bench.case(
                    args, process.pid, args.image, args.batch, args.connections,
                    args.requests, args.requests // 10 if round_ else args.requests))
    finally:
        for _name, process, _url in services:
            bench.stop(process)
    print("| service | CPU us/image: min | median | max | images/s: median | max | p50 ms | RSS MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, runs in results.items():
        cpu = [r["cpu_us_per_image"] for r in runs]
        rate = [r["images_per_s"] for r in runs]
        print(f"| {name} | {min(cpu):.0f} | {statistics.median(cpu):.0f} | {max(cpu):.0f} | "
              f"{statistics.median(rate):.0f} | {max(rate):.0f} | "
              f"{statistics.median(r['p50_ms'] for r in runs):.2f} | {runs[-1]['rss_mib']:.0f} |")
    print(f"\nload average at the end: {open('/proc/loadavg').read().split()[0]}")


if __name__ == "__main__":
    main()
