"""Images of every format and size that the service reads, and what OpenCV makes of them.

    python make_images.py --out /tmp/parity            # about 400 images
    FACEQUALITY_PARITY_DIR=/tmp/parity cargo test --release --test parity -- --nocapture

    python make_images.py --small --seed 7 --out ../golden/pixels   # the committed set

Needs opencv-python-headless, numpy and Pillow. The seed is printed; the same seed and the same
versions make the same images.
"""

import argparse
import io
import pathlib
import secrets
import struct
import subprocess
import sys

import cv2
import numpy as np
from PIL import Image, ImageFile

import encoders
import rare_formats

HERE = pathlib.Path(__file__).resolve().parent
PHOTOGRAPHS = HERE.parent.parent / "data" / "images"

SIZES = [(1, 1), (1, 7), (7, 1), (1, 300), (300, 1), (2, 2), (3, 5), (8, 8), (17, 13), (56, 56), (100, 75),
         (111, 113), (112, 112), (113, 111), (112, 224), (224, 112), (224, 224), (223, 225), (250, 250),
         (336, 336), (448, 448), (640, 480), (1001, 777), (1920, 1080)]
SMALL_SIZES = [(1, 1), (3, 5), (17, 13), (56, 56), (100, 75), (113, 111), (112, 112), (224, 224)]
HUGE = (4000, 3000)
ImageFile.MAXBLOCK = 1 << 26  # or small progressive JPEGs do not fit the buffer


