"""Make the test images from scikit-image's bundled astronaut photo.

The photo (NASA, public domain) ships inside the scikit-image wheel, so this
needs no network.  With the versions pinned in requirements.txt the output is
the same byte for byte on every run; the script prints a SHA-256 per file so
that two machines can be compared.

    python make_images.py --out images
"""

import argparse
import hashlib
import pathlib

import cv2
import numpy as np
from skimage import data

# Rows and columns of the face in the 512x512 photo, and the crop's side.
FACE_TOP, FACE_LEFT, FACE_SIDE = 0, 100, 250


def jpeg(img, quality, *extra):
    return cv2.imencode(".jpg", img, [cv2.IMWRITE_JPEG_QUALITY, quality, *extra])[1]


def with_exif_orientation(jpeg_bytes, orientation):
    """Insert a minimal Exif segment right after SOI (big-endian TIFF, one tag)."""
    tiff = (
        b"MM\x00\x2a\x00\x00\x00\x08"
        b"\x00\x01"  # one entry
        b"\x01\x12\x00\x03\x00\x00\x00\x01" + bytes([0, orientation, 0, 0])
        + b"\x00\x00\x00\x00"
    )
    body = b"Exif\x00\x00" + tiff
    segment = b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body
    return jpeg_bytes[:2] + segment + jpeg_bytes[2:]


def images():
    photo = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)  # 512x512x3
    face = np.ascontiguousarray(
        photo[FACE_TOP : FACE_TOP + FACE_SIDE, FACE_LEFT : FACE_LEFT + FACE_SIDE]
    )
    large = cv2.resize(photo, (1920, 1920), interpolation=cv2.INTER_CUBIC)
    alpha = np.tile(np.linspace(0, 255, FACE_SIDE).astype(np.uint8), (FACE_SIDE, 1))

    face_jpeg = jpeg(face, 95).tobytes()
    # The two images that all the measurements use.
    yield "face_250.jpg", face_jpeg
    yield "photo_1920.jpg", jpeg(large, 90).tobytes()
    # The same crop in the other formats, and the variants that decoders disagree on.
    yield "face_250.png", cv2.imencode(".png", face)[1].tobytes()
    yield "face_250.webp", cv2.imencode(".webp", face, [cv2.IMWRITE_WEBP_QUALITY, 90])[1].tobytes()
    yield "face_250_444.jpg", jpeg(
        face, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    ).tobytes()
    yield "face_250_progressive.jpg", jpeg(face, 95, cv2.IMWRITE_JPEG_PROGRESSIVE, 1).tobytes()
    yield "face_250_gray.jpg", jpeg(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY), 95).tobytes()
    yield "face_250_exif6.jpg", with_exif_orientation(face_jpeg, 6)
    # Damaged: no end-of-image marker, and cut in half.
    yield "face_250_no_eoi.jpg", face_jpeg[:-2]
    yield "face_250_half.jpg", face_jpeg[: len(face_jpeg) // 2]
    yield "face_250_rgba.png", cv2.imencode(".png", np.dstack([face, alpha]))[1].tobytes()
    yield "face_250_16bit.png", cv2.imencode(".png", face.astype(np.uint16) * 257)[1].tobytes()
    # Sizes around the target, odd sides, and enlargement.
    for w, h in ((112, 112), (113, 111), (224, 224), (97, 61), (1, 1)):
        small = cv2.resize(face, (w, h), interpolation=cv2.INTER_AREA)
        yield f"face_{w}x{h}.png", cv2.imencode(".png", small)[1].tobytes()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="images", type=pathlib.Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, blob in images():
        (args.out / name).write_bytes(blob)
        print(f"{hashlib.sha256(blob).hexdigest()}  {len(blob):8d}  {name}")


if __name__ == "__main__":
    main()
