"""The page at /ui in a browser: what it shows is what the service answers, for hands, keys and screen readers.

With FACEQUALITY_SCREENSHOTS=docs, the pictures of the documents are taken again.
"""

import base64
import io
import json
import os
import pathlib
import re
import subprocess
import urllib.parse

import numpy as np
import pytest
from PIL import Image

import browser
import images
import processes

SHIFT = 8
MODELS = "document.querySelectorAll('#models input').length > 0"
SHOWN = "document.querySelector('.card:not([aria-busy]) .headline')"


@pytest.fixture(scope="module")
def one_browser():
    with browser.page() as page:
        yield page


@pytest.fixture
def page(one_browser, embedded):
    """The page as someone sees it who comes for the first time, in English."""
    one_browser.emulate(language="en-US")
    opened(one_browser, embedded)
    one_browser.evaluate("localStorage.clear()")
    return opened(one_browser, embedded)


def opened(page, server):
    page.requests.clear()
    page.errors.clear()
    page.open(f"http://{server.http}/ui")
    page.wait(MODELS)
    return page


def model(page, name):
    page.evaluate(f"document.querySelector('#models input[value={name}]').click()")


def drop(page, *files):
    """Files (name, bytes) dropped on the page, as a file manager does; until each has its answer."""
    page.evaluate(f"""(() => {{
        const transfer = new DataTransfer();
        for (const [name, base64] of {json.dumps([[name, base64.b64encode(content).decode()] for name, content in files])})
            transfer.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name));
        for (const type of ['dragover', 'drop'])
            document.body.dispatchEvent(new DragEvent(type, {{ dataTransfer: transfer, bubbles: true, cancelable: true }}));
    }})()""")
    answered(page, len(files))


def answered(page, count=1):
    page.wait(f"document.querySelectorAll('.card').length === {count} && !document.querySelector('.card[aria-busy]')")


def crops(page):
    """The canvases' pixels, RGB, as the browser has them; every one is opaque."""
    found = page.evaluate("""[...document.querySelectorAll('.faces canvas')].map((canvas) => {
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return [canvas.width, canvas.height, btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join(''))];
    })""")
    pixels = [np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4) for width, height, data in found]
    assert all((crop[:, :, 3] == 255).all() for crop in pixels)
    return [crop[:, :, :3] for crop in pixels]


def v2_crops(server, name, image):
    """The output `crop` in plain JSON."""
    request = {
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(image).decode()]}],
        "outputs": [{"name": "crop"}],
    }
    status, _, body = server.post(f"/v2/models/{name}/infer", json.dumps(request))
    assert status == 200, body
    [output] = json.loads(body)["outputs"]
    return np.array(output["data"], np.uint8).reshape(output["shape"])


def text(page, selector):
    return page.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")


# --- What is shown ---------------------------------------------------------------------------------------------------


def test_a_dropped_photo_comes_back_with_its_face_score_and_crop(page, embedded):
    photo = images.read("astronaut.jpg")
    drop(page, ("astronaut.jpg", photo))
    status, _, body = embedded.call("POST", "/v1/models/facephoto:predict", photo)
    assert status == 200, body
    [face] = json.loads(body)["multi_data"][0]["data"]
    shown = page.evaluate("document.querySelector('.faces .score').dataset.value")
    assert float(shown) == face["score"]
    assert text(page, ".faces .score") == f"{face['score']:.3f}"
    page.wait("document.querySelector('.photo .box')")
    # Where the box is, as shares of the photo.
    box = page.evaluate("""(() => {
        const [photo, box] = ['.photo', '.photo .box'].map((selector) => document.querySelector(selector).getBoundingClientRect());
        return [(box.left - photo.left) / photo.width, (box.top - photo.top) / photo.height, box.width / photo.width, box.height / photo.height];
    })()""")
    assert box == pytest.approx([length / 512 for length in face["box"]], abs=0.003)
    assert page.evaluate("document.querySelectorAll('.photo i').length") == 5
    [crop] = crops(page)
    [expected] = v2_crops(embedded, "facephoto", photo)
    assert (crop == expected).all()
    assert page.errors == []


