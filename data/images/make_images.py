"""Make the demonstration images and the ready request from scikit-image's bundled astronaut photo.

The photo (NASA, public domain) ships inside the scikit-image wheel, so nothing is downloaded.

    pip install -r requirements.txt
    python make_images.py            # writes beside itself, and ../requests/face.json
    python make_images.py --check    # writes nothing; exits 1 if a file would change
"""

import argparse
import base64
import json
import pathlib
import sys

import cv2
import numpy as np
from skimage import data

# Rows and columns of the face in the 512x512 photo, and the crop's side.
FACE_TOP, FACE_LEFT, FACE_SIDE = 0, 100, 250
BLUR_KERNEL = 21
LIGHT = 0.1
LOW_RESOLUTION = 32


def jpeg(image):
    """Quality 95 with halved chroma (4:2:0), as cameras and browsers write it."""
    options = [
        cv2.IMWRITE_JPEG_QUALITY, 95,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    ]
    return cv2.imencode(".jpg", image, options)[1].tobytes()


def png(image):
    return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()


def lossless_webp(image):
    """A quality above 100 is OpenCV's way to ask for lossless WebP."""
    return cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()


def request(image_bytes):
    """A V1 body of the common_data schema."""
    item = "data:image/jpeg;base64," + base64.b64encode(image_bytes).decode("ascii")
    return json.dumps({"data": {"item": item}}, separators=(",", ":")).encode("ascii") + b"\n"


def files():
    """Pairs of path below data/ and content."""
    photo = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    face = np.ascontiguousarray(
        photo[FACE_TOP : FACE_TOP + FACE_SIDE, FACE_LEFT : FACE_LEFT + FACE_SIDE]
    )
    blurred = cv2.GaussianBlur(face, (BLUR_KERNEL, BLUR_KERNEL), 0)
    dark = cv2.convertScaleAbs(face, alpha=LIGHT)
    small = cv2.resize(face, (LOW_RESOLUTION, LOW_RESOLUTION), interpolation=cv2.INTER_AREA)

    yield "images/astronaut.jpg", jpeg(photo)
    yield "images/face.jpg", jpeg(face)
    yield "images/face.png", png(face)
    yield "images/face.webp", lossless_webp(face)
    yield "images/face_blurred.jpg", jpeg(blurred)
    yield "images/face_dark.jpg", jpeg(dark)
    yield "images/face_low_resolution.png", png(small)
    yield "requests/face.json", request(jpeg(face))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    root = pathlib.Path(__file__).resolve().parent.parent
    differing = 0
    for name, content in files():
        path = root / name
        if check:
            same = path.is_file() and path.read_bytes() == content
            differing += not same
            print(f"{'same' if same else 'differs':8}{len(content):8d}  {name}")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            print(f"{len(content):8d}  {name}")
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
