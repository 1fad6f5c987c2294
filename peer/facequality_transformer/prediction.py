"""Image arithmetic: item string -> bytes -> one slot of the batch tensor.

The order of operations is the contract: decode, resize to 112x112 with
INTER_LINEAR on uint8, BGR to RGB, HWC to CHW, float32, (x - 127.5) / 128.
The way it is written is the fastest of eight that were timed; all gave the
same bits (multiplying by 2**-7 is exact).
"""

import asyncio
from typing import List, Optional

import cv2
import numpy as np

try:
    from pybase64 import b64decode  # SIMD; about 8 times the standard library's speed
except ImportError:
    from base64 import b64decode

SIDE = 112
DECODE_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


class BadImage(ValueError):
    pass


def base64_payload(item: str) -> bytes:
    """The bytes of a data: URI, with or without a Python b'...' around the base64."""
    start = item.find(",", 0, 256) + 1
    if start == 0:
        raise BadImage("data: item without a comma")
    end = len(item)
    if item.startswith("b'", start) and item.endswith("'"):
        start, end = start + 2, end - 1
    try:
        return b64decode(item[start:end])
    except ValueError as error:
        raise BadImage(f"bad base64: {error}") from error


def fill_slot(blob: bytes, slot: np.ndarray) -> None:
    """Decode, resize and normalise one image into slot, float32 [3,112,112]."""
    if not blob:
        raise BadImage("empty image")
    image = cv2.imdecode(np.frombuffer(blob, dtype=np.uint8), DECODE_FLAGS)
    if image is None:
        raise BadImage("cannot decode image")
    slot[2], slot[1], slot[0] = cv2.split(cv2.resize(image, (SIDE, SIDE)))
    slot -= 127.5
    slot *= 0.0078125


def fill_from_data_uri(item: str, slot: np.ndarray) -> None:
    fill_slot(base64_payload(item), slot)


class ItemLoader:
    """Fills a batch tensor from item strings; fetches path: and http(s): items."""

    def __init__(self, executor=None, fetch_timeout: float = 30.0):
        self._executor = executor
        self._fetch_timeout = fetch_timeout
        self._session = None

    async def _fetch(self, url: str) -> bytes:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._fetch_timeout)
            )
        async with self._session.get(url) as response:
            response.raise_for_status()
            return await response.read()

    async def _fill(self, item: str, slot: np.ndarray) -> None:
        if item.startswith("data:"):
            work, argument = fill_from_data_uri, item
        elif item.startswith("path:"):
            def work(path, out):
                with open(path, "rb") as file:
                    fill_slot(file.read(), out)
            argument = item[len("path:"):]
        elif item.startswith(("http://", "https://")):
            work, argument = fill_slot, await self._fetch(item)
        else:
            raise BadImage("item must begin with data:, path: or http(s)://")
        if self._executor is None:
            work(argument, slot)
        else:
            await asyncio.get_running_loop().run_in_executor(
                self._executor, work, argument, slot
            )

    async def batch(self, items: List[str]) -> Optional[np.ndarray]:
        tensor = np.empty((len(items), 3, SIDE, SIDE), dtype=np.float32)
        remote = any(item.startswith("http") for item in items)
        if len(items) > 1 and (self._executor is not None or remote):
            await asyncio.gather(*map(self._fill, items, tensor))
        else:
            for item, slot in zip(items, tensor):
                await self._fill(item, slot)
        return tensor