def test_the_whole_pictures_crop_is_opencvs(page):
    model(page, "facequality")
    image = images.read("face.png")
    drop(page, ("face.png", image))
    [crop] = crops(page)
    # An independent computation of the tensor, taken back to bytes.
    expected = (images.tensor(image) * 128 + 127.5).astype(np.uint8).transpose(1, 2, 0)
    assert (crop == expected).all()
    assert not page.evaluate("document.querySelector('.photo .box')")


def test_the_crop_is_what_triton_gets(service, one_browser):
    """This Triton's score is the mean of what it got."""
    page = opened(one_browser, service)
    drop(page, ("face.png", images.read("face.png")))
    [crop] = crops(page)
    score = float(page.evaluate("document.querySelector('.faces .score').dataset.value"))
    assert score == pytest.approx((crop.mean() - 127.5) / 128, abs=1e-5)


def test_each_photo_has_a_card_and_an_error_stands_with_its_picture(page):
    drop(page, ("good.jpg", images.read("astronaut.jpg")), ("letter.pdf", b"%PDF-1.4 a letter"), ("cut.jpg", images.read("face.jpg")[:5000]))
    cards = page.evaluate("""Object.fromEntries([...document.querySelectorAll('.card')].map((card) => [
        card.querySelector('h3').textContent,
        [card.querySelectorAll('.faces li').length, card.querySelector('.error').hidden ? '' : card.querySelector('.error').textContent],
    ]))""")
    assert cards["good.jpg"] == [1, ""]
    assert cards["letter.pdf"][0] == 0 and "PDF" in cards["letter.pdf"][1]
    assert cards["cut.jpg"][0] == 0 and cards["cut.jpg"][1]
    page.evaluate("document.querySelector('.remove').click()")
    assert page.evaluate("document.querySelectorAll('.card').length") == 2


def test_the_times_are_those_of_the_service(page):
    model(page, "facequality")
    page.evaluate("document.getElementById('sample').click()")
    answered(page)
    stages = page.evaluate("[...document.querySelectorAll('.times .stage')].map((stage) => stage.textContent)")
    assert {"read", "preprocess", "predict", "postprocess", "network"} <= set(stages)
    bars = page.evaluate("""[...document.querySelectorAll('.times li')].map((row) => {
        const [track, bar] = ['.track', '.track span'].map((selector) => row.querySelector(selector).getBoundingClientRect());
        return [bar.left - track.left, track.right - bar.right];
    })""")
    assert all(left >= -0.5 and right >= -2.5 for left, right in bars), bars


def test_a_photo_is_pasted(page):
    page.evaluate(f"""(() => {{
        const clipboardData = new DataTransfer();
        clipboardData.items.add(new File([Uint8Array.from(atob({json.dumps(base64.b64encode(images.read("face.jpg")).decode())}), (c) => c.charCodeAt(0))], 'image.jpg'));
        document.dispatchEvent(new ClipboardEvent('paste', {{ clipboardData }}));
    }})()""")
    answered(page)
    assert text(page, ".card h3") == "image.jpg"


