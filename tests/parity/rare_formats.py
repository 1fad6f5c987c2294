"""GIF, TIFF and PNM files: those that Pillow and OpenCV write, and those that they do not.

Names that begin with "either" are of kinds that the service may refuse; if it takes them, their
pixels are OpenCV's all the same.
"""

import struct
import zlib

import cv2
import numpy as np
from PIL import Image

import encoders


def smooth(maker, width, height, channels, bits):
    """Samples of up to 16 bits: a picture, and in its lower bits noise."""
    picture = np.concatenate([maker.photo(width, height)] * 2, axis=2)[..., :channels].astype(np.int64)
    noise = maker.random.integers(0, 1 << 16, picture.shape)
    return (picture << 8 | noise & 255) >> (16 - bits)


# GIF

def gif_codes(indices, bits):
    """LZW without a dictionary: clear codes so often that codes stay short."""
    clear, out, held, count = 1 << bits, bytearray(), 0, 0
    codes = []
    for at, index in enumerate(indices):
        if at % (clear - 2) == 0:
            codes.append(clear)
        codes.append(index)
    for code in codes + [clear + 1]:
        held |= code << count
        count += bits + 1
        while count >= 8:
            out.append(held & 255)
            held, count = held >> 8, count - 8
    return bytes(out) + bytes([held] if count else [])


def gif_table(colours):
    bits = max(1, (len(colours) - 1).bit_length())
    return bits, colours.astype(np.uint8).tobytes().ljust(3 << bits, b"\0")


def gif_frame(indices, place=(0, 0), colours=None, interlaced=False, transparent=None, disposal=0):
    """An image of colour numbers, with its extension where it needs one."""
    height, width = indices.shape
    rows = np.arange(height)
    if interlaced:
        rows = np.concatenate([rows[0::8], rows[4::8], rows[2::4], rows[1::2]])
    bits = max(2, int(indices.max()).bit_length())
    codes = gif_codes(indices[rows].reshape(-1).tolist(), bits)
    blocks = b"".join(bytes([len(codes[at:at + 255])]) + codes[at:at + 255] for at in range(0, len(codes), 255))
    flags, table = 0x40 * interlaced, b""
    if colours is not None:
        size, table = gif_table(colours)
        flags |= 0x80 | size - 1
    out = b""
    if transparent is not None or disposal:
        out = struct.pack("<3sBBHBB", b"!\xf9\x04", disposal << 2 | (transparent is not None), 0, 0, transparent or 0, 0)[:8]
    out += struct.pack("<sHHHHB", b",", *place, width, height, flags) + table
    return out + bytes([bits]) + blocks + b"\0"


def gif_file(width, height, frames, colours=None, background=0, version=b"89a", end=b";"):
    flags, table = 0x70, b""
    if colours is not None:
        size, table = gif_table(colours)
        flags |= 0x80 | size - 1
    return b"GIF" + version + struct.pack("<HHBBB", width, height, flags, background, 0) + table + b"".join(frames) + end


