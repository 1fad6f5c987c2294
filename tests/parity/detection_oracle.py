"""Reference for face detection: CenterFace in onnxruntime on composed scenes, decoded by the rules.

    python detection_oracle.py --out ../golden/detection/manifest.json

A scene is a gradient on which parts of the sample photo are pasted, shrunk, enlarged and mirrored; tests/parity/detection.rs
composes the same from the manifest. Scenes are drawn again when a runtime's last digit could change the answer.
Needs onnxruntime, opencv-python-headless and numpy.
"""

import argparse
import hashlib
import json
import pathlib

import cv2
import numpy as np
import onnxruntime

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PHOTO = ROOT / "data/images/astronaut.jpg"
MODEL = ROOT / "data/models/centerface.onnx"
THRESHOLD, OVERLAP = 0.5, 0.3
# How far from these two a value must be for any runtime to decide alike.
CLEARANCE = 0.02
# Of the photo: the face with and without what is around it, and parts without a face.
FACES = [[100, 0, 250, 250], [150, 20, 150, 170], [60, 0, 330, 330]]
# Half a face, for the left edge of a scene: its box is cut there.
HALVES = [[225, 20, 180, 180]]
OTHERS = [[0, 300, 200, 200], [380, 0, 130, 250], [330, 300, 180, 200]]


def photo():
    return np.ascontiguousarray(cv2.imdecode(np.fromfile(PHOTO, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1])


def compose(source, size, pastes):
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    scene = np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], axis=2).astype(np.uint8)
    for paste in pastes:
        left, top, columns, rows = paste["from"]
        part = source[top:top + rows, left:left + columns]
        if paste["mirrored"]:
            part = part[:, ::-1]
        x, y, columns, rows = paste["to"]
        scene[y:y + rows, x:x + columns] = cv2.resize(np.ascontiguousarray(part), (columns, rows))
    return scene


def input_size(size, detect_side):
    longer = max(size)
    to = min(longer, detect_side)
    return [-(-side * to // (longer * 32)) * 32 for side in size]


def detect(session, scene, detect_side):
    """The faces, or None if the answer hangs by a thread."""
    size = [scene.shape[1], scene.shape[0]]
    to = input_size(size, detect_side)
    resized = cv2.resize(scene, to)
    tensor = np.ascontiguousarray(resized.transpose(2, 0, 1)[None].astype(np.float32))
    heat, scale, offset, landmarks = session.run(["537", "538", "539", "540"], {"input.1": tensor})
    found = []
    for r, c in zip(*np.where(heat[0, 0] > THRESHOLD - CLEARANCE)):
        h, w = 4 * np.exp(scale[0, :, r, c])
        left, top = 4 * (c + offset[0, 1, r, c] + 0.5) - w / 2, 4 * (r + offset[0, 0, r, c] + 0.5) - h / 2
        points = [[left + landmarks[0, 2 * i + 1, r, c] * w, top + landmarks[0, 2 * i, r, c] * h] for i in range(5)]
        box = np.clip([left, top, left + w, top + h], 0, to * 2)
        if box[0] < box[2] and box[1] < box[3]:
            found.append((float(heat[0, 0, r, c]), box, points))
    kept = []
    for face in sorted(found, key=lambda face: -face[0]):
        overlaps = [overlap(face[1], other[1]) for other in kept]
        if any(abs(value - OVERLAP) < CLEARANCE for value in overlaps):
            return None
        if all(value < OVERLAP for value in overlaps):
            kept.append(face)
    if any(face[0] < THRESHOLD + CLEARANCE for face in kept):
        return None
    if any(abs(a[0] - b[0]) < 1e-3 for a, b in zip(kept, kept[1:])):
        return None
    back = [size[0] / to[0], size[1] / to[1]]
    faces = []
    for confidence, box, points in kept:
        left, top, right, bottom = box * (back * 2)
        rounded = [[round(float(value), 3) for value in values] for values in
                   [[left, top, right - left, bottom - top]] + [np.multiply(point, back) for point in points]]
        faces.append({"rect": rounded[0], "landmarks": rounded[1:], "confidence": round(confidence, 4)})
    return faces


def overlap(a, b):
    width, height = (max(0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def draw(random, faces):
    """The size of a scene and what is pasted into it; pasted parts do not touch."""
    width, height = (int(random.integers(200, 1100)) for _ in range(2))
    pastes, taken = [], []
    for index in range(faces + int(random.integers(0, 2)) + (faces == 0)):
        is_cut = index < faces and random.integers(4) == 0
        sources = HALVES if is_cut else FACES if index < faces else OTHERS
        left, top, columns, rows = sources[int(random.integers(len(sources)))]
        for _ in range(100):
            zoom = float(np.exp(random.uniform(np.log(0.3), np.log(2.5))))
            w, h = max(int(columns * zoom), 1), max(int(rows * zoom * random.uniform(0.9, 1.1)), 1)
            if w >= width or h >= height:
                continue
            x, y = int(random.integers(0, width - w)), int(random.integers(0, height - h))
            x = 0 if is_cut else x
            if all(x + w < a or a + c < x or y + h < b or b + d < y for a, b, c, d in taken):
                taken.append([x, y, w, h])
                pastes.append({"from": [left, top, columns, rows], "to": [x, y, w, h],
                               "mirrored": bool(random.integers(2))})
                break
    return [width, height], pastes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=21)
    args = parser.parse_args()
    random = np.random.default_rng(args.seed)
    # The model names weights that it does not use, and onnxruntime would say so of each.
    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])
    source = photo()
    cases = [("sample", [512, 512], [{"from": [0, 0, 512, 512], "to": [0, 0, 512, 512], "mirrored": False}])]
    cases += [(f"{faces} faces", None, faces) for faces in (0, 1, 2, 3, 4) for _ in range(4)]
    scenes = []
    for index, (name, size, pastes) in enumerate(cases):
        detect_side = 320 if index % 4 == 3 else 640
        wanted = pastes
        while True:
            if name != "sample":
                size, pastes = draw(random, wanted)
            scene = compose(source, size, pastes)
            faces = detect(session, scene, detect_side)
            # Not every pasted face is found, and that is the detector's affair; most scenes shall have them all.
            if faces is not None and (name == "sample" or len(faces) == wanted):
                break
        scenes.append({"size": size, "pastes": pastes, "detect_side": detect_side,
                       "scene_sha256": hashlib.sha256(scene.tobytes()).hexdigest(), "faces": faces})
        print(name, size, detect_side, [(face["rect"], face["confidence"]) for face in faces], flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    text = ",\n".join(json.dumps(scene) for scene in scenes)
    args.out.write_text(f'{{"onnxruntime": "{onnxruntime.__version__}", "threshold": {THRESHOLD},\n"scenes": [\n{text}\n]}}\n')


if __name__ == "__main__":
    main()