def turned(photo, orientation):
    """The photo with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.open(io.BytesIO(photo)).save(file, "JPEG", quality=95, exif=exif.tobytes())
    return file.getvalue()


@pytest.mark.parametrize("upright", [False, True])
def test_a_photo_is_shown_turned_as_the_service_sees_it(one_browser, upright):
    photo = turned(images.read("astronaut.jpg"), 6)
    wide = io.BytesIO()
    Image.open(io.BytesIO(photo)).crop((0, 0, 512, 300)).save(wide, "JPEG", exif=Image.open(io.BytesIO(photo)).info["exif"])
    with processes.service("--exif_orientation", "apply" if upright else "ignore") as service:
        page = opened(one_browser, service)
        drop(page, ("wide.jpg", wide.getvalue()))
        page.wait("document.querySelector('.photo img').naturalWidth")
        assert text(page, ".facts").startswith("300 × 512" if upright else "512 × 300")
        assert page.evaluate("document.querySelector('.photo').clientWidth > document.querySelector('.photo').clientHeight") is not upright


# --- The request as code ----------------------------------------------------------------------------------------------


def snippet(page, name):
    page.evaluate(f"[...document.querySelectorAll('.tabs button')].find((tab) => tab.textContent === {json.dumps(name)}).click()")
    page.wait(f"document.querySelector('.snippet pre').getAttribute('aria-label') === {json.dumps(name)} && document.querySelector('.snippet code').textContent")
    page.evaluate("new Promise((done) => setTimeout(done, 100))")
    return page.evaluate("document.querySelector('.snippet code').textContent")


def test_the_code_gives_the_same_score(page, embedded, tmp_path):
    name = "it's a face.jpg"
    photo = images.read("astronaut.jpg")
    (tmp_path / name).write_bytes(photo)
    drop(page, (name, photo))
    page.evaluate("document.querySelector('details').open = true")
    page.wait("document.querySelector('.snippet code').textContent")
    score = float(page.evaluate("document.querySelector('.faces .score').dataset.value"))

    def output(command, **more):
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, cwd=tmp_path, **more).stdout

    answer = json.loads(output(["sh", "-c", snippet(page, "curl")]))
    assert answer["multi_data"][0]["data"][0]["score"] == score
    venvs = processes.ROOT / "target/venvs"
    printed = output([venvs / "triton/bin/python", "-"], input=snippet(page, "tritonclient"))
    assert float(re.search(r"^score \(1, 1\) \[(\S+)\]", printed, re.MULTILINE)[1]) == pytest.approx(score, abs=1e-6)
    assert "crop (1, 112, 112, 3)" in printed
    printed = output([venvs / "kserve/bin/python", "-"], input=snippet(page, "KServe SDK"))
    assert f"{score!r}" in printed
    # Shown shortened, copied whole.
    assert len(snippet(page, "JSON")) < 1000
    one = "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    page.send(one[0], **one[1])
    page.evaluate("document.querySelector('.copy').click()")
    page.wait("/Copied|Marked/.test(document.querySelector('.copy').innerText)")
    copied = page.evaluate("navigator.clipboard.readText()")
    status, _, body = embedded.post("/v1/models/facephoto:predict", copied)
    assert status == 200 and json.loads(body)["multi_data"][0]["data"][0]["score"] == score


# --- For everyone -----------------------------------------------------------------------------------------------------


def focused(page):
    return page.evaluate("""(() => {
        const at = document.activeElement;
        return at.id || at.value || at.getAttribute('role') || at.tagName.toLowerCase() + '.' + at.className;
    })()""")


def test_keys_are_enough(page):
    order = []
    for _ in range(5):
        page.press("Tab")
        order.append(focused(page))
    assert order == ["language", "theme", "files", "sample", "facephoto"]
    page.press("ArrowRight")
    assert page.evaluate("document.querySelector('#models input:checked').value") == "facequality"
    page.press("Tab", SHIFT)
    page.press("Enter")
    answered(page)
    for _ in range(4):
        page.press("Tab")
        if "summary" in focused(page):
            break
    page.press("Enter")
    page.press("Tab")
    assert focused(page) == "tab"
    page.press("ArrowRight")
    page.wait("document.querySelector('.snippet code').textContent.includes('tritonclient')")
    assert text(page, "[role=tab][aria-selected=true]") == "tritonclient"
    # What has the focus can be seen.
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_screen_reader_is_told(page):
    drop(page, ("astronaut.jpg", images.read("astronaut.jpg")))
    page.wait("document.getElementById('announce').innerText.includes('1 face')")
    assert text(page, "#announce").startswith("astronaut.jpg: 1 face")
    tree = page.send("Accessibility.getFullAXTree")["nodes"]
    named = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"] and "role" in node}
    for role, name in [
        ("button", "Choose photos"), ("button", "Use the sample"), ("button", "Dark"), ("radio", "facephoto"),
        ("article", "astronaut.jpg"), ("image", "Face 1: the pixels that the model was given"), ("image", "astronaut.jpg"),
    ]:
        assert any(role == r and n.startswith(name) for r, n in named), f"no {role} {name}: {sorted(named)}"
    # No control is without a name.
    unnamed = [(role, name) for role, name in named if role in ("button", "radio", "tab", "image", "article") and not name]
    assert unnamed == []


def test_both_languages(page, embedded):
    assert text(page, "h1") == "See what the model sees"
    assert not re.search("[\u4e00-\u9fff]", text(page, "main"))
    page.evaluate("document.getElementById('language').click()")
    assert text(page, "h1") == "看见模型所见"
    drop(page, ("a.jpg", images.read("astronaut.jpg")))
    assert "1 张人脸" in text(page, ".headline")
    words = re.findall("[A-Za-z]{2,}", text(page, "main"))
    # What is left is names: files, models, stages, units.
    stages = page.evaluate("[...document.querySelectorAll('.times .stage')].flatMap((stage) => stage.textContent.split('_'))")
    assert set(words) <= {"jpg", "KB", "facephoto", "facequality", "px", "ms", *stages}
    # It is remembered, and the browser's language is the first choice.
    assert text(opened(page, embedded), "h1") == "看见模型所见"
    page.evaluate("localStorage.clear()")
    page.emulate(language="zh-CN")
    assert text(opened(page, embedded), "h1") == "看见模型所见"


def brightness(page):
    pixels = np.asarray(Image.open(io.BytesIO(page.screenshot(whole=False))).convert("L"))
    return pixels.mean()


def test_light_and_dark(page, embedded):
    assert brightness(page) > 200
    page.evaluate("document.getElementById('theme').click()")
    page.evaluate("new Promise((done) => setTimeout(done, 300))")
    assert brightness(page) < 60
    opened(page, embedded)
    assert brightness(page) < 60
    page.evaluate("localStorage.clear()")
    page.emulate(scheme="dark", language="en-US")
    assert brightness(opened(page, embedded)) < 60


def test_nothing_leaves_the_service(page, embedded):
    drop(page, ("astronaut.jpg", images.read("astronaut.jpg")), ("letter.pdf", b"%PDF-1.4 a letter"))
    page.evaluate("document.getElementById('sample').click()")
    answered(page, 3)
    origins = {urllib.parse.urlsplit(url.removeprefix("blob:"))[:2] for url in page.requests if not url.startswith("data:")}
    assert origins == {("http", embedded.http)}
    # Nor could it: the policy forbids it to whatever gets into the page.
    blocked = page.evaluate("""Promise.allSettled([
        fetch('http://127.0.0.1:9/'),
        new Promise((done, failed) => { const image = new Image(); image.onload = done; image.onerror = failed; image.src = 'http://127.0.0.1:9/'; }),
    ]).then((all) => all.map(({ status }) => status))""")
    assert blocked == ["rejected", "rejected"]
    violations = [error["text"] for error in page.errors if "Content Security Policy" in error.get("text", "")]
    assert len(violations) >= 2, page.errors
    assert page.evaluate("(() => { try { document.body.innerHTML = '<p>'; return 'taken'; } catch { return 'refused'; } })()") == "refused"


def test_the_strip_counts_what_is_asked(page):
    assert page.evaluate("document.getElementById('ready').className") == "ready yes"
    model(page, "facequality")
    page.wait("document.getElementById('live-flight').innerText.includes('1024')")
    for count in range(1, 4):
        page.evaluate("document.getElementById('sample').click()")
        answered(page, count)
    page.evaluate("""(() => {
        const transfer = new DataTransfer();
        transfer.items.add(new File(['%PDF-1.4'], 'letter.pdf'));
        document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
    })()""")
    answered(page, 4)
    page.wait("document.getElementById('live-latency').innerText.includes('ms')")
    page.wait("document.getElementById('live-refused').innerText.startsWith('1 ')")
    page.wait("document.querySelector('#live-rate-line polyline')")


# --- Pictures of the documents ----------------------------------------------------------------------------------------


@pytest.mark.skipif("FACEQUALITY_SCREENSHOTS" not in os.environ, reason="only when the pictures are to be taken again")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_take_the_pictures(page, embedded, scheme):
    folder = pathlib.Path(os.environ["FACEQUALITY_SCREENSHOTS"])
    page.emulate(scheme=scheme, language="en-US", width=1160)
    opened(page, embedded)
    # So that the strip has something to show.
    for _ in range(30):
        embedded.call("POST", "/v1/models/facequality:predict", images.read("face.jpg"))
    page.evaluate("document.getElementById('sample').click()")
    answered(page)
    page.wait("document.querySelector('.photo .box') && document.querySelectorAll('#live-rate-line polyline').length")
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture = picture.quantize(palette=picture.quantize(256), dither=Image.Dither.FLOYDSTEINBERG)
    file = folder / f"ui-{scheme}.png"
    picture.save(file, optimize=True)
    assert file.stat().st_size <= 300 * 1024