def gif(maker):
    random = maker.random
    for width, height in [(1, 1), (33, 20), (250, 131), (112, 112), (640, 480)] if not maker.small else [(33, 20)]:
        tag = f"{width}x{height}"
        photo = Image.fromarray(maker.photo(width, height))
        for colours in (2, 5, 16, 256) if not maker.small else (16,):
            palette = photo.quantize(colours)
            maker.pillow(f"gif-{colours}-{tag}.gif", palette, "GIF", interlace=bool(colours % 2), optimize=False)
        maker.pillow(f"gif-grey-{tag}.gif", photo.convert("L"), "GIF")
        others = [Image.fromarray(maker.photo(width, height)).quantize(32) for _ in range(2)]
        maker.pillow(f"gif-animated-{tag}.gif", photo.quantize(32), "GIF", save_all=True, append_images=others, disposal=2, loop=0)
        see_through = photo.quantize(32)
        maker.pillow(f"gif-transparent-{tag}.gif", see_through, "GIF", transparency=int(random.integers(32)))
        ok, blob = cv2.imencode(".gif", maker.photo(width, height))
        maker.write(f"gif-cv-{tag}.gif", blob.tobytes())
        indices = random.integers(0, 7, (height, width))
        table, local = random.integers(0, 256, (8, 3)), random.integers(0, 256, (7, 3))
        frame = gif_frame(indices, interlaced=True)
        maker.write(f"gif-87a-interlaced-{tag}.gif", gif_file(width, height, [frame], table, version=b"87a"))
        maker.write(f"gif-local-{tag}.gif", gif_file(width, height, [gif_frame(indices, colours=local)], table))
        maker.write(f"gif-local-alone-{tag}.gif", gif_file(width, height, [gif_frame(indices, colours=local)]))
        maker.write(f"either-gif-no-table-{tag}.gif", gif_file(width, height, [gif_frame(indices)]))
        short = gif_frame(indices, colours=local[:3])
        maker.write(f"gif-beyond-local-{tag}.gif", gif_file(width, height, [short], table))
        maker.write(f"gif-beyond-all-{tag}.gif", gif_file(width, height, [short], table[:4]))
        maker.write(f"gif-background-{tag}.gif", gif_file(width, height, [gif_frame(indices, transparent=3)], table, background=5))
        small = gif_frame(indices[:(height + 1) // 2, :(width + 2) // 3], (width // 3, height // 2))
        maker.write(f"gif-smaller-frame-{tag}.gif", gif_file(width, height, [small], table, background=int(random.integers(8))))
        maker.write(f"gif-smaller-frame-no-table-{tag}.gif", gif_file(width, height, [gif_frame(indices[:1, :1], colours=local)]))
        maker.write(f"gif-background-beyond-{tag}.gif", gif_file(width, height, [frame], table, background=9))
        maker.write(f"gif-outside-{tag}.gif", gif_file(width, height, [gif_frame(indices, (1, 0))], table))
        second = gif_frame(indices[:1, :1], disposal=1, transparent=0)
        maker.write(f"gif-two-frames-{tag}.gif", gif_file(width, height, [frame, second], table))
        maker.write(f"gif-endless-{tag}.gif", gif_file(width, height, [frame], table, end=b""))
        maker.write(f"gif-second-cut-{tag}.gif", gif_file(width, height, [frame, second[:-4]], table, end=b""))
        maker.write(f"gif-no-frame-{tag}.gif", gif_file(width, height, [], table))
        for missing in (1, 3, 6) if not maker.small else (3,):
            maker.write(f"gif-cut-{missing}-{tag}.gif", gif_file(width, height, [frame[:-missing] + b"\0"], table))


# PNM

def pnm_file(kind, samples, maximum, random):
    """samples: height x width x channels."""
    height, width = samples.shape[:2]
    comment = b"# 5 6\n" * int(random.integers(2))
    head = b"P%d\n%s%d %d\n" % (kind, comment, width, height)
    if kind not in (1, 4):
        head += b"%s%d\n" % (comment, maximum)
    if kind == 4:
        return head + b"".join(np.packbits(row.reshape(-1).astype(np.uint8)).tobytes() for row in samples)
    if kind > 4:
        return head + samples.astype(">u2" if maximum > 255 else np.uint8).tobytes()
    between = b"" if kind == 1 and random.integers(2) else b" "
    rows = (between.join(b"%d" % value for value in row.reshape(-1)) for row in samples)
    return head + b"\n".join(rows) + b"\n"


def pnm(maker):
    for width, height in [(1, 1), (33, 20), (250, 131), (7, 300)] if not maker.small else [(13, 9)]:
        tag = f"{width}x{height}"
        for kind in range(1, 7):
            channels = 3 if kind in (3, 6) else 1
            for maximum in (1,) if kind in (1, 4) else (255, 65535, 100, 1000) if maker.small else (255, 65535, 1, 15, 100, 256, 1000):
                samples = smooth(maker, width, height, channels, 16) * (maximum + 1) >> 16
                blob = pnm_file(kind, samples, maximum, maker.random)
                maker.write(f"pnm-p{kind}-{maximum}-{tag}.pnm", blob)
                if maximum in (1, 255, 65535) and not maker.small:
                    maker.write(f"pnm-p{kind}-{maximum}-longer-{tag}.pnm", blob + b"9 9 9")
                    maker.write(f"pnm-p{kind}-{maximum}-cut-{tag}.pnm", blob[:-3])
                if maximum == 100:
                    maker.write(f"pnm-p{kind}-{maximum}-beyond-{tag}.pnm", pnm_file(kind, samples * 2, maximum, maker.random))
    for name, blob in (("zero-width", b"P5 0 3 255\n"), ("maximum-0", b"P5 1 1 0\n\0"), ("maximum-65536", b"P5 1 1 65536\n\0\0"),
                       ("windows", b"P2\r\n2 1\r\n255\r\n7 9\r\n"), ("comment-last", b"P2 2 1 255 # light\n7 9"), ("letters", b"P2 2 1 255 x y"),
                       ("comment-between", b"P3 1 1 255\n1 # red\n2 3 "), ("negative", b"P2 2 1 255\n-1 5 "), ("one-line", b"P6 1 1 255 abc"),
                       ("no-last-space", b"P2 2 1 255 7 9"), ("digits", b"P1 3 1\n1012"), ("two", b"P1 3 1\n1 2 0 ")):
        maker.write(f"either-pnm-{name}.pnm", blob)


# TIFF

NONE, LZW, DEFLATE, PACKBITS = 1, 5, 8, 32773
COMPRESSIONS = {"none": NONE, "lzw": LZW, "deflate": DEFLATE, "packbits": PACKBITS}
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK = 0, 1, 2, 3, 5


def packed(data):
    """PackBits: runs of what repeats, else literals."""
    out, at = bytearray(), 0
    while at < len(data):
        run = 1
        while at + run < len(data) and run < 128 and data[at + run] == data[at]:
            run += 1
        if run > 2:
            out += bytes([257 - run, data[at]])
        else:
            run = min(len(data) - at, 5)
            out += bytes([run - 1]) + data[at:at + run]
        at += run
    return bytes(out)


def tiff_file(samples, photometric, bits=8, compression=NONE, order="<", rows=None, tile=None, planar=False, predictor=False, tags=()):
    """samples: height x width x channels. rows: of a strip. tags: more of them, as {number: values of 16 bits}."""
    height, width, channels = samples.shape
    planes = [samples[..., [c]] for c in range(channels)] if planar else [samples]
    step = (rows or height, width) if tile is None else tile
    parts = []
    for plane in planes:
        for y in range(0, height, step[0]):
            for x in range(0, width, step[1]):
                part = plane[y:y + step[0], x:x + step[1]]
                if tile is not None:
                    part = np.pad(part, ((0, step[0] - part.shape[0]), (0, step[1] - part.shape[1]), (0, 0)))
                if predictor:
                    part = np.concatenate([part[:, :1], np.diff(part, axis=1)], axis=1) & (1 << bits) - 1
                if bits == 16:
                    lines = [line.astype(order + "u2").tobytes() for line in part]
                else:
                    lines = [encoders.pack_bits(line.reshape(-1), bits) for line in part]
                if compression == PACKBITS:
                    parts.append(b"".join(packed(line) for line in lines))
                else:
                    parts.append(zlib.compress(b"".join(lines)) if compression == DEFLATE else b"".join(lines))
    entries = {256: [width], 257: [height], 258: [bits] * channels, 259: [compression], 262: [photometric], 277: [channels],
               284: [1 + planar], **dict(tags)}
    if predictor:
        entries[317] = [2]
    offsets, sizes = (273, 279) if tile is None else (324, 325)
    if tile is None:
        entries[278] = [step[0]]
    else:
        entries |= {322: [tile[1]], 323: [tile[0]]}
    long = {offsets, sizes}
    body, places = bytearray(), []
    for part in parts:
        places.append(8 + len(body))
        body += part + b"\0" * (len(part) % 2)
    entries |= {offsets: places, sizes: [len(part) for part in parts]}
    directory = b""
    for tag in sorted(entries):
        values, kind = entries[tag], "I" if tag in long else "H"
        data = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(data) > 4:
            place, blob = struct.pack(order + "I", 8 + len(body)), data
            body += blob + b"\0" * (len(blob) % 2)
        else:
            place = data.ljust(4, b"\0")
        directory += struct.pack(order + "HHI", tag, 4 if kind == "I" else 3, len(values)) + place
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8 + len(body))
    return head + bytes(body) + struct.pack(order + "H", len(entries)) + directory + b"\0\0\0\0"


def tiff(maker):
    random = maker.random
    for width, height in [(1, 1), (33, 20), (250, 131), (112, 112)] if not maker.small else [(13, 9)]:
        tag = f"{width}x{height}"
        for name, code in COMPRESSIONS.items():
            for bits in (8, 16):
                for channels, colour in ((1, "grey"), (3, "rgb"), (4, "rgba")):
                    samples = smooth(maker, width, height, channels, bits).astype(np.uint8 if bits == 8 else np.uint16)
                    ok, blob = cv2.imencode(".tiff", samples, [cv2.IMWRITE_TIFF_COMPRESSION, code])
                    maker.write(f"tiff-cv-{colour}-{bits}-{name}-{tag}.tiff", blob.tobytes())
        photo = Image.fromarray(maker.photo(width, height))
        alpha = Image.fromarray(maker.noise(width, height)[..., 0])
        for form, image in (("L", photo.convert("L")), ("RGB", photo), ("1", photo.convert("1")), ("P", photo.quantize(200)), ("P16", photo.quantize(16)),
                            ("RGBA", Image.merge("RGBA", (*photo.split(), alpha))), ("LA", Image.merge("LA", (photo.convert("L"), alpha))),
                            ("CMYK", photo.convert("CMYK")), ("YCbCr", photo.convert("YCbCr")), ("I16", photo.convert("I;16"))):
            may_differ = "either-" * (form in ("1", "P", "P16", "LA", "CMYK", "YCbCr"))
            for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits") if not maker.small else ("tiff_lzw",):
                maker.pillow(f"{may_differ}tiff-pillow-{form}-{compression}-{tag}.tiff", image, "TIFF", compression=compression)
        for compression in ("group3", "group4", "tiff_ccitt"):
            maker.pillow(f"either-tiff-pillow-{compression}-{tag}.tiff", photo.convert("1"), "TIFF", compression=compression)
        maker.pillow(f"either-tiff-jpeg-{tag}.tiff", photo, "TIFF", compression="jpeg")
        for bits in (8, 16):
            grey, rgb, rgba = (smooth(maker, width, height, channels, bits) for channels in (1, 3, 4))
            for order, end in (("<", "little"), (">", "big")) if not maker.small else ((">", "big"),):
                for name, code in (("none", NONE), ("deflate", DEFLATE), ("packbits", PACKBITS)):
                    if maker.small and code != DEFLATE:
                        continue
                    form = f"{bits}-{end}-{name}-{tag}.tiff"
                    rows = int(random.integers(1, height + 1))
                    maker.write(f"tiff-grey-{form}", tiff_file(grey, BLACK_IS_ZERO, bits, code, order, rows))
                    maker.write(f"tiff-white-is-zero-{form}", tiff_file(grey, WHITE_IS_ZERO, bits, code, order, rows))
                    maker.write(f"tiff-rgb-{form}", tiff_file(rgb, RGB, bits, code, order, rows, predictor=code == DEFLATE))
                    for kind, value in (("unspecified", 0), ("associated", 1), ("unassociated", 2)):
                        maker.write(f"tiff-rgba-{kind}-{form}", tiff_file(rgba, RGB, bits, code, order, rows, tags={338: [value]}))
            form = f"{bits}-{tag}.tiff"
            maker.write(f"tiff-rgba-no-extra-{form}", tiff_file(rgba, RGB, bits))
            maker.write(f"tiff-tiles-{form}", tiff_file(rgb, RGB, bits, DEFLATE, tile=(16, 32)))
            maker.write(f"{'either-' * (bits == 16)}tiff-tiles-grey-{form}", tiff_file(grey, BLACK_IS_ZERO, bits, DEFLATE, tile=(32, 16)))
            maker.write(f"tiff-planar-{form}", tiff_file(rgb, RGB, bits, DEFLATE, rows=5, planar=True))
            maker.write(f"either-tiff-planar-tiles-{form}", tiff_file(rgba, RGB, bits, planar=True, tile=(16, 16)))
            maker.write(f"either-tiff-cmyk-{form}", tiff_file(rgba, CMYK, bits))
            for orientation in range(2, 9) if not maker.small else (3, 6):
                for colour, samples, photometric in (("grey", grey, BLACK_IS_ZERO), ("rgb", rgb, RGB)):
                    blob = tiff_file(samples, photometric, bits, rows=7, tags={274: [orientation]})
                    maker.write(f"either-tiff-orientation{orientation}-{colour}-{form}", blob)
            whole = tiff_file(rgb, RGB, bits, rows=7)
            maker.write(f"tiff-longer-{form}", whole + b"more")
            short = rgb.shape[0] * rgb.shape[1] * 3 * bits // 8
            maker.write(f"tiff-strip-cut-{form}", tiff_file(rgb, RGB, bits, tags={257: [height + 3]}))
            maker.write(f"tiff-cut-{form}", whole[:8 + short // 2])
        for bits in (1, 2, 4):
            grey = smooth(maker, width, height, 1, bits)
            maker.write(f"either-tiff-grey-{bits}-{tag}.tiff", tiff_file(grey, BLACK_IS_ZERO, bits))
            maker.write(f"either-tiff-white-is-zero-{bits}-{tag}.tiff", tiff_file(grey, WHITE_IS_ZERO, bits))
        for bits in (1, 2, 4, 8):
            colours = random.integers(0, 1 << 16, (3, 1 << bits)).reshape(-1).tolist()
            indices = smooth(maker, width, height, 1, bits)
            maker.write(f"either-tiff-palette-{bits}-{tag}.tiff", tiff_file(indices, PALETTE, bits, tags={320: colours}))
