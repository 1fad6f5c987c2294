import argparse
import asyncio

import kserve
from kserve import logging as kserve_logging

from .transformer import FaceQualityTransformer
from .triton_client import CLIENTS


def flag(text: str) -> bool:
    return text.lower() in ("1", "true", "yes", "on")


parser = argparse.ArgumentParser(
    prog="facequality_transformer", parents=[kserve.model_server.parser], conflict_handler="resolve"
)
parser.add_argument("--model_name", default="facequality")
parser.add_argument("--predictor_model", default="face_quality_trt_fp16")
parser.add_argument("--client", choices=sorted(CLIENTS), default="stub")
parser.add_argument("--decode_threads", type=int, default=0,
                    help="0: decode on the event loop; else a pool of this many threads")
parser.add_argument("--max_batch", type=int, default=0,
                    help="split a request into predictor calls of at most this many; 0: never")
parser.add_argument("--use_uvloop", type=flag, default=True,
                    help="kserve itself starts the standard asyncio loop when workers=1")
parser.add_argument("--quiet", type=flag, default=True,
                    help="no log lines per request")
parser.add_argument("--keep_heap", type=flag, default=True,
                    help="glibc: do not hand decoded images' memory back after each one")


def main():
    args, _ = parser.parse_known_args()
    if not args.predictor_host:
        parser.error("--predictor_host host:port is required")
    if args.use_uvloop:
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        # kserve asks for a current loop before it starts its own.
        asyncio.set_event_loop(asyncio.new_event_loop())
    if args.configure_logging:
        kserve_logging.configure_logging(args.log_config_file)
    if args.quiet:
        args.enable_latency_logging = False
    model = FaceQualityTransformer(
        args.model_name,
        args.predictor_host,
        args.predictor_model,
        client=args.client,
        decode_threads=args.decode_threads,
        max_batch=args.max_batch,
        keep_heap=args.keep_heap,
        quiet=args.quiet,
    )
    server = kserve.ModelServer(enable_latency_logging=args.enable_latency_logging)
    server.start([model])


if __name__ == "__main__":
    main()