class Maker:
    def __init__(self, out, seed, small):
        self.out, self.small = out, small
        self.random = np.random.default_rng(seed)
        self.names = []
        found = sorted(PHOTOGRAPHS.glob("astronaut.*"))
        self.photograph = np.asarray(Image.open(found[0]).convert("RGB")) if found else None

    def sizes(self):
        return SMALL_SIZES if self.small else SIZES

    def write(self, name, blob):
        assert name not in self.names, name
        (self.out / name).write_bytes(bytes(blob))
        self.names.append(name)

    def photo(self, width, height):
        """Smooth light, hard edges and a little noise; or the photograph, cut and scaled."""
        if self.photograph is not None and self.random.integers(2):
            source = self.photograph
            side = int(self.random.integers(8, min(source.shape[:2])))
            y, x = (int(self.random.integers(0, limit - side)) for limit in source.shape[:2])
            cut = Image.fromarray(source[y:y + side, x:x + side])
            return np.asarray(cut.resize((width, height), Image.BICUBIC))
        yy, xx = np.mgrid[0:height, 0:width].astype(np.float32)
        image = np.empty((height, width, 3), np.float32)
        for channel in range(3):
            angle, phase, scale = self.random.uniform(0, 6.28, 3)
            wave = np.sin((np.cos(angle) * xx + np.sin(angle) * yy) * (1 + scale) / max(width, height) * 9 + phase)
            image[..., channel] = 128 + 90 * wave
        for _ in range(6):
            cx, cy = self.random.uniform(0, width), self.random.uniform(0, height)
            radius = self.random.uniform(0.05, 0.3) * max(width, height)
            inside = (xx - cx) ** 2 + (yy - cy) ** 2 < radius ** 2
            image[inside] = image[inside] * 0.3 + self.random.uniform(0, 180, 3)
        image += self.random.normal(0, 4, image.shape)
        return np.clip(image, 0, 255).astype(np.uint8)

    def noise(self, width, height):
        return self.random.integers(0, 256, (height, width, 3), np.uint8)

    def pillow(self, name, image, form, **options):
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
        self.write(name, buffer.getvalue())
        return buffer.getvalue()

    def png(self):
        for width, height in self.sizes() + ([] if self.small else [HUGE]):
            for kind in (self.photo, self.noise):
                if kind == self.noise and ((width, height) == HUGE or self.small and width > 60):
                    continue
                if self.small and width > 60:
                    continue
                name = f"png-rgb8-{kind.__name__}-{width}x{height}.png"
                self.pillow(name, Image.fromarray(kind(width, height)), "PNG", compress_level=3)
        forms = [(d, 0) for d in (1, 2, 4, 8, 16)] + [(d, 2) for d in (8, 16)]
        forms += [(d, 3) for d in (1, 2, 4, 8)] + [(d, c) for c in (4, 6) for d in (8, 16)]
        trns = {0: b"\0\1", 2: b"\0\1\0\2\0\3", 3: bytes(range(0, 250, 125))}
        for depth, colour in forms:
            for interlaced in (False, True):
                for transparent in (False, True):
                    if transparent and colour not in trns:
                        continue
                    width, height = [(61, 43), (129, 250), (33, 7)][int(self.random.integers(3))]
                    if self.small:
                        width, height = 33, 27
                    limit, palette, extra = 1 << depth, None, []
                    samples = self.random.integers(0, limit, (height, width, encoders.CHANNELS[colour]))
                    if colour != 3 and depth >= 8:
                        smooth = self.photo(width, height).astype(np.int64) * (limit // 256)
                        smooth = np.concatenate([smooth, smooth], axis=2)[..., :samples.shape[2]]
                        samples = (smooth + samples % (limit // 16)) % limit
                    if colour == 3:
                        palette = self.random.integers(0, 256, (limit, 3))
                    if transparent:
                        extra.append((b"tRNS", trns[colour][:limit] if colour == 3 else trns[colour]))
                    if self.random.integers(2):
                        extra.insert(0, (b"gAMA", struct.pack(">I", 45455)))
                    name = f"png-{depth}bit-colour{colour}{'-adam7' * interlaced}{'-trns' * transparent}.png"
                    self.write(name, encoders.png(samples, depth, colour, self.random, interlaced, palette, extra))

    def webp(self):
        for width, height in self.sizes():
            for kind in (self.photo, self.noise) if not self.small else (self.photo,):
                image = Image.fromarray(kind(width, height))
                base = f"webp-{kind.__name__}-{width}x{height}"
                quality = int(self.random.integers(5, 101))
                self.pillow(f"{base}-q{quality}.webp", image, "WEBP", quality=quality)
                if not self.small or width < 60:
                    self.pillow(f"{base}-lossless.webp", image, "WEBP", lossless=True)
        for lossless in (False, True):
            side = 40 if self.small else 120
            rgba = np.dstack([self.photo(side, 77), self.noise(side, 77)[..., 0]])
            self.pillow(f"webp-alpha-{'lossless' if lossless else 'lossy'}.webp", Image.fromarray(rgba), "WEBP", lossless=lossless, exact=True)
            frames = [Image.fromarray(self.photo(side, 60)) for _ in range(3)]
            self.pillow(f"webp-animated-{'lossless' if lossless else 'lossy'}.webp", frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=lossless)
        exif = Image.Exif()
        exif[0x0112] = 6
        self.pillow("webp-exif6.webp", Image.fromarray(self.photo(60, 40)), "WEBP", exif=exif)

    def bmp(self):
        random = self.random
        for width, height in [(1, 1), (33, 20), (61, 43), (250, 130)] if not self.small else [(33, 20)]:
            tag = f"{width}x{height}"
            rgb = self.photo(width, height)
            bgr = np.ascontiguousarray(rgb[..., ::-1])
            rows = encoders.bmp_rows(bgr, 24)
            self.write(f"bmp-24-{tag}.bmp", encoders.bmp(rows, width, height, 24))
            self.write(f"bmp-24-topdown-{tag}.bmp", encoders.bmp(encoders.bmp_rows(bgr[::-1], 24), width, -height, 24))
            self.write(f"bmp-24-os2-{tag}.bmp", encoders.bmp(rows, width, height, 24, header_bytes=12))
            bgra = np.dstack([bgr, self.noise(width, height)[..., 0]])
            self.write(f"bmp-32-{tag}.bmp", encoders.bmp(encoders.bmp_rows(bgra, 32), width, height, 32))
            masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
            self.write(f"bmp-32-fields-v5-{tag}.bmp", encoders.bmp(encoders.bmp_rows(bgra, 32), width, height, 32, 3, masks=masks, header_bytes=124))
            swapped = struct.pack("<4I", 0xFF, 0xFF00, 0xFF0000, 0xFF000000)
            self.write(f"bmp-32-fields-rgb-{tag}.bmp", encoders.bmp(encoders.bmp_rows(bgra, 32), width, height, 32, 3, masks=swapped, header_bytes=124))
            odd = struct.pack("<4I", 0x3FF << 20, 0x7F << 9, 0x1F, 0)
            self.write(f"bmp-32-fields-odd-{tag}.bmp", encoders.bmp(encoders.bmp_rows(bgra, 32), width, height, 32, 3, masks=odd, header_bytes=108))
            words = random.integers(0, 1 << 16, (height, width)).astype("<u2")
            words = words.view(np.uint8).reshape(height, width, 2)
            stored = encoders.bmp_rows(words, 16)
            self.write(f"bmp-16-{tag}.bmp", encoders.bmp(stored, width, height, 16))
            for form, fields in (("555", (0x7C00, 0x3E0, 0x1F)), ("565", (0xF800, 0x7E0, 0x1F))):
                self.write(f"bmp-16-{form}-{tag}.bmp", encoders.bmp(stored, width, height, 16, 3, masks=struct.pack("<3I", *fields)))
            for bits in (1, 4, 8):
                colours = 1 << bits
                palette = random.integers(0, 256, (colours, 3))
                grey = np.repeat(random.integers(0, 256, (colours, 1)), 3, axis=1)
                indices = random.integers(0, colours, (height, width))
                stored = encoders.bmp_rows(indices, bits)
                self.write(f"bmp-{bits}-{tag}.bmp", encoders.bmp(stored, width, height, bits, palette=palette))
                self.write(f"bmp-{bits}-grey-{tag}.bmp", encoders.bmp(stored, width, height, bits, palette=grey))
                self.write(f"bmp-{bits}-os2-{tag}.bmp", encoders.bmp(stored, width, height, bits, palette=palette, header_bytes=12))
                if bits > 1:
                    few = encoders.bmp_rows(indices % 9, bits)
                    self.write(f"bmp-{bits}-9colours-{tag}.bmp", encoders.bmp(few, width, height, bits, palette=palette, listed=9))
                    steps = np.repeat(indices, 5, axis=1)[:, :width]
                    steps[:, width // 2:] = indices[:, width // 2:]
                    codes = encoders.runs(steps, bits, random)
                    self.write(f"bmp-{bits}-runs-{tag}.bmp", encoders.bmp(codes, width, height, bits, 2 if bits == 4 else 1, palette=palette))

    def jpeg(self):
        cases = [(s, k) for s in self.sizes() for k in (self.photo, self.noise)]
        for number, ((width, height), kind) in enumerate(cases):
            if self.small and kind == self.noise:
                continue
            image = Image.fromarray(kind(width, height))
            for progressive in (False, True) if not self.small else (bool(number // 2 % 2),):
                quality = int(self.random.choice([30, 60, 75, 85, 90] if self.small else [30, 60, 75, 85, 90, 95, 100]))
                sampling = (number + progressive) % 3
                form = ("444", "422", "420")[sampling]
                name = f"jpeg-{form}-q{quality}{'-progressive' * progressive}-{kind.__name__}-{width}x{height}.jpg"
                self.pillow(name, image, "JPEG", quality=quality, subsampling=sampling, progressive=progressive, optimize=bool(number % 2))
        if self.photograph is not None:
            large = Image.fromarray(self.photograph).resize((1920, 1920), Image.BICUBIC)
            self.pillow("jpeg-photo-1920x1920.jpg", large, "JPEG", quality=90)
        for side in (97, 250) if not self.small else (97,):
            tag = f"{side}x{side + 20}"
            rgb = self.photo(side, side + 20)
            image = Image.fromarray(rgb)
            self.pillow(f"jpeg-grey-{tag}.jpg", image.convert("L"), "JPEG", quality=90)
            self.pillow(f"jpeg-grey-progressive-{tag}.jpg", image.convert("L"), "JPEG", quality=90, progressive=True)
            self.pillow(f"jpeg-rgb-{tag}.jpg", image, "JPEG", quality=90, keep_rgb=True)
            self.pillow(f"jpeg-restart-{tag}.jpg", image, "JPEG", quality=90, restart_marker_blocks=5)
            self.pillow(f"jpeg-restart-rows-{tag}.jpg", image, "JPEG", quality=90, progressive=True, restart_marker_rows=1)
            cmyk = Image.fromarray(np.dstack([rgb, self.photo(side, side + 20)[..., 0]]), "CMYK")
            for progressive in (False, True):
                name = f"jpeg-cmyk{'-progressive' * progressive}-{tag}.jpg"
                blob = self.pillow(name, cmyk, "JPEG", quality=92, progressive=progressive)
                at = blob.index(b"Adobe") + 11
                self.write(name.replace("cmyk", "ycck"), blob[:at] + b"\2" + blob[at + 1:])
            for form, factor in (("411", 0x411111), ("440", 0x121111), ("420", 0x221111)):
                ok, blob = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor])
                self.write(f"jpeg-cv-{form}-{tag}.jpg", blob.tobytes())
        for orientation in range(1, 9) if not self.small else (6,):
            exif = Image.Exif()
            exif[0x0112] = orientation
            self.pillow(f"jpeg-exif{orientation}.jpg", Image.fromarray(self.photo(64, 48)), "JPEG", quality=95, subsampling=0, exif=exif)

    def damaged(self):
        image = Image.fromarray(self.photo(45, 35) if self.small else self.photo(90, 70))
        blobs = {}
        for tag, form, options in (("jpg", "JPEG", {}), ("progressive.jpg", "JPEG", {"progressive": True}), ("png", "PNG", {}),
                                   ("webp", "WEBP", {}), ("lossless.webp", "WEBP", {"lossless": True}), ("bmp", "BMP", {})):
            buffer = io.BytesIO()
            image.save(buffer, form, **options)
            blobs[tag] = buffer.getvalue()
        for tag, blob in blobs.items():
            self.write(f"longer-{tag}", blob + bytes(self.noise(10, 10).reshape(-1)))
            places = (3, 5, 9, 13, 20, 100, len(blob) // 4, len(blob) // 2, len(blob) - 30, len(blob) - 10)
            for missing in places if not self.small else (3, len(blob) // 2):
                self.write(f"truncated-{missing}-{tag}", blob[:-missing])
        self.write("not-an-image.txt", b"GIF89a and so on")
        self.write("empty.bin", b"")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--small", action="store_true", help="few and small ones: the committed set")
    args = parser.parse_args()
    seed = secrets.randbits(32) if args.seed is None else args.seed
    args.out.mkdir(parents=True, exist_ok=True)
    maker = Maker(args.out, seed, args.small)
    for make in (maker.png, maker.webp, maker.bmp, maker.jpeg, maker.damaged):
        make()
    for make in (rare_formats.gif, rare_formats.pnm, rare_formats.tiff):
        make(maker)
    print(f"{len(maker.names)} images, --seed {seed}, OpenCV {cv2.__version__}")
    files = [str(args.out / name) for name in maker.names]
    oracle = [sys.executable, HERE / "tensor_oracle.py", "--manifest-only", "--out", args.out]
    subprocess.run([*oracle, *files], check=True)


if __name__ == "__main__":
    main()
