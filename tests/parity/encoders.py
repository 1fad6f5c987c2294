"""PNG and BMP files that no library writes: every depth, interlacing, palettes, run-lengths."""

import struct
import zlib

import numpy as np

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def pack_bits(row, depth):
    """A row of samples to bytes, high bits first."""
    if depth == 16:
        return row.astype(">u2").tobytes()
    if depth == 8:
        return row.astype(np.uint8).tobytes()
    bits = np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - depth:]
    return np.packbits(bits.reshape(-1)).tobytes()


def filtered(rows, step, random):
    """Rows of bytes, each with one of PNG's five filters."""
    out, above = [], None
    for row in rows:
        row = np.frombuffer(row, np.uint8).astype(np.int32)
        up = np.zeros_like(row) if above is None else above
        left = np.concatenate([np.zeros(step, np.int32), row])[: len(row)]
        corner = np.concatenate([np.zeros(step, np.int32), up])[: len(row)]
        kind = int(random.integers(5))
        guess = left + up - corner
        a, b, c = abs(guess - left), abs(guess - up), abs(guess - corner)
        paeth = np.where((a <= b) & (a <= c), left, np.where(b <= c, up, corner))
        predicted = (0, left, up, (left + up) // 2, paeth)[kind]
        out.append(bytes([kind]) + ((row - predicted) & 255).astype(np.uint8).tobytes())
        above = row
    return b"".join(out)


def png(samples, depth, colour, random, interlaced=False, palette=None, extra=()):
    """samples: height x width x channels. extra: chunks before the pixels, as (name, body)."""
    height, width = samples.shape[:2]
    samples = samples.reshape(height, width, CHANNELS[colour])
    step = max(1, CHANNELS[colour] * depth // 8)
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    data = b""
    for x, y, dx, dy in passes:
        part = samples[y::dy, x::dx]
        if part.size:
            data += filtered([pack_bits(row.reshape(-1), depth) for row in part], step, random)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    chunks = [chunk(b"IHDR", header)]
    if palette is not None:
        chunks.append(chunk(b"PLTE", palette.astype(np.uint8).tobytes()))
    chunks += [chunk(name, body) for name, body in extra]
    packed = zlib.compress(data, 6)
    half = len(packed) // 2
    chunks += [chunk(b"IDAT", packed[:half]), chunk(b"IDAT", packed[half:]), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def bmp(rows, width, height, bits, compression=0, palette=None, masks=b"", header_bytes=40, listed=None):
    """rows: the stored pixels, padded. height < 0: top-down. palette: n x 3, RGB."""
    table = b""
    if palette is not None:
        used = palette[: listed or len(palette)]
        blank = b"" if header_bytes == 12 else b"\0"
        table = b"".join(bytes([b, g, r]) + blank for r, g, b in used.tolist())
    if header_bytes == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", header_bytes, width, height, 1, bits, compression, len(rows), 2835, 2835, listed or 0, 0)
        info += b"" if header_bytes == 40 else masks.ljust(header_bytes - 40, b"\0")
    after = masks if header_bytes == 40 else b""
    offset = 14 + len(info) + len(after) + len(table)
    return struct.pack("<2sIHHI", b"BM", offset + len(rows), 0, 0, offset) + info + after + table + rows


def bmp_rows(samples, bits):
    """samples: height x width indices, or height x width x bytes; stored from the bottom."""
    out = []
    for row in samples[::-1]:
        body = pack_bits(row, bits) if bits <= 8 else row.tobytes()
        out.append(body + b"\0" * (-len(body) % 4))
    return b"".join(out)


def runs(indices, bits, random):
    """Run-length codes of rows of indices, from the bottom: runs, literals, ends of row."""
    out = bytearray()
    for row in indices[::-1].tolist():
        x = 0
        while x < len(row):
            run = 1
            while x + run < len(row) and run < 255 and row[x + run] == row[x]:
                run += 1
            if run > 2 or len(row) - x < 3:
                value = row[x] if bits == 8 else row[x] << 4 | row[x]
                out += bytes([run, value])
                x += run
                continue
            count = min(len(row) - x, int(random.integers(3, 20)))
            literal = row[x:x + count]
            body = bytes(literal) if bits == 8 else bytes(
                high << 4 | low for high, low in zip(literal[::2], literal[1::2] + [0]))
            out += bytes([0, count]) + body + b"\0" * (len(body) % 2)
            x += count
        out += b"\0\0"
    return bytes(out + b"\0\1")
